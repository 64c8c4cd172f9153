"""Question sets: five hand-written rows in every public layout, shuffling, leaks, and what is refused with its line."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.text.problems import Question, leaks, read_questions, refuse_free, refuse_leaks, split, without_leaks

# Five questions of our own: text, options, index of the right one, subject.
FIVE = [
    ("Which organ pumps blood?", ["liver", "heart", "lung", "spleen"], 1, "anatomy"),
    ("Which vitamin prevents scurvy?", ["A", "K", "C", "D2"], 2, "nutrition"),
    ("Which bone is in the thigh?", ["femur", "ulna", "tibia", "radius"], 0, "anatomy"),
    ("What carries oxygen in blood?", ["albumin", "globulin", "fibrin", "haemoglobin"], 3, "physiology"),
    ("Which gland makes insulin?", ["thyroid", "pancreas", "pituitary", "thymus"], 1, "physiology"),
]
ABC = "ABCDEFGHIJ"


def named(options):
    return dict(zip(ABC, options, strict=False))


def medqa(text, options, right, subject):
    return {
        "question": text,
        "answer": options[right],
        "options": named(options),
        "meta_info": subject,
        "answer_idx": ABC[right],
    }


def medmcqa(text, options, right, subject):
    ops = dict(zip(("opa", "opb", "opc", "opd"), options, strict=True))
    return {
        "id": text[:9],
        "question": text,
        **ops,
        "cop": right,
        "choice_type": "single",
        "exp": None,
        "subject_name": subject,
        "topic_name": None,
    }


def mmlu(text, options, right, subject):
    return {"question": text, "subject": subject, "choices": options, "answer": right}


def mmlu_pro(text, options, right, subject):
    filled = [*options, "N/A", "N/A"]
    row = {"question": text, "options": filled, "answer": ABC[right], "answer_index": right, "category": subject}
    return {"question_id": abs(hash(text)) % 10**6, **row, "cot_content": "", "src": "ours"}


def gpqa(text, options, right, subject):
    wrong = [option for i, option in enumerate(options) if i != right]
    rest = {f"Incorrect Answer {i}": option for i, option in enumerate(wrong, start=1)}
    return {"Question": text, "Correct Answer": options[right], **rest, "Subdomain": subject, "Record ID": text[:12]}


def medxpert(text, options, right, subject):
    listed = " ".join(f"({letter}) {option}" for letter, option in named(options).items())
    padded = {**named(options), "E": None}
    question = f"{text}\nAnswer Choices: {listed}"
    return {"id": text[:8], "question": question, "options": padded, "label": ABC[right], "body_system": subject}


def arc(text, options, right, subject):
    choices = {"text": options, "label": list("1234")}
    return {"id": text[:7], "question": text, "choices": choices, "answerKey": str(right + 1), "subject": subject}


def arc_original(text, options, right, subject):
    choices = [{"text": option, "label": letter} for letter, option in named(options).items()]
    return {"id": text[:7], "question": {"stem": text, "choices": choices}, "answerKey": ABC[right]}


def plain(text, options, right, subject):
    return {"question": text, "options": options, "answer": right, "subject": subject}


def lettered(text, options, right, subject):
    return {"question": text, "options": named(options), "answer": ABC[right].lower(), "subject": subject}


def in_words(text, options, right, subject):
    return {"question": text, "options": options, "answer": f" {options[right].upper()} ", "subject": subject}


def medqa_pairs(text, options, right, subject):
    pairs = [{"key": letter, "value": option} for letter, option in named(options).items()]
    return {**medqa(text, options, right, subject), "options": pairs}


def one_of_a_list(text, options, right, subject):
    return {"id": text[:7], "question": text, "choices": options, "context": "", "answer": [options[right]]}


def bundled(text, options, right, subject):
    data = {"Question": text, "Options": named(options), "Correct Option": ABC[right], "Correct Answer": options[right]}
    return {"id": text[:7], "subject_name": subject, "data": data}


def lower_case(text, options, right, subject):
    return {"question": text, "options": dict(zip(ABC.lower(), options, strict=False)), "answer": ABC[right].lower()}


def with_gaps(text, options, right, subject):
    return {"question": text, "options": options, "answer": float(right), "subject": subject}


LAYOUTS = [medqa_pairs, one_of_a_list, bundled, lower_case, with_gaps]
LAYOUTS += [medqa, medmcqa, mmlu, mmlu_pro, gpqa, medxpert, arc, arc_original, plain, lettered, in_words]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_five_rows_of_every_layout_give_the_same_five_questions(layout, ending, tmp_path):
    """The text, the set of options and the right one come through, whatever the columns are called."""
    rows = [layout(*one) for one in FIVE]
    path = tmp_path / f"set.{ending}"
    if ending == "jsonl":
        jsonl(path, rows)
    elif ending == "json":
        path.write_text(json.dumps(rows))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = read_questions(path)
    for question, (text, options, right, subject) in zip(found, FIVE, strict=True):
        assert question.question == text
        assert sorted(question.options) == sorted(options)
        assert question.right == options[right]
        assert question.subject in (subject, "")
    assert len({question.id for question in found}) == 5


def test_five_options_stay_five(tmp_path):
    """MedQA comes with four and with five."""
    row = medqa("Which?", ["a1", "b1", "c1", "d1", "e1"], 4, "step1")
    (question,) = read_questions(jsonl(tmp_path / "q.jsonl", [row]))
    assert (question.letters, question.answer) == ("ABCDE", "E")


def test_medmcqa_counts_from_one_where_a_four_says_so(tmp_path):
    """The original files count from 1; only a 4 can tell, and a 0 beside it is a contradiction."""
    rows = [{**medmcqa(*one), "cop": one[2] + 1} for one in FIVE]
    assert [q.right for q in read_questions(jsonl(tmp_path / "q.jsonl", rows))] == [o[r] for _, o, r, _ in FIVE]
    rows.append({**medmcqa("Another one?", list("wxyz"), 0, ""), "cop": 0})
    with pytest.raises(BadInput, match="cop is 0 in line 6 and 4 in line 4"):
        read_questions(jsonl(tmp_path / "q.jsonl", rows))


def test_pubmedqa_in_both_its_forms(tmp_path):
    """The file of the authors, an object keyed by id, and the distributed rows; contexts are joined, maybe is C."""
    body = {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"}
    path = tmp_path / "ori_pqal.json"
    path.write_text(json.dumps({str(i): {**body, "QUESTION": f"Does it {i}?"} for i in range(5)}))
    found = read_questions(path)
    assert [question.id for question in found] == list("01234")
    assert (found[0].answer, found[0].options, found[0].context) == ("C", ("yes", "no", "maybe"), "One.\nTwo.")
    row = {"pubid": 7, "question": "Is it?", "context": {"contexts": ["One.", "Two."]}, "final_decision": "no"}
    (one,) = read_questions(jsonl(tmp_path / "p.jsonl", [row]))
    assert (one.id, one.answer, one.context) == ("7", "B", "One.\nTwo.")


def test_tables_with_and_without_a_header(tmp_path):
    """MMLU's own tables have no header; ours have one; empty cells at the end are no options."""
    bare, headed = tmp_path / "bare.csv", tmp_path / "headed.csv"
    with bare.open("w", newline="") as file:
        csv.writer(file).writerows([text, *options, ABC[right]] for text, options, right, _ in FIVE)
    with headed.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["question", "A", "B", "C", "D", "E", "answer", "subject"])
        table.writerows([text, *options, "", ABC[right], subject] for text, options, right, subject in FIVE)
    for path in (bare, headed):
        assert [q.right for q in read_questions(path)] == [o[r] for _, o, r, _ in FIVE]
    assert read_questions(headed)[0].subject == "anatomy"


