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
BLOCK = 250_000
"""Cells of the vocabulary looked at together: what fits a processor's cache, in arrays that the allocator reuses."""


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


def _horizons(case: Case, seconds: bool) -> np.ndarray:
    if not seconds:
        tops = [top for _, top in HORIZONS if top is not None]
        return np.searchsorted(tops, np.arange(1, len(case.future) + 1))
    times = [frame.time_s for frame in (case.seen[-1], *case.future)]
    if any(time is None for time in times):
        raise BadInput(f"clip '{case.id}': frames without time_s; horizons in seconds need it")
    return np.searchsorted(SECONDS, np.array(times[1:], float) - float(times[0] or 0.0))


def _block(
    forecasts: Sequence[GraphForecast], asked: Sequence[Case], vocabulary: Vocabulary, rules: Rules, seconds: bool
) -> dict[str, np.ndarray]:
    bins = len(SECONDS) + 1 if seconds else len(HORIZONS)
    rows = np.concatenate([c * bins + _horizons(case, seconds) for c, case in enumerate(asked)])
    count = len(asked) * bins
    cells = _gather(forecasts, asked, vocabulary)
    listed, present, was = cells.listed, cells.present, cells.was
    mine = rows[cells.frame]
    sums = _recalls(cells, rows, count, vocabulary, rules)
    sums["all_frames"] = np.bincount(rows, minlength=count).astype(float)
    _counts(sums, "object", listed, present, mine, count)
    _counts(sums, "appear", listed & ~was, present & ~was, mine, count)
    _counts(sums, "vanish", ~listed & was, ~present & was, mine, count)
    hard = cells.joint >= rules.threshold
    _counts(sums, "triplet", hard, cells.held, mine, count)
    _counts(sums, "novel", hard & ~cells.had, cells.held & ~cells.had, mine, count)
    _overlaps(sums, cells, rows, count)
    _calibration(sums, cells.joint[listed], cells.held[listed], mine[listed], count)
    return sums


@dataclass(frozen=True)
class _Cells:
    """The N objects that matter in F frames (said, true, or in the last graph seen), by frame, then object id."""

    frames: int
    frame: np.ndarray
    """(N,) ascending."""
    listed: np.ndarray
    """(N,) like ``present`` and ``was`` (in the last graph seen)."""
    present: np.ndarray
    was: np.ndarray
    held: np.ndarray
    """(N, R), like ``had``, ``predicates`` and ``joint``."""
    had: np.ndarray
    predicates: np.ndarray
    joint: np.ndarray
    order: np.ndarray
    """(N,)."""


def _gather(forecasts: Sequence[GraphForecast], asked: Sequence[Case], vocabulary: Vocabulary) -> _Cells:
    present, held = dense([frame for case in asked for frame in case.future], vocabulary)
    was, had = dense([case.seen[-1] for case in asked], vocabulary)
    sizes = [len(case.future) for case in asked]
    source = np.repeat(np.arange(len(asked)), sizes)
    things = present.shape[1]
    listed = np.concatenate([one.listed for one in forecasts])
    matter = np.flatnonzero(listed | present | was[source])
    frame, thing = np.divmod(matter, things)
    clip = source[frame]
    # Forecasts are dense over the vocabulary; only the rows that matter are copied out.
    bounds = np.searchsorted(clip, np.arange(len(asked) + 1)).tolist()
    spans = list(zip(bounds[:-1], bounds[1:], np.cumsum([0, *sizes[:-1]]).tolist(), forecasts, strict=True))
    predicates = np.empty((len(matter), held.shape[2]))
    objects = np.empty(len(matter))
    order = thing.copy()
    for begin, end, first, one in spans:
        at = matter[begin:end] - first * things
        one.predicates.reshape(-1, held.shape[2]).take(at, 0, predicates[begin:end], "clip")
        one.objects.ravel().take(at, 0, objects[begin:end], "clip")
        if one.order is not None:
            order[begin:end] = one.order.ravel()[at]
    said = listed.ravel()[matter]
    return _Cells(
        len(present),
        frame,
        said,
        present.ravel()[matter],
        was[clip, thing],
        held.reshape(-1, held.shape[2])[matter],
        had.reshape(-1, held.shape[2])[clip * things + thing],
        predicates,
        np.where(said, objects, 0.0)[:, None] * predicates,
        order,
    )


