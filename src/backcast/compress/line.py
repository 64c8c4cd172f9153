"""Cutting a sorted line of numbers into runs: the exact optimum, the oracle beside it, and the local optimisation.

A grouping that minimises the within-group squared error is contiguous on the sorted line (WGM, arXiv 2509.03054,
section on dynamic grouping), so everything here works on sorted values and their prefix sums. The cost of one run is
``SSE + lam / n`` with n the number of values in it; sums are float64 throughout.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backcast.compress import segment
from backcast.core.errors import BadInput

Array = NDArray[np.float64]

SORTABLE = 1 << 15
"""Up to this many values are kept one by one; more are counted in 16-bit bins first (see ``line``)."""

FINITE = (0x0080, 0xFF7F)
"""The lowest and the highest ``segment.key`` of a finite value."""


@dataclass(frozen=True)
class Line:
    """Ascending points, how many values each stands for, and the squared error already inside them."""

    points: Array
    """(M,) ascending; in a binned line the mean of each bin."""
    counts: Array
    """(M,) values per point; weights where the values were weighted."""
    within: float = 0.0
    """Sum of squared deviations inside the bins: a part of every cut's error that no cut can change."""
    keys: NDArray[np.int64] | None = None
    """(M,) the ``segment.key`` of each point of a binned line."""

    @cached_property
    def sums(self) -> Array:
        """(3, M + 1) running count, sum and sum of squares, taken about the line's mean to keep digits."""
        shifted = self.points - self.centre
        terms = np.stack([self.counts, self.counts * shifted, self.counts * shifted**2])
        return np.concatenate([np.zeros((3, 1)), np.cumsum(terms, axis=1)], axis=1)

    @cached_property
    def centre(self) -> float:
        """The mean of all values; 0 for an empty line."""
        return float(np.average(self.points, weights=self.counts)) if len(self.points) else 0.0

    @property
    def size(self) -> float:
        """How many values the line stands for."""
        return float(self.counts.sum())


@dataclass(frozen=True)
class Cut:
    """A line cut into g runs."""

    ends: NDArray[np.int64]
    """(g,) index after the last point of each run; the last one is M."""
    means: Array
    """(g,) the value that stands for each run, ascending."""
    sse: float
    """Sum of squared errors over all values, the part inside bins included."""
    objective: float
    """``sse + lam * sum(1 / n)``, what was minimised."""

    def labels(self) -> NDArray[np.int64]:
        """(M,) the run of every point of the line."""
        sizes = np.diff(self.ends, prepend=0)
        return np.repeat(np.arange(len(self.ends)), sizes)


def check_finite(values: NDArray[np.floating], name: str) -> None:
    """Raises BadInput naming the tensor and the first index that holds NaN or infinity."""
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise BadInput(
            f"{name}: {int(bad.sum())} values are not finite, the first ({values[where]}) at {list(where)}; "
            "repair the checkpoint before compressing it"
        )


def line(values: NDArray[np.floating], *, name: str = "values", ties: bool = True, magnitude: bool = False) -> Line:
    """The line of ``values`` (any shape), or of their magnitudes; equal values become one point unless ``ties`` is off.

    More than ``SORTABLE`` values are not sorted but counted in the bins of their upper 16 float32 bits: exact for
    bfloat16 values, and for others exact among all cuts at bin edges (a bin is at most 0.8 % wide).
    """
    flat = np.asarray(values, dtype=np.float32 if values.dtype != np.float64 else np.float64).ravel()
    if ties and flat.size > SORTABLE:
        return _binned(values, name, magnitude)
    check_finite(values, name)
    flat = (np.abs(flat) if magnitude else flat).astype(np.float64) + 0.0  # + 0.0: minus zero is zero
    if not ties:
        return Line(np.sort(flat), np.ones(len(flat)))
    points, counts = np.unique(flat, return_counts=True)
    return Line(points, counts.astype(np.float64))


def magnitudes(weights: NDArray[np.floating], *, name: str = "weights", ties: bool = True) -> Line:
    """The line of ``|w|`` over the weights that are not exactly zero (A.2 of the method: zeros join no group)."""
    found = line(weights, name=name, ties=ties, magnitude=True)
    keep = found.points > 0
    if keep.all():
        return found
    keys = None if found.keys is None else found.keys[keep]
    return Line(found.points[keep], found.counts[keep], found.within, keys)