def numpys(value):
    """A list as pandas writes it into a table when the column came from parquet."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {numpys(part)}" for key, part in value.items()) + "}"
    return f"array([{', '.join(map(repr, value))}], dtype=object)" if isinstance(value, list) else repr(value)


@pytest.mark.parametrize(
    "layout", [medqa, mmlu, mmlu_pro, medxpert, arc, plain, lettered], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("spelling", [json.dumps, str, numpys, lambda value: str(value).replace("', '", "' '")])
def test_lists_in_a_table_are_read_in_every_spelling(layout, spelling, tmp_path):
    """A parquet file made into CSV: lists as JSON, as Python writes them, as numpy does, with and without commas.

    A U+2028 in a cell without quotes does not end its line.
    """
    rows = [layout(text.replace(" ", "\u2028", 1), *rest) for text, *rest in FIVE]
    rows = [{k: spelling(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
    path = tmp_path / "set.csv"
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    found = read_questions(path)
    assert [q.right for q in found] == [options[right] for _, options, right, _ in FIVE]
    assert [sorted(q.options) for q in found] == [sorted(options) for _, options, _, _ in FIVE]


def test_a_number_in_a_table_that_means_two_options_is_refused(tmp_path):
    """Options 2, 0, 1 and the answer 1: the second, or the third? MMLU's number is always an index."""
    path = tmp_path / "q.csv"
    path.write_text("question,A,B,C,answer\nHow many?,2,0,1,1\n")
    with pytest.raises(BadInput, match="answer 1 is an option's text and may be another's index"):
        read_questions(path)
    path.write_text("question,choices,answer\nHow many?,\"['2', '0', '1']\",1\n")
    assert read_questions(path)[0].right == "0"


