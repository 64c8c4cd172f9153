"""Judging writing: the likelihood of good texts under own thinking, and the pairwise judge, worked by hand."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.lm.base import Completion, Prompt, Sampling, Scoring, TokenScores
from backcast.reasons.pairs import Pair, Request, read_requests
from backcast.reasons.writing import (
    RUBRIC,
    Judging,
    ask,
    compare,
    own_thinking,
    read_rubric,
    settle,
    verdict,
    writing_result,
    writing_traces,
)

PAIRS = [Pair("one", "Say a.", "a a a"), Pair("two", "Say b.", "b b")]


class SpokenLM:
    """Answers with what ``speak`` makes of a prompt and a draw's number; every character of a text that lies behind
    the start costs the number of characters before it (so an expected NLL can be counted by hand)."""

    def __init__(self, name: str, speak: Callable[[Prompt, int], Completion]) -> None:
        self.name = self.fingerprint = name
        self.speak = speak
        self.asked: list[tuple[Prompt, Sampling]] = []

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        self.asked += [(prompt, sampling) for prompt in prompts]
        return [[self.speak(prompt, draw) for draw in range(n)] for prompt in prompts]

    def logprobs(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        return [
            [
                TokenScores(np.array([-float(len(item.prompt.prefill) + at) for at in range(start, len(text))]))
                for text, start in zip(item.continuations, item.starts, strict=True)
            ]
            for item in items
        ]


def thinker(*texts: str, finished: bool = True) -> SpokenLM:
    return SpokenLM("thinker", lambda prompt, draw: Completion(texts[draw], 5, finished))


def expected(before: int, answer: str) -> float:
    """The mean cost of an answer that ``before`` characters precede."""
    return float(np.mean(before + np.arange(len(answer))))


def test_the_text_is_scored_behind_the_models_own_thinking():
    """The value of an item is the mean over its thinkings of the mean cost of its answer's tokens behind
    ``<think>\\n z \\n</think>\\n\\n``; beside it the same without a block, and behind an empty one."""
    found = own_thinking(PAIRS, thinker("zz\n</", "zzzz\n</"), Judging(samples=2))
    frame = len("<think>\n") + len("\n</think>\n\n")
    for i, pair in enumerate(PAIRS):
        assert found.plain[i] == expected(0, pair.answer)
        assert found.empty[i] == expected(frame, pair.answer)
        assert found.nll[i] == np.mean([expected(frame + 2, pair.answer), expected(frame + 4, pair.answer)])
    assert found.ids == ("one", "two")
    assert found.thinking == (("zz", "zzzz"), ("zz", "zzzz"))


@pytest.mark.parametrize(
    ("text", "finished", "closed", "thinking"),
    [
        ("a thought\n</", True, 1.0, "a thought"),
        ("a thought", True, 0.0, "a thought"),  # its turn ended inside the block
        ("a thought\n</", False, 0.0, "a thought\n</"),  # cut by max_tokens just there
        ("a thought\n<", True, 0.0, "a thought"),  # opened a second block
        ("</", True, 1.0, ""),  # closed at once: scored behind an empty block
    ],
)
def test_closing_a_block_is_told_from_ending_a_turn(text, finished, closed, thinking):
    """Sampling stops inside the closing tag, so that what is left of it shows whether the block was closed."""
    found = own_thinking(PAIRS[:1], thinker(text, finished=finished))
    assert found.closed.tolist() == [closed]
    assert found.thinking == ((thinking,),)
    if not thinking:
        assert found.nll.tolist() == found.empty.tolist()


def test_the_model_is_asked_inside_a_thinking_block():
    """The prompt ends with an open block, and the sampling settings are those asked for."""
    model = thinker("z</")
    own_thinking(PAIRS, model, Judging(temperature=0.3, top_p=0.5, thinking_tokens=7, seed=4, batch=1))
    assert [prompt for prompt, _ in model.asked] == [
        Prompt((("user", pair.prompt),), prefill="<think>\n") for pair in PAIRS
    ]
    assert {sampling for _, sampling in model.asked} == {Sampling(0.3, 0.5, 7, 4, ("think>",))}


def test_another_model_may_give_the_likelihoods():
    """With a scorer, thinking is the model's and the likelihoods are the scorer's."""

    class Flat(SpokenLM):
        def logprobs(self, items):
            return [[TokenScores(np.array([-2.5], np.float32)) for _ in item.continuations] for item in items]

    flat = Flat("flat", lambda prompt, draw: Completion("", 0, True))
    found = own_thinking(PAIRS, thinker("z</"), scorer=flat)
    assert found.nll.tolist() == [2.5, 2.5]
    assert flat.asked == []
    assert found.thinking == (("z",), ("z",))


def test_a_comparison_is_paired_item_by_item():
    """Two models on the same items give a paired difference: a constant advantage has an interval of no width."""
    mine, base = own_thinking(PAIRS, thinker("z</")), own_thinking(PAIRS, thinker("zzzz</"))
    result = writing_result(mine, base, "self")
    own, empty, plain, brought = result.gaps
    assert (own.value - own.baseline, own.low, own.high, own.n, own.paired) == (-3.0, -3.0, -3.0, 2, True)
    assert (empty.value, plain.value) == (empty.baseline, plain.baseline)
    assert brought.value - brought.baseline == 3.0, "what thinking brings grows by what its likelihood falls"
    assert [entry["nll"] - entry["base_nll"] for entry in result.outputs["items"]] == [-3.0, -3.0]
    alone = writing_result(mine, None, "self").gaps[0]
    assert (alone.baseline, alone.paired, alone.value) == (None, False, own.value)


def test_a_judgement_leaves_one_trace_an_item():
    """Both thinkings and both likelihoods of each held-out text; the change is what training brought, by hand -3."""
    mine, base = own_thinking(PAIRS, thinker("z</")), own_thinking(PAIRS, thinker("zzzz</"))
    first, second = writing_traces(PAIRS, mine, base)
    assert (first.id, first.kind, first.outcome, first.data["untouched_thinking"]) == ("one", "judge", "z", "zzzz")
    assert first.data["known_good_text"] == "a a a"
    assert first.score.value == mine.nll[0]
    assert first.score.parts["untouched, own thinking"] == base.nll[0]
    assert first.score.parts["no thinking block"] == first.score.parts["untouched, no thinking block"] == mine.plain[0]
    assert [trace.data["change"] for trace in (first, second)] == [-3.0, -3.0]


def test_thinking_that_goes_in_circles_shows():
    """Repetition is the share of words in the commonest trigram, averaged over the thinkings of an item."""
    found = own_thinking(PAIRS[:1], thinker("go on and go on and</", "one two three four</"), Judging(samples=2))
    assert found.repetition.tolist() == [0.5]


def test_a_real_model_is_judged_the_same_every_time(tiny_llama):
    """On a real tiny model: equal seeds give equal values, and they are the plain likelihoods of the same texts."""
    from backcast.lm.models import load

    model = load(str(tiny_llama))
    settings = Judging(samples=2, thinking_tokens=12, temperature=1.0, seed=3)
    found, again = (own_thinking(PAIRS, model, settings) for _ in range(2))
    assert found.thinking == again.thinking
    assert found.nll.tolist() == again.nll.tolist()
    by_hand = [
        Scoring(Prompt((("user", pair.prompt),)), tuple(lead + pair.answer for lead in leads), tuple(map(len, leads)))
        for pair, some in zip(PAIRS, found.thinking, strict=True)
        for leads in [[f"<think>\n{text}\n</think>\n\n" for text in some]]
    ]
    values = [np.mean([score.nll for score in row]) for row in model.logprobs(by_hand)]
    assert found.nll == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Text A flows.\n[[A]]", "A"),
        ("<think>\n[[B]]? no\n</think>\n\n[[TIE]]", "TIE"),
        ("[[B]] and once more [[B]]", "B"),
        ("[[A]] or [[B]]", None),
        ("A is better", None),
        ("[[a]]", None),
        ("<think>\nall of it thinking [[A]]", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_strictly(reply, said):
    """Exactly one distinct verdict behind the thinking counts; everything else is unparsed."""
    assert verdict(reply) == said


def test_a_win_needs_both_orders():
    """All 16 pairs of verdicts: a win or a loss only when both orders name one model, unparsed if either is."""
    for first, swapped in itertools.product(("A", "B", "TIE", None), repeat=2):
        outcome = settle(first, swapped)
        if None in (first, swapped):
            assert outcome is None
        elif (first, swapped) == ("A", "B"):
            assert outcome == 1.0
        elif (first, swapped) == ("B", "A"):
            assert outcome == 0.0
        else:
            assert outcome == 0.5


def writer(name: str, *texts: str) -> SpokenLM:
    """Answers the i-th request with the i-th text."""
    return SpokenLM(name, lambda prompt, draw: Completion(texts[int(prompt.messages[-1][1].split()[-1])], 5, True))


def judged(rule: Callable[[str, str], str]) -> SpokenLM:
    """A judge that decides by ``rule`` from the two texts it is shown."""

    def speak(prompt: Prompt, draw: int) -> Completion:
        shown = prompt.messages[0][1]
        a, b = (shown.split(f"<text_{side}>\n")[1].split(f"\n</text_{side}>")[0] for side in "AB")
        return Completion(rule(a, b), 5, True)

    return SpokenLM("judge", speak)


REQUESTS = [Request(str(i), f"Write number {i}", "plain") for i in range(4)]
LONG = writer("long", "aaaa", "aaaa", "<think>\nx\n</think>\n\naaaa", "aaaa")
SHORT = writer("short", "b", "b", "b", "b")


def test_a_judge_with_a_taste_decides_and_one_with_a_place_ties():
    """A judge who prefers the longer text gives the longer writer every win, one who always says A only ties, and one
    who cannot be read leaves no outcome at all: unparsed is never a tie."""
    longer = judged(lambda a, b: "[[A]]" if len(a) > len(b) else "[[B]]")
    found = compare(REQUESTS, (LONG, SHORT), longer)
    assert found.outcomes == (1.0, 1.0, 1.0, 1.0)
    assert compare(REQUESTS, (SHORT, LONG), longer).outcomes == (0.0, 0.0, 0.0, 0.0)
    assert (found.win_rate().value, found.win_rate().n, found.unparsed) == (1.0, 4, 0)
    assert found.texts[2] == ("aaaa", "b")  # thinking is not shown to the judge
    assert compare(REQUESTS, (LONG, SHORT), judged(lambda a, b: "[[A]]")).outcomes == (0.5, 0.5, 0.5, 0.5)
    mute = compare(REQUESTS, (LONG, SHORT), judged(lambda a, b: "both are fine" if a == "b" else "[[A]]"))
    assert mute.outcomes == (None, None, None, None)
    assert (mute.unparsed, mute.win_rate().value, mute.win_rate().n) == (4, None, 0)


def test_an_answer_without_text_loses_unasked():
    """A model that never leaves its thinking has written nothing: it loses, and the judge is not asked about it."""
    lost = writer("lost", "<think>\nfor ever", "fine", "<think>\nfor ever", "fine")
    other = writer("other", "text", "text", "<think>\nfor ever", "text")
    judge = judged(lambda a, b: "[[TIE]]")
    found = compare(REQUESTS, (lost, other), judge, settings=Judging(batch=3))
    assert found.outcomes == (0.0, 0.5, 0.5, 0.5)
    assert found.empty == (2, 1)
    assert len(judge.asked) == 4  # two requests, both orders
    assert {sampling.temperature for _, sampling in judge.asked} == {0.0}


def test_requests_in_three_layouts_reach_the_judge(tmp_path):
    """WritingBench's checklist, HelloBench's criteria and LongBench-Write's length stand in the judge's prompt."""
    checklist = [{"name": "Voice", "criteria_description": "It sounds like a person.", "1-2": "no", "9-10": "yes"}]
    path = tmp_path / "requests.jsonl"
    lines = [
        {"index": 1, "query": "Write a toast", "checklist": checklist, "domain1": "x", "domain2": "y", "lang": "en"},
        {"prompt": "Write a report", "type": "report", "length": 900},
        {"id": "h", "chat_prompt": "Write an essay", "checklists": ["Is it about rain?"]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    shown = [ask(request, RUBRIC, "first", "second").messages[0][1] for request in read_requests(path)]
    assert "- Voice: It sounds like a person." in shown[0]
    assert "about 900 words" in shown[1]
    assert "- Is it about rain?" in shown[2]
    assert all(RUBRIC in text and text.index("first") < text.index("second") for text in shown)


def test_a_rubric_comes_from_a_file(tmp_path):
    """The file's text is what the judge is told; a missing or empty file is refused in one line."""
    path = tmp_path / "rubric.txt"
    path.write_text("  Prefer {braces} and wit.\n")
    assert "Prefer {braces} and wit.\n\n<request>" in ask(REQUESTS[0], read_rubric(path), "a", "b").messages[0][1]
    path.write_text(" \n")
    with pytest.raises(BadInput, match="is empty"):
        read_rubric(path)
    with pytest.raises(BadInput, match="no such file"):
        read_rubric(Path("nowhere.txt"))


def test_settings_that_cannot_work_are_refused():
    """No samples, no tokens: refused at once."""
    with pytest.raises(ValueError, match="samples must be at least 1, found 0"):
        Judging(samples=0)
