"""Scores: the worked table, the plain loops as oracle, order, bootstrap, populations."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.scenes.counts import Persistence, forecast_all
from backcast.scenes.forecast import Case, GraphForecast, cases, certain
from backcast.scenes.problems import ACTION_GENOME, Frame, Group, Vocabulary
from backcast.scenes.problems.household import make_household
from backcast.scenes.score import (
    COMPAT,
    MODES,
    Rules,
    by_horizon,
    interval,
    mean_recall,
    metric,
    short_and_long,
    summary,
    tally,
)
from tests.scenes import plain, worked

KS = (1, 2, 3, 5, 8, 10, 20, 50)
TABLE = {
    "with": (0.1080, 0.2159, 0.3239, 0.5398, 0.6023, 0.6023, 0.6023, 0.1442, 0.1635, 0.1635, 0.1635),
    "multi": (0.1080, 0.2159, 0.3239, 0.5398, 0.7273, 0.7273, 0.7273, 0.1442, 0.2404, 0.2404, 0.2404),
    "no": (0.1080, 0.2159, 0.3239, 0.5398, 0.7273, 0.7727, 0.7727, 0.1442, 0.2404, 0.2596, 0.2596),
    "ootsm-with": (0.0625, 0.1705, 0.2330, 0.4489, 0.7273, 0.7273, 0.7273, 0.1250, 0.2404, 0.2404, 0.2404),
}


def scored(forecasts=None, asked=None, vocabulary=ACTION_GENOME, **rules):
    forecasts = forecasts or [worked.forecast()]
    asked = asked or [worked.case()]
    return tally(forecasts, asked, vocabulary, Rules(**{"ks": KS, "modes": MODES + COMPAT, **rules}))


@pytest.mark.parametrize("mode", TABLE)
def test_worked_table(mode):
    """Every figure of the worked table to four decimals."""
    sums = scored().total()
    row = [metric(sums, f"{mode} R@{k}") for k in KS[:7]] + [metric(sums, f"{mode} mR@{k}") for k in (5, 8, 10, 20)]
    assert [round(float(value), 4) for value in row] == list(TABLE[mode])
    assert metric(sums, f"{mode} R@50") == metric(sums, f"{mode} R@20")


def test_worked_sets_and_calibration():
    """Objects, hard triplets, novelty, appearance, disappearance, Brier, and mean recall over present predicates."""
    found = scored()
    sums, all_of = found.total(), summary(found.total(), found)
    assert all_of["objects"] == {"precision": 0.8, "recall": 0.8, "f1": 0.8, "strict": 0.5}
    assert all_of["sets"] == {"exact": 0.5, "superset": 0.0, "partial": 0.5, "none": 0.0}
    assert [round(all_of["triplets"][key], 4) for key in ("precision", "recall", "f1")] == [0.7647, 0.6842, 0.7222]
    assert round(all_of["calibration"]["brier"], 5) == 0.02516
    counts = {
        family: [int(sums[f"{family} {word}"]) for word in ("tp", "fn", "fp")]
        for family in ("novel", "appear", "vanish")
    }
    assert counts == {"novel": [2, 5, 4], "appear": [0, 1, 1], "vanish": [2, 0, 0]}
    assert round(float(mean_recall(sums, "with", 10, present_only=True)), 4) == 0.3864
    assert round(float(mean_recall(sums, "no", 10, present_only=True)), 4) == 0.6136


def test_worked_frames():
    """Each frame alone: with @5 .6250 and .4545, @10 .7500 and .4545; no @10 1.0 and .5455."""
    lines = by_horizon(scored())
    assert [line["horizon"] for line in lines] == ["1", "2-3"]
    seen = [
        [round(line["modes"][mode][f"R@{k}"], 4) for line in lines]
        for mode, k in (("with", 5), ("with", 10), ("no", 10))
    ]
    assert seen == [[0.625, 0.4545], [0.75, 0.4545], [1.0, 0.5455]]


@pytest.mark.parametrize("mode", MODES)
def test_worked_persistence(mode):
    """The last graph, copied, gets the same figures in every mode."""
    copied = certain("worked", [worked.LAST] * 2, ACTION_GENOME)
    sums = scored([replace(copied, index=np.array([20, 30]))]).total()
    assert round(float(metric(sums, f"{mode} R@10")), 4) == 0.6477
    assert round(float(metric(sums, f"{mode} mR@10")), 4) == 0.1827


def random_cases(seed, clips=6):
    """Forecasts with ties and zeros, and what followed, on a small vocabulary."""
    words = Vocabulary(
        ("a", "b", "c", "d"), (Group("x", ("x0", "x1", "x2"), arity="one"), Group("y", ("y0", "y1"), allow_empty=True))
    )
    rng = np.random.default_rng(seed)
    forecasts, asked = [], []
    for i in range(clips):
        length = int(rng.integers(1, 12))
        frames = []
        for t in range(length + 1):
            things = rng.permutation(4)[: rng.integers(0, 4)].tolist()
            held = {o: (int(rng.integers(3)), *(3 + np.flatnonzero(rng.random(2) < 0.4)).tolist()) for o in things}
            frames.append(Frame(t, held, t / 2))
        predicates = rng.integers(0, 11, (length, 4, 5)) / 10
        listed = rng.random((length, 4)) < 0.7
        objects = rng.integers(1, 5, (length, 4)) / 4
        forecasts.append(GraphForecast(str(i), np.arange(1, length + 1), objects, predicates, listed))
        asked.append(Case(str(i), tuple(frames[:1]), tuple(frames[1:])))
    return words, forecasts, asked


@given(st.integers(0, 10_000))
def test_equal_to_plain_loops(seed):
    """Vectorised ranks equal the loop over triplets: recall and mean recall of all modes, F1 of novel triplets."""
    words, forecasts, asked = random_cases(seed)
    if not any(frame.objects for case in asked for frame in case.future):
        return
    sums = tally(forecasts, asked, words, Rules(ks=(1, 3, 10))).total()
    for mode in MODES:
        for k in (1, 3, 10):
            want = plain.recalls(forecasts, asked, words, mode, k)
            got = metric(sums, f"{mode} R@{k}"), metric(sums, f"{mode} mR@{k}")
            assert got == pytest.approx(want, abs=1e-12)
    if sums["novel tp"] + sums["novel fp"] + sums["novel fn"]:
        assert float(metric(sums, "novel f1")) == pytest.approx(plain.novel_f1(forecasts, asked))


def test_copying_by_horizon():
    """Copying the last frame, counted by plain loops in each horizon bin, and never better further ahead."""
    clips = make_household(60, seed=7)
    asked, _ = cases(clips.clips, 0.3)
    shares: dict[str, list[float]] = {}
    for case in asked:
        copied = sorted((o, r) for o, held in case.seen[-1].objects.items() for r in held)[:10]
        for ahead, frame in enumerate(case.future, 1):
            true = {(o, r) for o, held in frame.objects.items() for r in held}
            name = "1" if ahead == 1 else "2-3" if ahead < 4 else "4-8" if ahead < 9 else "9+"
            shares.setdefault(name, []).append(len(true & set(copied)) / len(true))
    made = forecast_all(Persistence(clips.vocabulary), [(case.id, case.seen, case.future) for case in asked])
    lines = by_horizon(tally(made, asked, clips.vocabulary, Rules(ks=(10,), modes=("no",))))
    found = [line["modes"]["no"]["R@10"] for line in lines]
    assert found == pytest.approx([np.mean(shares[line["horizon"]]) for line in lines])
    assert all(after < before + 0.01 for before, after in itertools.pairwise(found))
    assert len(found) == 4


def test_short_and_long():
    """Near and far frames are all frames: recall over all is their mean by frames; what no clip reaches is left out."""
    clips = make_household(40, seed=8)
    asked, _ = cases(clips.clips, 0.3)
    made = forecast_all(Persistence(clips.vocabulary), [(case.id, case.seen, case.future) for case in asked])
    found = tally(made, asked, clips.vocabulary, Rules(ks=(10,), modes=("no",)))
    near, far = short_and_long(found).values()
    whole, frames = summary(found.total(), found)["modes"]["no"], near["frames"] + far["frames"]
    assert frames == summary(found.total(), found)["frames"]
    mean = sum(part["modes"]["no"]["R@10"] * part["frames"] for part in (near, far)) / frames
    assert mean == pytest.approx(whole["R@10"], abs=2e-3)  # frames without a triplet are in "frames" alone
    assert near["modes"]["no"]["R@10"] > far["modes"]["no"]["R@10"] + 0.1
    few = [Case(case.id, case.seen, case.future[:3]) for case in asked]
    made = forecast_all(Persistence(clips.vocabulary), [(case.id, case.seen, case.future) for case in few])
    (name,) = short_and_long(tally(made, few, clips.vocabulary, Rules(ks=(10,), modes=("no",))))
    assert name.startswith("short, up to 3 frames")


def test_nothing_is_changed_and_order_does_not_matter():
    """Modes scored one by one equal all at once (no softmax in place); the arrays stay as they were."""
    one = worked.forecast()
    before = one.predicates.copy()
    together = scored([one]).total()
    for mode in reversed(MODES + COMPAT):
        alone = tally([one], [worked.case()], ACTION_GENOME, Rules(ks=KS, modes=(mode,))).total()
        for k in KS:
            assert metric(alone, f"{mode} R@{k}") == metric(together, f"{mode} R@{k}")
    assert (one.predicates == before).all()


def test_order_of_objects_in_a_frame_does_not_matter():
    """Truth written in another order of objects scores the same."""
    turned = tuple(Frame(f.index, dict(reversed(f.objects.items()))) for f in worked.TRUTH)
    assert summary(scored().total(), scored()) == summary(
        scored(None, [Case("worked", (worked.LAST,), turned)]).total(), scored()
    )


def test_empty_forecast_counts():
    """A frame without any prediction scores 0 and is counted; blocks of one clip equal one block."""
    one = worked.forecast()
    listed = one.listed.copy()
    listed[1] = False
    sums = scored([replace(one, listed=listed)]).total()
    assert int(sums["frames"]) == 2
    assert float(metric(sums, "with R@10")) == pytest.approx(0.75 / 2)


def test_blocks(monkeypatch):
    """However many clips are looked at together, the sums are the same."""
    words, forecasts, asked = random_cases(3, clips=9)
    whole = tally(forecasts, asked, words, seconds=True)
    monkeypatch.setattr("backcast.scenes.score.rows.BLOCK", 1)
    parts = tally(forecasts, asked, words, seconds=True)
    assert all((whole.sums[name] == parts.sums[name]).all() for name in whole.sums)


def test_bootstrap():
    """Intervals repeat by seed, hold the estimate, and a system against itself differs by exactly 0."""
    words, forecasts, asked = random_cases(5, clips=30)
    found = tally(forecasts, asked, words, Rules(ks=(3,)))
    one, again, other = (interval(found, "no R@3", seed=s) for s in (0, 0, 1))
    assert one == again != other
    assert one.low < one.value < one.high
    same = interval(found, "no R@3", found)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    worse = tally([replace(f, listed=f.listed & False) for f in forecasts], asked, words, Rules(ks=(3,)))
    gain = interval(found, "no R@3", worse)
    assert gain.low > 0


def test_refusals():
    """A forecast of other frames, an unknown metric or mode, and pairs of different clips are refused in words."""
    with pytest.raises(BadInput, match="does not answer the future frames"):
        tally([replace(worked.forecast(), index=np.array([20, 31]))], [worked.case()], ACTION_GENOME)
    with pytest.raises(BadInput, match="did you mean 'semi'"):
        tally([worked.forecast()], [worked.case()], ACTION_GENOME, Rules(modes=("semu",)))
    with pytest.raises(BadInput, match="unknown metric"):
        metric(scored().total(), "with R@7")


def test_sweep():
    """Listing from a higher chance on lists less: recall of objects falls; each line is what that listing scores."""
    from dataclasses import replace

    from backcast.scenes.forecast import cases
    from backcast.scenes.problems.household import make_household
    from backcast.scenes.score import metric, sweep, tally

    clips = make_household(10, seed=7)
    asked, _ = cases(clips.clips, 0.5)
    rng = np.random.default_rng(0)
    made = []
    for case in asked:
        shape = (len(case.future), len(clips.vocabulary.objects))
        chance = rng.random(shape) ** 2
        predicates = rng.random((*shape, len(clips.vocabulary.predicates)))
        index = np.array([frame.index for frame in case.future])
        made.append(GraphForecast(case.id, index, chance, predicates, chance > 2))
    lines = sweep(made, asked, clips.vocabulary, thresholds=(0.1, 0.5, 0.9))
    recalls = [line["object recall"] for line in lines]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[2] + 0.3
    allowed = np.isin(np.arange(len(clips.vocabulary.objects)), clips.vocabulary.candidates)
    listed = [replace(one, listed=(one.objects >= 0.5) & allowed) for one in made]
    sums = tally(listed, asked, clips.vocabulary).total()
    assert lines[1]["no R@10"] == pytest.approx(float(metric(sums, "no R@10")))
    assert lines[1]["object f1"] == pytest.approx(float(metric(sums, "object f1")))
