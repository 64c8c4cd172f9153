"""WGM / MSB (arXiv 2509.03054): weights grouped by magnitude, each group one scale, signs kept.

What that is: a symmetric non-uniform scalar quantiser with g magnitudes. Each weight needs its sign and its group's
index, ``1 + log2(g)`` bits; the first version of the paper left the index out of its count and was withdrawn for it.
``claimed`` reproduces how each preset was advertised, ``Layout.true_bits`` is what is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backcast.compress import scaled, trellis
from backcast.compress.blocks import WIDEST, cut_blocks
from backcast.compress.greedy import greedy
from backcast.compress.kept import extremes, keep
from backcast.compress.layout import Encoded, Floats, Layout, Scope, half, rounded, store, unit_of
from backcast.compress.line import (
    Cut,
    Line,
    assign,
    assign_in_order,
    check_finite,
    exact,
    line,
    magnitudes,
    normalised,
    settle,
    weighted,
)
from backcast.core.errors import BadInput, nearest

Solver = Literal["exact", "greedy", "window", "refined"]


@dataclass(frozen=True)
class WGM:
    """Settings of one grouping; ``preset`` gives the named ones."""

    groups: int = 8
    scope: Scope = "block"
    block: int = 64
    """Weights of a block, or rows of a group."""
    solver: Solver = "exact"
    """``exact`` optimum, ``greedy`` merging (GG), ``window`` (WGM), ``refined``: window, then locally optimised."""
    window: int = 64
    lam: float = 0.0
    """Regulariser: raw, or t in [0, 1] with ``normalise``. Raw values above 0 ruin blocks (see the docs)."""
    normalise: bool = False
    weigh: float = 0.0
    """Power p: a weight's squared error counts ``|w| ** p`` times. Exact solver only; 0 counts all alike."""
    protect: float = 0.0
    """Share of the weights kept exactly: the largest magnitudes of the tensor."""
    protect_least: int = 0
    """At least so many are kept."""
    fine: bool = False
    """Magnitudes of a block in 8 bits relative to its largest."""
    shared: bool = False
    """One table for the tensor and a scale per block, instead of magnitudes per scope."""
    trellis: bool = False
    """``shared`` only: codes choose among the levels together with the codes before them (ours)."""
    counting: Literal["codes", "withdrawn"] = "codes"
    """How ``claimed`` counts: the code's bits, or sign plus scales without the index (the paper's first version)."""

    def claimed(self, layout: Layout) -> float:
        """Bits per weight as the preset is advertised."""
        if self.counting == "withdrawn":
            return (16 * self.groups * layout.scopes + layout.weights) / layout.weights
        return float(layout.bits)


PRESETS: dict[str, Callable[[int], WGM]] = {
    "ours": lambda bits: WGM(2 ** (bits - 1), shared=True, trellis=True, protect=1e-4, protect_least=16),
    "table": lambda bits: WGM(2 ** (bits - 1), shared=True, protect=1e-4, protect_least=16),
    "exact": lambda bits: WGM(2 ** (bits - 1), "tensor", protect=1e-4, protect_least=64),
    "paper": lambda bits: WGM(2 ** (bits - 1), "tensor", solver="window", lam=0.75, counting="withdrawn"),
    "v3": lambda bits: WGM(2 ** (bits - 1)),
}
"""``ours`` (default: a trellis of levels, a scale a block, extremes kept), ``table`` (each code by itself),
``exact`` (one optimal codebook a tensor, extremes kept), ``paper`` (the released setting at 6 bits: 32 groups a tensor,
window 64, raw lambda 0.75), ``v3`` (groups per block of 64, optimal)."""


def preset(name: str, bits: int) -> WGM:
    """The settings of a preset with codes of ``bits`` bits, sign included; raises BadInput for an unknown one."""
    if name not in PRESETS:
        raise BadInput(f"unknown preset '{name}'{nearest(name, PRESETS)}")
    if not 1 <= bits <= 8:
        raise BadInput(f"bits: '{bits}' is outside 1..8 for wgm")
    return PRESETS[name](bits)


def encode(weights: Floats, settings: WGM, name: str = "weights") -> Encoded:
    """Groups and stores a matrix (rows, columns)."""
    if not 1 <= settings.groups <= 128:
        raise BadInput(f"groups: '{settings.groups}' is outside 1..128")
    if not 0 <= settings.lam < np.inf:
        raise BadInput(f"lambda: '{settings.lam}' is not a finite number from 0 up")
    check_weighing(settings)
    check_finite(weights, name)
    kept = extremes(weights, _how_many(settings, weights.size))
    unit = unit_of(weights)
    rest = weights / unit
    rest.ravel()[kept] = 0
    if not settings.normalise:
        settings = replace(settings, lam=settings.lam / float(unit) ** 2)
    if settings.shared and settings.trellis:
        return trellis.encode(weights, rest, kept, 1 + ceil(log2(settings.groups)), settings.block)
    if settings.shared:
        return scaled.encode(weights, rest, kept, 2 * settings.groups, settings.block)
    index_bits = ceil(log2(settings.groups))
    rows, columns = weights.shape
    shape = Layout(rows, columns, "signed", 1 + index_bits, settings.scope, settings.block, settings.groups)
    shape = replace(shape, fine=settings.fine)
    table, labels = _BY_SCOPE[settings.scope](rest, shape, settings)
    codes = labels.astype(np.uint8) | (rest < 0).astype(np.uint8) * np.uint8(1 << index_bits)
    layout, tensors = keep(shape, weights, kept)
    return store(layout, unit, codes, **_table(table, settings.fine), **tensors)