def _recalls(
    cells: _Cells, rows: np.ndarray, count: int, vocabulary: Vocabulary, rules: Rules
) -> dict[str, np.ndarray]:
    """Sums of each frame's recall, and of each predicate's recall in the frames that hold it."""
    frames, width = cells.frames, len(vocabulary.predicates)
    true = np.flatnonzero(cells.held)
    thing, predicate = np.divmod(true, width)
    frame = cells.frame[thing]
    size = np.bincount(frame, minlength=frames)
    pair = frame * width + predicate
    per_pair = np.bincount(pair, minlength=frames * width)
    row_pair = rows[frame] * width + predicate
    seen = np.flatnonzero(per_pair)
    share, each = 1.0 / size[frame], 1.0 / per_pair[pair]
    first = rows[seen // width] * width + seen % width
    sums = {
        "frames": np.bincount(rows, size > 0, count),
        "predicate_frames": np.bincount(first, minlength=count * width).reshape(count, width).astype(float),
    }
    listed = cells.listed
    scored = Scored(frames, cells.frame[listed], cells.joint[listed], cells.predicates[listed], cells.order[listed])
    # True triplets of objects that were not listed have no place.
    mine = np.flatnonzero(listed[thing])
    asked = (np.cumsum(listed) - 1)[thing[mine]], predicate[mine]
    for mode in rules.modes:
        place = places(scored, vocabulary, mode, rules.threshold, asked)
        for k in rules.ks:
            hit = mine[place < k]
            sums[f"recall {mode} {k}"] = np.bincount(rows[frame[hit]], share[hit], count)
            weighed = np.bincount(row_pair[hit], each[hit], count * width)
            sums[f"predicate {mode} {k}"] = weighed.reshape(count, width)
    return sums


def _counts(
    sums: dict[str, np.ndarray], name: str, said: np.ndarray, true: np.ndarray, rows: np.ndarray, count: int
) -> None:
    """Hits, false alarms and misses of each row, from (N,) or (N, R) cells whose N lie in the rows ``rows``."""
    hits, saying, being = (
        np.bincount(rows, cells.sum(1) if cells.ndim > 1 else cells, count) for cells in (said & true, said, true)
    )
    sums[f"{name} tp"], sums[f"{name} fp"], sums[f"{name} fn"] = hits, saying - hits, being - hits


def _overlaps(sums: dict[str, np.ndarray], cells: _Cells, rows: np.ndarray, count: int) -> None:
    """The four exclusive kinds that OOTSM's own evaluation of object sets counts."""
    both, said, true = (
        np.bincount(cells.frame, each, cells.frames)
        for each in (cells.listed & cells.present, cells.listed, cells.present)
    )
    exact = (both == said) & (both == true)
    superset = ~exact & (both == true) & (true > 0)
    common = both > 0
    kinds = {"exact": exact, "superset": superset, "partial": common & ~exact & ~superset, "none": ~common & ~exact}
    for name, which in kinds.items():
        sums[f"set {name}"] = np.bincount(rows, which, count)


def _calibration(
    sums: dict[str, np.ndarray], joint: np.ndarray, held: np.ndarray, rows: np.ndarray, count: int
) -> None:
    """Over every predicate of every listed object: squared error, and score and truth for each of 15 bins."""
    sums["cells"] = np.bincount(rows, minlength=count) * float(joint.shape[1])
    sums["squared"] = np.bincount(rows, ((joint - held) ** 2).sum(1), count)
    slot = (np.minimum((joint * BINS).astype(np.int32), BINS - 1) + rows[:, None] * BINS).ravel()
    for name, weights in (("bin n", None), ("bin p", joint.ravel()), ("bin y", held.ravel())):
        sums[name] = np.bincount(slot, weights, count * BINS).astype(float).reshape(count, BINS)