def test_what_fills_up_mmlu_pro_goes_and_what_is_an_option_stays(tmp_path):
    """Taking out an "N/A" before the last option would move every letter behind it."""
    row = {**mmlu_pro("Which?", ["N/A", "x", "y"], 1, "s")}
    (found,) = read_questions(jsonl(tmp_path / "q.jsonl", [row]))
    assert (found.options, found.right) == (("N/A", "x", "y"), "x")


def test_a_question_that_comes_again_without_an_id_is_kept(tmp_path):
    """Who left out ids is not told that they differ too little; ``duplicates`` finds the repetition."""
    found = read_questions(jsonl(tmp_path / "q.jsonl", [plain(*FIVE[0]), plain(*FIVE[0]), plain(*FIVE[1])]))
    assert len({question.id for question in found}) == 3
    assert found[1].id == f"{found[0].id}-2"


def test_no_rule_can_judge_free_text(tmp_path):
    rows = [{"id": "f", "prompt": "Write.", "answer": "A text.", "kind": "free"}, plain(*FIVE[0])]
    with pytest.raises(BadInput, match="1 of 1 questions are of kind free, such as 'f'"):
        refuse_free(read_questions(jsonl(tmp_path / "q.jsonl", rows[:1])))


def test_verifiable_problems_keep_their_kind(tmp_path):
    rows = [
        {"id": "n", "prompt": "1 + 1?", "answer": 2, "kind": "numeric"},
        {"id": "c", "prompt": "Which?", "answer": "B", "kind": "choice", "options": ["x", "y"]},
        {"id": "e", "prompt": "Capital of France?", "answer": "Paris"},
    ]
    found = {q.id: q for q in read_questions(jsonl(tmp_path / "q.jsonl", rows))}
    assert [(q.kind, q.answer) for q in found.values()] == [("numeric", "2"), ("choice", "B"), ("exact", "Paris")]


@given(st.integers(2, 26), st.integers(0, 10**6), st.data())
def test_shuffling_keeps_the_right_text_and_repeats(count, seed, data):
    """The same options in another order; the letter follows the text; a seed and an id always give the same order."""
    right = data.draw(st.integers(0, count - 1))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    question = Question(str(seed), "Which?", letters[right], options=tuple(f"o{i}" for i in range(count)))
    mixed = question.shuffled(seed)
    assert mixed.right == question.right
    assert sorted(mixed.options) == sorted(question.options)
    assert mixed == question.shuffled(seed)


def test_shuffling_leaves_no_place_to_the_right_answer(tmp_path):
    """GPQA's file has the right answer first; read, it stands at each of the four places."""
    rows = [gpqa(f"Question number {i}?", [f"r{i}", f"a{i}", f"b{i}", f"c{i}"], 0, "") for i in range(80)]
    rows = [{**row, "Record ID": f"rec{i}"} for i, row in enumerate(rows)]
    found = read_questions(jsonl(tmp_path / "q.jsonl", rows))
    counts = [sum(q.answer == letter for q in found) for letter in "ABCD"]
    assert min(counts) >= 8
    assert [q.answer for q in read_questions(tmp_path / "q.jsonl", seed=1)] != [q.answer for q in found]


