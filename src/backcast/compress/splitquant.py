"""SplitQuantV2 (arXiv 2503.07657): a layer becomes three of the same shape whose outputs add up, each with one cluster.

The cluster bounds are midpoints between the centres of an optimal one-dimensional 3-means, found exactly. Supports are
disjoint and cover everything, so ``lower + middle + upper == weights`` bit for bit. Stored either as the paper has it
(three planes, three times the bits) or compactly: a three-valued id and a code per weight, the same numbers.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backcast.compress.affine import choose_codes, find_ranges, grids
from backcast.compress.layout import Encoded, Floats, Layout, Scope, half, spread, store, unit_of
from backcast.compress.line import kmeans
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class SplitQuant:
    """Settings; the grids are those of each scope, whatever the clusters."""

    bits: int = 4
    scope: Scope = "row"
    block: int = 64
    masked: bool = False
    """Grids that span their own cluster only. As published (False) each also reaches to the zeros of its plane."""
    form: Literal["compact", "sparse", "planes"] = "compact"
    """An id of 1.6 bits beside each code; positions of the outer clusters' weights, a bit each, and one more each for
    those; or three planes."""
    clusters: Literal["tensor", "row"] = "tensor"
    """What is clustered together: the whole tensor, or each row by itself (as V1 does with a convolution's kernels)."""

    def claimed(self, layout: Layout) -> float:
        """Bits per weight as published: the code of one plane."""
        return float(layout.bits)


def bounds(weights: NDArray[np.floating], name: str = "weights") -> tuple[float, float]:
    """The two cuts between the three clusters: lower is ``w <= first``, upper ``w >= second``.

    With fewer than three distinct values the clusters that are left over stay empty.
    """
    centres = kmeans(weights, 3, name=name).means
    if len(centres) == 3:
        return float(centres[0] + centres[1]) / 2, float(centres[1] + centres[2]) / 2
    if len(centres) == 2:
        return (float(centres.sum()) / 2,) * 2
    return float("inf"), float("inf")


def split(weights: Floats, cuts: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Lower, middle and upper part, each of the full shape with zeros elsewhere; they add up to ``weights`` exactly."""
    low, high = (weights.dtype.type(cut) for cut in cuts)
    is_lower = weights <= low
    is_upper = ~is_lower & (weights >= high)
    zero = weights.dtype.type(0)
    middle = np.where(is_lower | is_upper, zero, weights)
    return np.where(is_lower, weights, zero), middle, np.where(is_upper, weights, zero)


def by_kernel(settings: SplitQuant) -> SplitQuant:
    """The settings for a convolution (one kernel a row): clusters of each kernel, unless the grid is the tensor's."""
    return settings if settings.scope in ("tensor", "group") else replace(settings, clusters="row")


def _single(cuts: tuple[float, float]) -> tuple[float, float]:
    return float(np.float32(cuts[0])), float(np.float32(cuts[1]))


def encode(weights: Floats, settings: SplitQuant, name: str = "weights") -> Encoded:
    """Splits and quantises a matrix (rows, columns); an empty cluster stores zeros and never a NaN."""
    if not 1 <= settings.bits <= 8:
        raise BadInput(f"bits: '{settings.bits}' is outside 1..8 for splitquant")
    kind: Literal["split", "planes"] = "planes" if settings.form == "planes" else "split"
    rows, columns = weights.shape
    layout = Layout(rows, columns, kind, settings.bits, settings.scope, settings.block)
    if kind == "planes" and settings.masked:
        raise BadInput("masked ranges hold no zero, so three planes cannot have them; use the compact form")
    if settings.clusters == "row" and layout.scope in ("tensor", "group"):
        raise BadInput(
            f"clusters of each row want grids of each row or block, not of the {layout.scope}; use scope row or block"
        )
    unit = unit_of(weights)
    # Rows that are clustered together, each part a matrix of its own to the loops below.
    height = rows if settings.clusters == "tensor" else 1
    part = replace(layout, rows=height)
    cuts = [_single(bounds(weights[at : at + height], name)) for at in range(0, rows, height)]
    ranges = np.concatenate(
        [
            find_ranges(weights[i * height : (i + 1) * height], cut, part, reach_zero=not settings.masked)
            for i, cut in enumerate(cuts)
        ],
        axis=1,
    )
    scale, zero = grids(ranges, layout.bits, unit, integer=not settings.masked)
    codes, ids = np.empty(weights.shape, dtype=np.uint8), np.empty(weights.shape, dtype=np.uint8)
    scaled, step = weights / unit, part.scopes
    for i, (low, high) in enumerate(cuts):
        here, grid = slice(i * height, (i + 1) * height), slice(i * step, (i + 1) * step)
        edges = (low / float(unit), high / float(unit))
        codes[here], ids[here] = choose_codes(scaled[here], edges, part, scale[grid], zero[grid])
    if kind == "planes":
        # Where a plane has nothing it holds the code of its own zero, which decodes to exactly 0.
        blank = np.rint(spread(zero, layout)).astype(np.uint8)
        planes = np.stack([np.where(ids == p, codes, np.broadcast_to(blank[..., p], ids.shape)) for p in range(3)])
        return store(layout, unit, planes, scale=half(scale), zero=half(zero))
    if settings.form == "sparse":
        layout = replace(layout, kind="sparse", outer=int((ids != 1).sum()))
    return store(layout, unit, codes, ids=ids, scale=half(scale), zero=half(zero))