def weighted(on: Line, power: float) -> Line:
    """The line with every value counted ``|value| ** power`` times: cuts then minimise the error so weighted.

    Errors inside the bins of a binned line are left out, as no cut can change them.
    """
    if not np.isfinite(power):
        raise BadInput(f"weigh: '{power}' is not a finite number")
    return Line(on.points, on.counts * np.abs(on.points) ** power, 0.0, on.keys)


def _binned(values: NDArray[np.floating], name: str, magnitude: bool) -> Line:
    flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
    bits = flat.view(np.uint32)
    if not (bits[:SORTABLE] & 0xFFFF).any():  # bfloat16 so far
        counts, brief = segment.count(bits, magnitude)
        if brief:
            used = _used(counts, values, name)
            return Line(segment.values(used), counts[used].astype(np.float64), 0.0, used)
    counts, sums, squares = segment.histogram(bits, magnitude)
    used = _used(counts, values, name)
    n, total = counts[used].astype(np.float64), sums[used]
    within = float(np.maximum(squares[used] - total**2 / n, 0.0).sum())
    return Line(total / n, n, within, used)


def _used(counts: NDArray[np.int64], values: NDArray[np.floating], name: str) -> NDArray[np.int64]:
    used = np.flatnonzero(counts)
    if used[0] < FINITE[0] or used[-1] > FINITE[1]:
        check_finite(values, name)
    return used


def assign(on: Line, cut: Cut, values: NDArray[np.float32], sign: int = 0) -> NDArray[np.uint8]:
    """The run (0 .. 255) of every value that the line was made of, in the shape of ``values``.

    With ``sign`` above 0 the line is of magnitudes, and negative values get this bit on top of their run. Zeros, which
    are on no line of magnitudes, join the lowest run. Equal values share a run, so the line must have its ties merged.
    """
    flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
    if not len(cut.ends):
        return np.zeros(values.shape, dtype=np.uint8)
    lasts = cut.ends[:-1] - 1
    if on.keys is not None:
        table = np.searchsorted(on.keys[lasts], np.arange(65536), side="left").astype(np.uint8)
        return segment.lookup(flat.view(np.uint32), table, sign).reshape(values.shape)
    sought = np.abs(flat) if sign else flat
    codes = np.searchsorted(on.points[lasts], sought.astype(np.float64), side="left").astype(np.uint8)
    if sign:
        codes |= (flat < 0).astype(np.uint8) * np.uint8(sign)
    return codes.reshape(values.shape)


def assign_in_order(cut: Cut, values: NDArray[np.floating]) -> NDArray[np.int64]:
    """The run of every value by its place in a stable sort: how the published code tells equal values apart.

    For lines made with ``ties=False``; ``values`` are those of the line, in any order.
    """
    labels = np.empty(values.size, dtype=np.int64)
    labels[np.argsort(values.ravel(), kind="stable")] = cut.labels()
    return labels.reshape(values.shape)


def exact(on: Line, groups: int, lam: float = 0.0, *, choose: bool = False) -> Cut:
    """The optimal cut into ``groups`` runs (fewer when the line has fewer points), by divide and conquer.

    ``lam`` is the raw regulariser; with ``choose`` it also decides how many runs up to ``groups`` are best, the fewest
    on a tie. Dynamic programme with monotone argmins: O(groups * M log M). Optimal over all cuts between points.
    """
    lam, most = _settings(on, groups, lam)
    if most == 0:
        return made(on, np.zeros(0, dtype=np.int64), lam)
    value, back = segment.layers(on.sums, most, lam)
    best = _fewest(value) if choose else most
    return made(on, segment.walk(back, best), lam)


def oracle(on: Line, groups: int, lam: float = 0.0, *, choose: bool = False) -> Cut:
    """The same by the plain dynamic programme, O(groups * M^2): the published DG, and the check on ``exact``."""
    lam, most = _settings(on, groups, lam)
    if most == 0:
        return made(on, np.zeros(0, dtype=np.int64), lam)
    value, back = segment.plain(on.sums, most, lam)
    best = _fewest(value) if choose else most
    return made(on, segment.walk(back, best), lam)


