"""The stage's summary: figures, gaps, vital signs, and the errors of a search that did nothing."""

from typing import Any

import pytest

from backcast.core.errors import InertMethod, WorkFailed
from backcast.core.problem import Score
from backcast.core.run import StageResult
from backcast.core.trace import Trace
from backcast.reasons.settings import PRESETS
from backcast.reasons.stage import figures, summary

SMALL = PRESETS["small"]
NAMES = {"generator": "g", "scorer": "s"}


def candidate(rejected: str | None, value: float | None) -> dict[str, Any]:
    return {"kind": "plan", "rejected": rejected, "value": value}


def trace(name: str, plain: float, start: float, final: float, dropped: str | None = None, **more: Any) -> Trace:
    nlls = {"plain": plain, "empty": plain, "start": start, "final": final}
    fates = [candidate(None, final), candidate("not better", 9.0), candidate("overlap", None), candidate("empty", None)]
    data = {
        "accepted": True,
        "dropped": dropped,
        "nll": nlls,
        "objective": {"start": start, "final": final},
        "steps": [
            {"accepted": 0, "after": final, "candidates": fates},
            {"accepted": None, "after": final, "candidates": []},
        ],
        "overlap": {"ngram": 0.04, "content": 0.5, "longest": 9},
        "lineage": {"request": "given"},
        "calls": {"scores": 3, "report_scores": 2, "generations": 2},
        **more,
    }
    return Trace(name, name, "reer", None if dropped else "z", Score(final, nlls, plain), data)


TRACES = [trace("a", 3.0, 3.2, 2.8), trace("b", 4.0, 4.4, 3.4), trace("c", 9.0, 9.0, 9.0, dropped="repetition")]


def test_figures_are_means_over_kept_items() -> None:
    """The dropped item counts as dropped and as calls, not in any mean."""
    found = figures(TRACES)
    assert {key: found[key] for key in ("items", "done", "dropped", "accepted", "calls")} == {
        "items": 3, "done": 3, "dropped": 1, "accepted": 2, "calls": 21,
    }  # fmt: skip
    assert [found[f"nll_{name}"] for name in ("plain", "empty", "start", "final")] == pytest.approx(
        [3.5, 3.5, 3.8, 3.1]
    )


def test_candidates_that_could_never_be_scored_are_an_error_that_says_why() -> None:
    """Two items whose four candidates hold no tag: the error counts them and names the preset for weak models."""
    steps = [{"accepted": None, "after": 3.0, "candidates": [candidate("unparsed", None), candidate("empty", None)]}]
    with pytest.raises(InertMethod, match=r"none of 4 candidates .*unparsed: 2, empty: 2.*--preset small"):
        summary([trace(name, 3.0, 3.0, 3.0, steps=steps) for name in "ab"], SMALL, NAMES, "p")


def test_columns_of_a_judge_stand_only_where_one_was_asked() -> None:
    """Without a judge the table of texts has no column that nothing could fill."""
    columns = summary(TRACES, SMALL, NAMES, "p").tables[0].columns
    assert columns == ["item", "no thinking", "empty thinking", "first", "refined", "dropped"]
    judged = summary([trace("a", 3, 3, 2, judge={"start": 5.0, "final": 4.0})], SMALL, NAMES, "p").tables[0]
    assert judged.rows == [["a", 3, 3, 3, 2, 5.0, 4.0, ""]]


def test_gaps_stand_against_none_and_first() -> None:
    """Both baselines appear, with the interval of the paired difference; a judge adds its own row."""
    none, first = summary(TRACES, SMALL, NAMES, "p").gaps
    assert (none.baseline, none.value, none.n) == (pytest.approx(3.5), pytest.approx(3.1), 2)
    assert first.baseline == pytest.approx(3.8)
    assert none.low is not None
    assert none.high is not None
    assert none.low <= none.value - none.baseline <= none.high
    judged = [trace("a", 3, 3, 2, judge={"plain": 5.0, "start": 5.0, "final": 4.0})]
    assert summary(judged, SMALL, {**NAMES, "judge": "j"}, "p").gaps[2].value == 4.0


def test_vitals() -> None:
    """Rates by hand: half of the visits accepted, a quarter of the candidates leaking, a quarter unusable."""
    vitals = {vital.name: vital for vital in summary(TRACES, SMALL, NAMES, "p").vitals}
    assert vitals["accept_rate"].value == 0.5
    assert vitals["median_drop"].value == pytest.approx(0.7)
    assert vitals["median_gain"].value == pytest.approx(0.4)
    assert (vitals["leaking"].value, vitals["unusable"].value, vitals["duplicates"].value) == (0.25, 0.25, 0.0)
    assert vitals["dropped"].value == pytest.approx(1 / 3)
    assert vitals["overlap"].ok


def test_curve_carries_the_last_value() -> None:
    """After an item ended, the mean goes on with its last value."""
    (curve,) = summary(TRACES, SMALL, NAMES, "p").curves
    assert curve.series["all items"] == [[0, pytest.approx(3.8)], [1, pytest.approx(3.1)], [2, pytest.approx(3.1)]]


def test_result_survives_a_json_round_trip() -> None:
    """Everything in the summary is plain, as a run stores it."""
    found = summary(TRACES, SMALL, NAMES, "p").to_dict()
    assert StageResult.from_dict(found).to_dict() == found


def test_a_generator_that_says_nothing_is_inert() -> None:
    """Candidates existed and none was ever scored: an error, not a result."""
    mute = trace("a", 3, 3, 3)
    mute.data["steps"][0].update(accepted=None, candidates=[candidate("unparsed", None)])
    with pytest.raises(InertMethod, match="changed nothing in 1 opp"):
        summary([mute], SMALL, NAMES, "p")


def test_scored_but_never_better_is_a_result() -> None:
    """Where the likelihood decided against every candidate, the run stands and says so in its vital signs."""
    kept = trace("a", 3, 3, 3)
    kept.data["steps"][0].update(accepted=None, candidates=[candidate("not better", 3.5)])
    vitals = {vital.name: vital for vital in summary([kept], SMALL, NAMES, "p").vitals}
    assert vitals["accept_rate"].ok is False


def test_nothing_kept_fails_with_the_reasons() -> None:
    """If every item was dropped, the error counts why."""
    with pytest.raises(WorkFailed, match=r"all 1 items were dropped \(short: 1\)"):
        summary([trace("a", 3, 3, 3, dropped="short")], SMALL, NAMES, "p")