def test_what_is_written_is_read_back(tmp_path):
    for rows in (
        [plain(*one) for one in FIVE],
        [{"id": "n", "prompt": "1 + 1?", "answer": "2", "kind": "numeric", "context": "Sums."}],
    ):
        first = read_questions(jsonl(tmp_path / "a.jsonl", rows))
        assert read_questions(jsonl(tmp_path / "b.jsonl", [q.row() for q in first])) == first


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question": "Which?", "options": ["x", "y"], "answer": "C"}], "line 1 .plain.: answer 'C' is none of"),
        ([{"question": "Which?", "options": ["x", "y"], "answer": 2}], "line 1 .*answer 2 is no index of 2 options"),
        ([{"question": "Which?", "options": ["Yes", "yes "], "answer": 0}], "options A and B are the same"),
        ([{"question": " ", "options": ["x", "y"], "answer": 0}], "line 1 .*empty question"),
        ([{"question": "Which?", "options": ["x"], "answer": 0}], "1 options; a choice has 2 to 26"),
        ([{"question": "Which?", "options": ["x", ""], "answer": 0}], "option B is empty"),
        ([{"question": "Which?", "options": {"A": "x", "C": "y"}, "answer": "A"}], "options are named A, C"),
        ([plain(*FIVE[0]), medqa(*FIVE[1])], "mixes layouts .plain from line 1, MedQA from line 2"),
        ([{"id": "a", **plain(*FIVE[0])}, {"id": "a", **plain(*FIVE[1])}], "the id 'a' comes twice"),
        (
            [plain(*FIVE[0]), *({**plain(*FIVE[1]), "answer": "Q"} for _ in range(12))],
            r"line 2 .*answer 'Q'.* \(11 more lines cannot be used: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, \.\.\.\)$",
        ),
        ([{**medmcqa(*FIVE[0]), "cop": -1}], "line 1 .MedMCQA.: cop is -1, as in the test split"),
        ([{**medqa(*FIVE[0]), "answer_idx": "A"}], "answer_idx says A, and answer has the text of B"),
        ([{**mmlu_pro(*FIVE[0]), "answer": "A"}], "answer says A, and answer_index 1"),
        ([{**medqa(*FIVE[0]), "answer_idx": ["A", "B"]}], "2 answers; a choice has one"),
        ([{"prompt": "How many?", "answer": "a few", "kind": "numeric"}], "answer 'a few' is no number"),
        ([{"stem": "Which?"}], r"line 1: its columns \(stem\) are no known layout"),
        ([{"prompt": "Which?", "answer": "x", "kind": "essay"}], "kind 'essay' is not one of"),
        ([{"prompt": "Which?", "answer": ""}], "empty answer"),
        ([], "no questions"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(rows, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        read_questions(jsonl(tmp_path / "q.jsonl", rows))


def test_a_missing_or_broken_file_is_one_line(tmp_path):
    for name in ("none.jsonl", "none.csv", "none.parquet", "none.json"):
        with pytest.raises(BadInput, match="no such file"):
            read_questions(tmp_path / name)
    (tmp_path / "q.csv").write_text("question,A,B,answer\nWhich?,x,y\n")
    with pytest.raises(BadInput, match="line 2: 3 cells under 4 columns"):
        read_questions(tmp_path / "q.csv")
    (tmp_path / "q.json").write_text("[{")
    with pytest.raises(BadInput, match="not JSON"):
        read_questions(tmp_path / "q.json")
    (tmp_path / "q.parquet").write_text("PAR1")
    with pytest.raises(BadInput, match="cannot read"):
        read_questions(tmp_path / "q.parquet")


def question(name, text):
    return Question(name, text, "A", options=("x", "y"))


def test_a_leak_is_found_word_for_word_and_nearly():
    """Case and marks do not hide a question, nor does a new beginning; another one about the same thing is none."""
    body = "in a patient of sixty years with chest pain that radiates to the left arm what is the next step"
    train = [question("t1", "What is the capital of France?"), question("t2", f"Yesterday {body}?")]
    test = [
        question("same", "what IS the capital of france"),
        question("near", f"Today {body}?"),
        question("other", "In a patient of nine years with a rash, what is the next step to be taken by his doctor?"),
    ]
    found = leaks(train, test)
    assert [(leak.test, leak.train) for leak in found] == [("same", "t1"), ("near", "t2")]
    assert found[0].overlap == 1.0
    assert 0.5 <= found[1].overlap < 1.0
    with pytest.raises(BadInput, match="2 of 3 test questions are in the training set, such as 'same'"):
        refuse_leaks(train, test)
    refuse_leaks(train, test[2:])


def test_a_common_short_question_is_the_same_only_with_its_answer():
    """ "Which is true?" is asked of many things; with the same options or the same right answer it is a leak."""
    asked = [
        Question("a", "Which is true?", "A", options=("Ice floats.", "Ice sinks.")),
        Question("b", "Which is true?", "B", options=("Fire is cold.", "Fire is hot.")),
        Question("c", "Which is true?", "B", options=("Ice sinks.", "Ice floats.")),
        Question("d", "Which is true?", "B", options=("Ice is dry.", "Ice floats.")),
    ]
    assert [leak.test for leak in leaks(asked[:1], asked[1:])] == ["c", "d"]
    assert without_leaks([question("x", "What runs?"), *asked[1:]], asked[:1]) == [
        question("x", "What runs?"),
        asked[1],
    ]


@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 99))
def test_a_split_loses_nothing(count, share, seed):
    everything = [question(str(i), f"Question {i}?") for i in range(count)]
    learn, held = split(everything, share, seed)
    assert learn
    assert held
    assert sorted(q.id for q in learn + held) == sorted(q.id for q in everything)