def errors(on: Line, groups: int) -> Array:
    """(min(groups, M),) the optimal SSE for every number of runs from 1 up: one programme gives them all."""
    _, most = _settings(on, groups, 0.0)
    if most == 0:
        return np.zeros(0)
    value, _ = segment.layers(on.sums, most, 0.0)
    return np.maximum(value, 0.0) + on.within


def kmeans(values: NDArray[np.floating], k: int, *, name: str = "values") -> Cut:
    """Optimal one-dimensional k-means of ``values``: exact and deterministic, so there is nothing to seed."""
    return exact(line(values, name=name), k)


def settle(on: Line, start: Cut, lam: float = 0.0, sweeps: int = 50) -> Cut:
    """Local optimisation (our definition of WGM-LO): each end moves to the midpoint of its neighbours' means.

    Repeats until nothing moves or ``sweeps`` are done. A run that loses all its points is dropped; the squared error
    never grows.
    """
    ends = start.ends
    for _ in range(sweeps):
        means = _means(on, ends)
        moved = np.searchsorted(on.points, (means[:-1] + means[1:]) / 2, side="right")
        moved = np.unique(np.append(moved[moved > 0], len(on.points)))
        if np.array_equal(moved, ends):
            break
        ends = moved
    return made(on, ends, lam)


def normalised(on: Line, t: float) -> float:
    """The raw regulariser for ``t`` in [0, 1] of the normalised one (cost ``SSE / N + lam / n``).

    ``lam`` runs from ``(x1 - x2)^2 / 3N``, below which merging the two smallest values does not pay, to
    ``N (mean of upper half - mean of lower half)^2 / 12``, above which merging the two halves does. Scale-free: a
    scaled line is on at the same places. A far outlier can still pay for a run of its own at t = 1.
    """
    if not 0 <= t <= 1:
        raise BadInput(f"normalised lambda: '{t}' is outside [0, 1]")
    n = on.size
    if len(on.points) < 2:
        return 0.0
    twice = on.counts[0] > 1
    lowest = 0.0 if twice else (on.points[0] - on.points[1]) ** 2 / (3 * n)
    lower, upper = _halves(on)
    highest = n * (upper - lower) ** 2 / 12
    return float(n * (lowest + t * max(highest - lowest, 0.0)))


def _halves(on: Line) -> tuple[float, float]:
    half = on.size / 2
    before = np.concatenate([[0.0], np.cumsum(on.counts)[:-1]])
    low = np.clip(half - before, 0.0, on.counts)
    lower = float((low * on.points).sum() / half)
    upper = float(((on.counts - low) * on.points).sum() / half)
    return lower, upper


def _settings(on: Line, groups: int, lam: float) -> tuple[float, int]:
    if groups < 1:
        raise BadInput(f"groups: '{groups}' is not at least 1")
    if not lam >= 0 or lam == np.inf:
        raise BadInput(f"lambda: '{lam}' is not a finite number from 0 up")
    return float(lam), min(groups, len(on.points))


def _fewest(value: Array) -> int:
    # Values that differ by rounding only are the same: the fewest runs win.
    slack = 1e-12 * max(abs(float(value[0])), 1e-300)
    return int(np.flatnonzero(value <= value.min() + slack)[0]) + 1


def _means(on: Line, ends: NDArray[np.int64]) -> Array:
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    n, total, _ = on.sums[:, ends] - on.sums[:, starts]
    means = total / n + on.centre
    # A run of one point is that point, to the last bit; no mean leaves its run through rounding.
    clipped: Array = np.clip(means, on.points[starts], on.points[ends - 1])
    return clipped


def made(on: Line, ends: NDArray[np.int64], lam: float = 0.0) -> Cut:
    """The cut of ``on`` at ``ends`` (each the index after a run's last point).

    The SSE is summed afresh from the points, free of the prefix sums' cancellation.
    """
    if not len(ends):
        return Cut(ends, np.zeros(0), 0.0, 0.0)
    means = _means(on, ends)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    deviations = on.points - np.repeat(means, ends - starts)
    sse = float((on.counts * deviations**2).sum()) + on.within
    n = on.sums[0, ends] - on.sums[0, starts]
    return Cut(ends, means, sse, sse + lam * float((1 / n).sum()))