def check_weighing(settings: WGM) -> None:
    """Raises BadInput where ``weigh`` would do nothing, or is no number."""
    if not np.isfinite(settings.weigh):
        raise BadInput(f"weigh: '{settings.weigh}' is not a finite number")
    if settings.weigh and (settings.shared or settings.solver != "exact" or settings.lam):
        raise BadInput(
            "weigh: only the exact solver without lambda weighs errors, as in presets exact and v3; "
            "it would do nothing here, so leave it out"
        )


def _how_many(settings: WGM, weights: int) -> int:
    if not 0 <= settings.protect < 1:
        raise BadInput(f"protect: '{settings.protect}' is outside [0, 1)")
    return min(max(round(settings.protect * weights), settings.protect_least), weights)


def _table(table: NDArray[np.float64], fine: bool) -> dict[str, NDArray[np.generic]]:
    if not fine:
        return {"table": half(table)}
    scale = half(table.max(axis=1) / 255)
    step = rounded(table.max(axis=1) / 255).astype(np.float64)[:, None]
    levels = np.rint(table / np.where(step > 0, step, 1.0))
    return {"table": np.minimum(levels, 255).astype(np.uint8), "scale": scale}


def _solve(values: Floats, settings: WGM) -> tuple[Cut, NDArray[np.integer]]:
    """Cuts the magnitudes of ``values``; the cut and the run of every value (zeros in the lowest)."""
    if settings.solver == "exact":
        on = magnitudes(values)
        goal = weighted(on, settings.weigh) if settings.weigh else on
        cut = exact(goal, settings.groups, _raw(on, settings))
        return cut, assign(on, cut, np.abs(values))
    used = np.flatnonzero(values)
    sizes = np.abs(values.ravel()[used])
    on = line(sizes, ties=False)
    lam = _raw(on, settings)
    window = 1 if settings.solver == "greedy" else settings.window
    cut = greedy(on, settings.groups, window=window, lam=lam)
    if settings.solver == "refined":
        cut = settle(on, cut, lam)
    labels = np.zeros(values.size, dtype=np.int64)
    labels[used] = assign_in_order(cut, sizes)
    return cut, labels.reshape(values.shape)


def _raw(on: Line, settings: WGM) -> float:
    return normalised(on, settings.lam) if settings.normalise else settings.lam


def _padded(means: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """``means`` filled up to ``groups`` with the last one (0 for a scope of zeros)."""
    last = means[-1] if len(means) else 0.0
    return np.append(means, np.full(groups - len(means), last))


def _tensor(rest: Floats, layout: Layout, settings: WGM) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    cut, labels = _solve(rest, settings)
    return _padded(cut.means, layout.entries)[None], labels


def _rows(rest: Floats, layout: Layout, settings: WGM) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Every row, or every ``layout.span`` consecutive rows, by themselves; the last rows may be fewer."""
    parts = [rest[at : at + layout.span] for at in range(0, len(rest), layout.span)]
    cuts, labels = zip(*(_solve(part, settings) for part in parts), strict=True)
    return np.stack([_padded(cut.means, layout.entries) for cut in cuts]), np.concatenate(labels)


def _blocks(rest: Floats, layout: Layout, settings: WGM) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Every block by itself. A short last block is solved apart, so that nothing is padded into the groups."""
    rows, columns = rest.shape
    whole = columns // layout.block * layout.block
    table = np.zeros((rows, layout.per_row, layout.entries))
    labels = np.zeros(rest.shape, dtype=np.uint8)
    for start, end, width in ((0, whole, layout.block), (whole, columns, columns - whole)):
        if end > start:
            part = np.ascontiguousarray(rest[:, start:end]).reshape(-1, width)
            means, runs = _many(part, settings)
            first = start // layout.block
            table[:, first : first + (end - start) // width] = means.reshape(rows, -1, layout.entries)
            labels[:, start:end] = runs.reshape(rows, -1)
    return table.reshape(-1, layout.entries), labels


def _many(part: Floats, settings: WGM) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    if settings.solver == "exact" and part.shape[1] <= WIDEST and not settings.weigh:
        sizes = np.abs(part)
        lam: float | NDArray[np.float64] = settings.lam
        if settings.normalise:
            lam = np.array([normalised(line(row, ties=False), settings.lam) for row in sizes])
        return cut_blocks(sizes, settings.groups, lam)
    cuts, labels = zip(*(_solve(row, settings) for row in part), strict=True)
    return np.stack([_padded(cut.means, settings.groups) for cut in cuts]), np.stack(labels)


_BY_SCOPE = {"tensor": _tensor, "group": _rows, "row": _rows, "block": _blocks}
