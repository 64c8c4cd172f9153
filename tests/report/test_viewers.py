"""What the page keeps of a trace, checked against traces that the REER search itself writes."""

import itertools
import json
import random
import re
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.problem import Score
from backcast.core.trace import Trace, TraceLog
from backcast.lm.base import Completion, TokenScores
from backcast.reasons.lockstep import Models
from backcast.reasons.pairs import Pair
from backcast.reasons.reer import search
from backcast.reasons.settings import PRESETS
from backcast.report.viewers import PLAIN, VIEWERS, token_pieces, viewer_of
from tests.report.sample import make_traces, writing_pairs

REER = VIEWERS["reer"]


class NoisyLM:
    """A language model for the search: writes numbered sentences, and scores each word at random but repeatably."""

    name = fingerprint = "noisy"

    def sample(self, prompts, n, sampling):
        text = " ".join(f"I should say the {word} thing plainly and then go on." for word in ("first", "next", "last"))
        thinking = "\n\n".join([text] * 3)
        body = f"<refine>{text} ({random.Random(sampling.seed).random():.3f})</refine> {thinking}"
        return [[Completion(body, 400, True)] * n for _ in prompts]

    def logprobs(self, items):
        return [
            [self._score(item.prompt.prefill, *pair) for pair in zip(item.continuations, item.starts, strict=True)]
            for item in items
        ]

    def _score(self, prefill, text, start):
        rng = random.Random(prefill + text)
        offsets = tuple(match.span() for match in re.finditer(r"\S+\s*", text) if match.end() > start)
        return TokenScores(np.array([-rng.random() for _ in offsets], np.float32), offsets)


def test_traces_of_the_real_search_are_shown_whole(tmp_path):
    """Every figure the viewer draws is found in what the search writes: a renamed key there fails here."""
    pairs = [Pair(row["id"], row["prompt"], row["answer"]) for row in writing_pairs(2)]
    model = NoisyLM()
    settings = replace(PRESETS["small"], min_start_tokens=1)
    for trace in search(pairs, Models(model, model), settings, TraceLog(tmp_path / "traces.jsonl")):
        slim = REER.slim(trace, 20_000)
        assert REER.rank(trace) is not None
        assert REER.curve(trace).series["with thinking"][0][1] == trace.data["objective"]["start"]
        assert all(isinstance(slim["nll"][name], float) for name in ("plain", "empty", "start", "final"))
        assert "".join(piece[0] for piece in slim["pieces"]) == trace.data["answer"]
        assert len(slim["steps"]) == len(trace.data["steps"]) > 0
        candidates = [candidate for step in slim["steps"] for candidate in step["candidates"]]
        assert {candidate["kind"] for candidate in candidates} <= {"edit", "plan", "insert", "delete"}
        assert any(isinstance(candidate["delta"], float) for candidate in candidates)
        assert slim["start"]
        assert slim["final"]
        assert slim["overlap"]
        assert slim["filters"]
        assert slim["calls"]


def test_slim_traces_leave_the_candidates_arrays_out():
    """The candidates' per-token log-probabilities are most of a trace; they stay in the trace file."""
    trace = make_traces(1)[0]
    assert "logprobs" in trace.to_json()
    assert "logprobs" not in json.dumps(REER.slim(trace, 20_000))


def test_an_item_given_up_early_has_no_figures():
    """An item dropped before any scoring ranks nowhere, has no curve, and shows null rather than 0."""
    trace = make_traces(6)[-1]
    assert trace.data["dropped"] == "one_segment"
    slim = REER.slim(trace, 20_000)
    assert REER.rank(trace) is None
    assert REER.curve(trace) is None
    assert slim["nll"] == {}
    assert slim["pieces"] == []
    assert slim["answer"] == trace.data["answer"]


def test_token_pieces_by_hand():
    """Text between tokens has null figures; a second token on the same character adds its nats to the first."""
    tokens = {
        "offsets": [[0, 2], [3, 4], [3, 4], [4, 6]],
        "start": [-1.0, -0.5, -0.25, -2.0],
        "final": [-1, -1, -1, -1],
    }
    assert token_pieces("ab é!.x", tokens) == [
        ["ab", None, 1.0, 1.0],
        [" ", None, None, None],
        ["é", None, 0.75, 2.0],
        ["!.", None, 2.0, 1.0],
        ["x", None, None, None],
    ]


@given(st.text(max_size=30), st.data())
def test_token_pieces_put_the_text_back_together(text, data):
    """Whatever the offsets, the pieces are the text, in order, once, and no token's nats are lost."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    offsets = [[a, b] for a, b in itertools.pairwise(cuts)]
    tokens = {"offsets": offsets, "start": [-1.0] * len(offsets)}
    pieces = token_pieces(text, tokens)
    assert "".join(piece[0] for piece in pieces) == (text if offsets else "")
    total = sum(piece[2] for piece in pieces if piece[2] is not None)
    assert total == len(offsets)


def test_held_out_texts_are_ranked_by_what_training_brought():
    """Best is the text that became likeliest against the untouched model, not the one that is likeliest."""
    viewer = viewer_of("judge")
    most, least = (
        Trace(n, n, "judge", "z", Score(v), {"change": c}) for n, v, c in (("a", 4.0, -0.4), ("b", 3.0, 0.1))
    )
    assert viewer.rank(most) < viewer.rank(least)
    assert viewer.rank(Trace("c", "c", "judge")) is None
    assert viewer.slim(most, 400)["data"] == {"change": -0.4}


def test_other_kinds_are_shown_plainly_and_ranked_by_their_score():
    """A kind without a viewer: nearest to the known good outcome first, or the highest score where there is none."""
    near, far = (Trace(name, name, "route", None, Score(value, {}, 10.0)) for name, value in (("a", 10.5), ("b", 14.0)))
    assert viewer_of("route") is PLAIN
    assert PLAIN.rank(near) < PLAIN.rank(far)
    high, low = (Trace(name, name, "quiz", "x", Score(value)) for name, value in (("a", 1.0), ("b", 0.0)))
    assert PLAIN.rank(high) < PLAIN.rank(low)
    assert PLAIN.rank(Trace("c", "c", "quiz")) is None
    assert PLAIN.slim(Trace("c", "c", "quiz"), 400)["score"]["value"] is None
