"""Sums over frames, one row a clip and horizon bin: every metric is a function of sums of these rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.problems.clip import dense
from backcast.scenes.problems.vocabulary import Vocabulary
from backcast.scenes.score.candidates import MODES, Scored, places

BINS = 15
"""Of the calibration error."""
HORIZONS = ((1, 1), (2, 3), (4, 8), (9, None))
"""Frames ahead, both ends included."""
SECONDS = (1.0, 3.0, 10.0)
"""Upper ends of the bins of seconds ahead; one more bin is open."""
BLOCK = 2_000_000
"""Cells looked at together."""


@dataclass(frozen=True)
class Rules:
    """How a forecast is scored."""

    ks: tuple[int, ...] = (10, 20, 50)
    """Recall at these places."""
    modes: tuple[str, ...] = MODES
    """Which triplets compete (see ``candidates``)."""
    threshold: float = 0.5
    """Joint probability from which a triplet is in the hard graph."""


@dataclass(frozen=True)
class Tally:
    """``sums[name]`` has shape (clips, bins) or (clips, bins, R or 15); ``ids`` names the clips."""

    ids: tuple[str, ...]
    sums: dict[str, np.ndarray]
    vocabulary: Vocabulary
    rules: Rules
    failures: int = 0

    def total(self) -> dict[str, np.ndarray]:
        """Sums over clips and bins."""
        return {name: value.sum((0, 1)) for name, value in self.sums.items()}


def tally(
    forecasts: Sequence[GraphForecast],
    asked: Sequence[Case],
    vocabulary: Vocabulary,
    rules: Rules = Rules(),
    seconds: bool = False,
) -> Tally:
    """Compares each forecast with what followed; both sequences in one order.

    Horizon bins count frames ahead, or ``seconds`` ahead where frames know their time. Raises BadInput when a forecast
    does not answer its case frame by frame.
    """
    bins = len(SECONDS) + 1 if seconds else len(HORIZONS)
    for forecast, case in zip(forecasts, asked, strict=True):
        wanted = [frame.index for frame in case.future]
        if forecast.id != case.id or forecast.index.tolist() != wanted:
            raise BadInput(f"the forecast of '{forecast.id}' does not answer the future frames of '{case.id}'")
    parts: list[dict[str, np.ndarray]] = []
    size = max(1, len(vocabulary.objects) * len(vocabulary.predicates))
    start = 0
    while start < len(asked):
        end, frames = start, 0
        while end < len(asked) and (end == start or (frames + len(asked[end].future)) * size <= BLOCK):
            frames += len(asked[end].future)
            end += 1
        parts.append(_block(forecasts[start:end], asked[start:end], vocabulary, rules, seconds))
        start = end
    sums = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    sums = {name: value.reshape(len(asked), bins, *value.shape[1:]) for name, value in sums.items()}
    failures = sum(forecast.failures for forecast in forecasts)
    return Tally(tuple(case.id for case in asked), sums, vocabulary, rules, failures)


def _horizons(case: Case, seconds: bool) -> list[int]:
    if not seconds:
        return [next(b for b, (_, top) in enumerate(HORIZONS) if top is None or h <= top) for h in _ahead(case)]
    times = [frame.time_s for frame in (case.seen[-1], *case.future)]
    if any(time is None for time in times):
        raise BadInput(f"clip '{case.id}': frames without time_s; horizons in seconds need it")
    ahead = np.array(times[1:], float) - float(times[0] or 0.0)
    return [int(b) for b in np.searchsorted(SECONDS, ahead)]


def _ahead(case: Case) -> range:
    return range(1, len(case.future) + 1)


def _block(
    forecasts: Sequence[GraphForecast], asked: Sequence[Case], vocabulary: Vocabulary, rules: Rules, seconds: bool
) -> dict[str, np.ndarray]:
    bins = len(SECONDS) + 1 if seconds else len(HORIZONS)
    rows = np.concatenate([c * bins + np.array(_horizons(case, seconds)) for c, case in enumerate(asked)])
    count = len(asked) * bins
    cells = _gather(forecasts, asked, vocabulary)
    listed, present, held, joint = cells.listed, cells.present, cells.held, cells.joint
    sums = _recalls(cells, rows, count, vocabulary, rules)
    sums["all_frames"] = np.bincount(rows, minlength=count).astype(float)
    _counts(sums, "object", listed, present, rows, count)
    _counts(sums, "appear", listed & ~cells.was, present & ~cells.was, rows, count)
    _counts(sums, "vanish", ~listed & cells.was, ~present & cells.was, rows, count)
    hard = joint >= rules.threshold
    _counts(sums, "triplet", hard, held, rows, count)
    _counts(sums, "novel", hard & ~cells.had, held & ~cells.had, rows, count)
    _overlaps(sums, listed, present, rows, count)
    _calibration(sums, joint, held, listed, rows, count)
    return sums


@dataclass(frozen=True)
class _Cells:
    """The objects that matter in each of F frames (said, true, or in the last graph seen), in P slots by object id."""

    listed: np.ndarray
    """(F, P), like ``present`` and ``was`` (in the last graph seen)."""
    present: np.ndarray
    was: np.ndarray
    held: np.ndarray
    """(F, P, R), like ``had``, ``predicates`` and ``joint``."""
    had: np.ndarray
    predicates: np.ndarray
    joint: np.ndarray
    order: np.ndarray
    """(F, P)."""


def _gather(forecasts: Sequence[GraphForecast], asked: Sequence[Case], vocabulary: Vocabulary) -> _Cells:
    present, held = dense([frame for case in asked for frame in case.future], vocabulary)
    was, had = dense([case.seen[-1] for case in asked], vocabulary)
    source = np.repeat(np.arange(len(asked)), [len(case.future) for case in asked])
    was = was[source]
    listed = np.concatenate([one.listed for one in forecasts])
    frame, thing = np.nonzero(listed | present | was)
    slot = np.arange(len(frame)) - np.searchsorted(frame, np.arange(len(present)))[frame]
    shape = (len(present), int(slot.max(initial=0)) + 1)
    start = np.cumsum([0, *(len(one.index) for one in forecasts)])[source[frame]]
    clip = source[frame]

    def pad(values: np.ndarray) -> np.ndarray:
        out = np.zeros((*shape, *values.shape[1:]), values.dtype)
        out[frame, slot] = values
        return out

    # Forecasts are dense over the vocabulary; only the rows that matter are copied out.
    bounds = np.searchsorted(clip, np.arange(len(asked) + 1))
    spans = [(slice(a, b), one) for a, b, one in zip(bounds[:-1], bounds[1:], forecasts, strict=True)]
    at = frame - start
    predicates = np.concatenate([one.predicates[at[span], thing[span]] for span, one in spans])
    objects = np.concatenate([one.objects[at[span], thing[span]] for span, one in spans])
    order = np.concatenate(
        [thing[span] if one.order is None else one.order[at[span], thing[span]] for span, one in spans]
    )
    said = listed[frame, thing]
    return _Cells(
        pad(said),
        pad(present[frame, thing]),
        pad(was[frame, thing]),
        pad(held[frame, thing]),
        pad(had[clip, thing]),
        pad(predicates),
        pad(np.where(said, objects, 0.0)[:, None] * predicates),
        pad(order),
    )


def _recalls(
    cells: _Cells, rows: np.ndarray, count: int, vocabulary: Vocabulary, rules: Rules
) -> dict[str, np.ndarray]:
    """Sums of each frame's recall, and of each predicate's recall in the frames that hold it."""
    frames, width = len(cells.held), len(vocabulary.predicates)
    frame, slot, predicate = np.nonzero(cells.held)
    size = np.bincount(frame, minlength=frames)
    pair = frame * width + predicate
    per_pair = np.bincount(pair, minlength=frames * width)
    row_pair = rows[frame] * width + predicate
    first = np.unique(pair, return_index=True)[1]
    share, each = 1.0 / size[frame], 1.0 / per_pair[pair]
    sums = {
        "frames": np.bincount(rows, size > 0, count),
        "predicate_frames": np.bincount(row_pair[first], minlength=count * width).reshape(count, width).astype(float),
    }
    scored = Scored(cells.joint, cells.predicates, cells.order)
    for mode in rules.modes:
        place = places(scored, vocabulary, mode, rules.threshold, (frame, slot, predicate))
        for k in rules.ks:
            hit = place < k
            sums[f"recall {mode} {k}"] = np.bincount(rows[frame], hit * share, count)
            weighed = np.bincount(row_pair, hit * each, count * width)
            sums[f"predicate {mode} {k}"] = weighed.reshape(count, width)
    return sums


def _counts(
    sums: dict[str, np.ndarray], name: str, said: np.ndarray, true: np.ndarray, rows: np.ndarray, count: int
) -> None:
    for word, cells in (("tp", said & true), ("fp", said & ~true), ("fn", ~said & true)):
        sums[f"{name} {word}"] = np.bincount(rows, cells.reshape(len(cells), -1).sum(1), count)


def _overlaps(
    sums: dict[str, np.ndarray], listed: np.ndarray, present: np.ndarray, rows: np.ndarray, count: int
) -> None:
    """The four exclusive kinds that OOTSM's own evaluation of object sets counts."""
    common = (listed & present).any(1)
    exact = (listed == present).all(1)
    superset = ~exact & ~(present & ~listed).any(1) & present.any(1)
    kinds = {"exact": exact, "superset": superset, "partial": common & ~exact & ~superset, "none": ~common & ~exact}
    for name, cells in kinds.items():
        sums[f"set {name}"] = np.bincount(rows, cells, count)


def _calibration(
    sums: dict[str, np.ndarray], joint: np.ndarray, held: np.ndarray, listed: np.ndarray, rows: np.ndarray, count: int
) -> None:
    """Over every predicate of every listed object: squared error, and score and truth for each of 15 bins."""
    frame, thing = np.nonzero(listed)
    score, truth = joint[frame, thing], held[frame, thing].astype(float)
    row = np.repeat(rows[frame], score.shape[1])
    p, y = score.ravel(), truth.ravel()
    sums["cells"] = np.bincount(row, minlength=count).astype(float)
    sums["squared"] = np.bincount(row, (p - y) ** 2, count)
    slot = row * BINS + np.minimum((p * BINS).astype(int), BINS - 1)
    for name, weights in (("bin n", np.ones_like(p)), ("bin p", p), ("bin y", y)):
        sums[name] = np.bincount(slot, weights, count * BINS).reshape(count, BINS)
