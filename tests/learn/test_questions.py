"""How the reply to a question of a user's file is read."""

import json

import pytest

from backcast.core.errors import BadInput
from backcast.learn.questions import is_right, load


@pytest.mark.parametrize(
    ("reply", "answer", "kind", "right"),
    [
        ("So \\boxed{12}", "12", "numeric", True),
        ("12", "12", "numeric", True),
        ("12.", "12", "numeric", True),
        ("<think>3 or 4?</think>\n1,200", "1200", "numeric", True),
        ("There are 12 of them", "12", "numeric", False),
        ("Paris.", "paris", "exact", True),
        ("It is Paris", "Paris", "exact", False),
        ("The answer is Rome. Paris", "Paris", "exact", False),
        ("(B)", "B", "choice", True),
        ("A long story", "A", "choice", False),
        ("The answer is B. aspirin", "B", "choice", True),
        ("", "12", "numeric", False),
    ],
)
def test_a_stated_answer_counts_and_a_reply_that_is_the_answer(reply, answer, kind, right):
    """``\\boxed{}``, ``<answer>`` and "answer is" first; a bare reply is the answer, a sentence holding it is not."""
    assert is_right(reply, answer, kind) is right


def test_no_held_out_question_is_learnt_from(tmp_path):
    """Every question stands in the file three times: the sides share no prompt, and nothing else is lost."""
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n % 20}?", "answer": str(n % 20)}) + "\n" for n in range(60)))
    learn, held = load(str(path), 0.2, 0)
    seen = {question.prompt for question in held}
    assert len(held) == 12
    assert not seen & {question.prompt for question in learn}
    assert seen | {question.prompt for question in learn} == {f"{n}?" for n in range(20)}
    assert len(learn) == 3 * (20 - len(seen))


def test_one_question_about_several_images_is_several_questions(tmp_path):
    """The same words about another image are no repetition; about the same image they are."""
    from PIL import Image

    lines = []
    for number in range(8):
        Image.new("RGB", (8, 8), (30 * number, 0, 0)).save(tmp_path / f"{number}.png")
        lines.append({"prompt": "Which digit?", "answer": str(number), "image": f"{number}.png"})
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    learn, held = load(str(path), 0.25, 0)
    assert (len(learn), len(held)) == (6, 2)
    assert [image.size for image in learn[0].row(True)["images"]] == [(8, 8)]
    path.write_text("".join(json.dumps({**line, "image": "0.png"}) + "\n" for line in lines))
    with pytest.raises(BadInput, match="repeats a held-out one"):
        load(str(path), 0.25, 0)
