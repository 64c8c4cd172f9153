"""The public layouts of question sets, told by their columns. Each turns one row into the fields of a ``Question``."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backcast.core.errors import BadInput
from backcast.text.problems.cells import Digits, nested
from backcast.text.problems.question import LETTERS, folded

Row = Mapping[str, Any]
Fields = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """One layout: the columns it is known by, and how a row is read."""

    name: str
    columns: frozenset[str]
    """All of these are there."""
    read: Callable[[Row], Fields]
    shuffle: bool = False
    """The right answer stands at a fixed place in the file; its options are shuffled by the seed when it is read."""


def recognise(row: Row) -> Layout | None:
    """The layout of a row, or None; the more particular ones are asked first."""
    return next((layout for layout in LAYOUTS if layout.columns <= row.keys()), None)


def _medqa(row: Row) -> Fields:
    fields = _choice(row, row["options"], row["answer_idx"])
    said = _text(row.get("answer"))
    other = [LETTERS[i] for i, option in enumerate(fields["options"]) if said and folded(option) == folded(said)]
    if other and fields["answer"] not in other:
        raise BadInput(f"answer_idx says {fields['answer']}, and answer has the text of {other[0]}; one is wrong")
    return {**fields, "subject": _text(row.get("meta_info"))}


def _medmcqa(row: Row) -> Fields:
    # ``cop`` counts from 0 in the distributed tables and from 1 in the original files; the reader settles which.
    options = [_text(row[name]) for name in ("opa", "opb", "opc", "opd")]
    fields = _choice(row, options, row["cop"])
    return {**fields, "subject": _text(row.get("subject_name"))}


def _pubmedqa(row: Row) -> Fields:
    context = row.get("CONTEXTS", row.get("context", row.get("contexts", ())))
    if isinstance(context, Mapping):
        context = context.get("contexts", ())
    parts = [context] if isinstance(context, str) else list(context)
    return {
        "id": row.get("pubid", row.get("id")),
        "question": _text(row.get("QUESTION", row.get("question"))),
        "options": ("yes", "no", "maybe"),
        "answer": _letter(("yes", "no", "maybe"), _text(row["final_decision"])),
        "context": "\n".join(_text(part) for part in parts),
    }


def _mmlu_pro(row: Row) -> Fields:
    # Rows with fewer than ten options are filled up with "N/A"; one before the end would move the letters.
    options = list(_options(row["options"]))
    while options and options[-1] == "N/A":
        options.pop()
    fields = _choice(row, options, row["answer"])
    index = row.get("answer_index")
    if isinstance(index, int) and fields["answer"] != LETTERS[index : index + 1]:
        raise BadInput(f"answer says {fields['answer']}, and answer_index {index}; one is wrong")
    return {**fields, "id": row["question_id"], "subject": _text(row.get("category"))}


def _mmlu(row: Row) -> Fields:
    # Its number is an index in tables too, whatever the options' texts are.
    answer = int(row["answer"]) if isinstance(row["answer"], Digits) else row["answer"]
    context = row.get("context")
    fields = {**_choice(row, row["choices"], answer), "subject": _text(row.get("subject"))}
    return {**fields, "context": context} if isinstance(context, str) else fields


def _bundled(row: Row) -> Fields:
    """Sets that are published with one column ``data`` for all of a question."""
    data = row["data"]
    context = data.get("Context") or ""
    asked = {"id": row.get("id"), "question": data["Question"]}
    return {
        **_choice(asked, data["Options"], data["Correct Option"]),
        "subject": _text(row.get("subject_name")),
        "context": context if isinstance(context, str) else "\n".join(map(_text, context)),
    }


def _gpqa(row: Row) -> Fields:
    options = [_text(row[name]) for name in ("Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3)))]
    return {
        "id": row.get("Record ID"),
        "question": _text(row["Question"]),
        "options": tuple(options),
        "answer": "A",
        "subject": _text(row.get("Subdomain") or row.get("High-level domain")),
    }


def _medxpert(row: Row) -> Fields:
    fields = _choice(row, row["options"], row["label"])
    # Their question repeats the options at its end.
    question = re.sub(r"\s*Answer Choices:\s*\(A\).*\Z", "", fields["question"], flags=re.DOTALL)
    return {**fields, "question": question, "subject": _text(row.get("body_system") or row.get("medical_task"))}


def _arc(row: Row) -> Fields:
    asked = row["question"]
    stem, choices = (asked["stem"], asked["choices"]) if isinstance(asked, Mapping) else (asked, row["choices"])
    if isinstance(choices, Mapping):
        choices = [{"text": t, "label": m} for t, m in zip(choices["text"], choices["label"], strict=True)]
    marks = [_text(choice["label"]) for choice in choices]
    key = _text(row["answerKey"])
    if key not in marks:
        raise BadInput(f"answerKey '{key}' is none of the labels {', '.join(marks)}")
    options = tuple(_text(choice["text"]) for choice in choices)
    return {"id": row.get("id"), "question": _text(stem), "options": options, "answer": LETTERS[marks.index(key)]}


def _plain(row: Row) -> Fields:
    fields = _choice(row, row["options"], row["answer"])
    level = row.get("level")
    return {
        **fields,
        "context": _text(row.get("context")),
        "subject": _text(row.get("subject") or row.get("category")),
        "level": int(level) if isinstance(level, int) else None,
    }


def _columns(row: Row) -> Fields:
    """A table with a column per option: A, B, C, ...; empty cells at the end are no options."""
    texts = [_text(row[letter]) for letter in LETTERS if letter in row]
    while texts and not texts[-1]:
        texts.pop()
    return {**_choice(row, texts, row["answer"]), "subject": _text(row.get("subject"))}


def _verifiable(row: Row) -> Fields:
    kind = _text(row.get("kind")) or "exact"
    if kind == "choice" and isinstance(row.get("options"), list | tuple | Mapping):
        return _plain({**row, "question": row["prompt"]})
    if kind not in ("numeric", "exact", "free"):
        raise BadInput(f"kind '{kind}' is not one of numeric, exact, free, or choice with options")
    common = {"context": _text(row.get("context")), "subject": _text(row.get("subject"))}
    return {
        "id": row.get("id"),
        "question": _text(row["prompt"]),
        "answer": _text(row["answer"]),
        "kind": kind,
        **common,
    }


def _choice(row: Row, options: Any, answer: Any) -> Fields:
    texts = _options(options)
    return {
        "id": row.get("id"),
        "question": _text(row["question"]),
        "options": texts,
        "answer": _letter(texts, answer),
    }


def _options(options: Any) -> tuple[str, ...]:
    """Option texts, A first, from a list, a mapping of letters, a list of {letter, content}, or JSON of these."""
    if isinstance(options, str):
        options = nested(options)
    if isinstance(options, Mapping):
        # A table of many rows fills absent letters with nulls.
        named = {str(key).strip().upper(): value for key, value in options.items() if value is not None}
        wanted = list(LETTERS[: len(named)])
        if sorted(named) != wanted:
            raise BadInput(f"options are named {', '.join(named)}; name them {', '.join(wanted)}")
        return tuple(_text(named[letter]) for letter in wanted)
    if not isinstance(options, Sequence) and hasattr(options, "tolist"):
        options = options.tolist()
    if not isinstance(options, Sequence):
        raise BadInput(f"options must be a list or {{A: ..}}, found {type(options).__name__}")
    if options and all(isinstance(entry, Mapping) for entry in options):
        return _options(
            {_of(entry, "letter", "key", "label"): _of(entry, "content", "value", "text") for entry in options}
        )
    return tuple(_text(entry) for entry in options)


def _of(entry: Row, *names: str) -> Any:
    """The value under the first of the names that an option has."""
    return next((entry[name] for name in names if name in entry), None)


def _letter(options: Sequence[str], answer: Any) -> str:
    """The letter that an answer means: a letter, an index from 0, or the text of exactly one option (or a list of it).

    Raises BadInput for none of these, and for a table's number that is an index and the text of another option.
    """
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)  # a table with gaps holds no integers
    if isinstance(answer, int) and not isinstance(answer, bool):
        if isinstance(answer, Digits) and str(answer) in options and options.index(str(answer)) != answer:
            raise BadInput(f"answer {answer} is an option's text and may be another's index; give its letter")
        if not 0 <= answer < len(options):
            raise BadInput(f"answer {answer} is no index of {len(options)} options, which count from 0")
        return LETTERS[answer]
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        if len(answer) != 1:
            raise BadInput(f"{len(answer)} answers; a choice has one")
        answer = answer[0]
    text = _text(answer)
    if len(text) == 1 and text.upper() in LETTERS[: len(options)]:
        return text.upper()
    same = [i for i, option in enumerate(options) if folded(option) == folded(text)]
    if len(same) == 1:
        return LETTERS[same[0]]
    if not same and text.isdecimal():
        return _letter(options, int(text))
    known = ", ".join(LETTERS[: len(options)])
    raise BadInput(f"answer '{text[:40]}' is none of the options {known}, nor the text of one")


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _known(name: str, read: Callable[[Row], Fields], *columns: str, shuffle: bool = False) -> Layout:
    return Layout(name, frozenset(columns), read, shuffle)


LAYOUTS = (
    _known("MedMCQA", _medmcqa, "question", "opa", "opb", "opc", "opd", "cop"),
    _known("PubMedQA", _pubmedqa, "QUESTION", "final_decision"),
    _known("PubMedQA", _pubmedqa, "question", "final_decision"),
    _known("GPQA", _gpqa, "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", shuffle=True),
    _known("MMLU-Pro", _mmlu_pro, "question_id", "question", "options", "answer", "category"),
    _known("MedQA", _medqa, "question", "options", "answer_idx"),
    _known("MedXpertQA", _medxpert, "question", "options", "label"),
    _known("ARC", _arc, "question", "answerKey"),
    _known("MMLU", _mmlu, "question", "choices", "answer"),
    _known("bundled", _bundled, "data"),
    _known("plain", _plain, "question", "options", "answer"),
    _known("columns", _columns, "question", "A", "B", "answer"),
    _known("verifiable", _verifiable, "prompt", "answer"),
)
"""Every layout that is known, the particular before the general."""
