"""How one weight matrix is stored: which integer tensors, how many bytes by formula, and what numbers they mean.

Every stored tensor holds integers, half-precision values as their bits, so that no loader can cast them. A tensor's
``unit`` is a power of two that brings its largest weight to between 1 and 2; all half-precision values are relative to
it. The kinds, for a weight with code c in scope s:

* ``signed``: sign bit on top, index into the scope's magnitudes: ``+- table[s, index]``
* ``affine``: ``(c - zero[s]) * scale[s]``
* ``split``: ``(c - zero[s, id]) * scale[s, id]`` with a three-valued id per weight (SplitQuant, compact)
* ``sparse``: as ``split``, the id in two parts: a bit for every weight says whether it lies in an outer cluster, and
  one for each that does says in which (SplitQuant, its outer planes kept sparse)
* ``planes``: the sum over three planes, each ``affine`` with its own codes (SplitQuant, as published)
* ``scaled``: ``table[c] * scale[s]`` with one table for the tensor
* ``trellis``: ``table[window] * q[s]^2 / 65536``, where the window is the last few bits of the row's stream of codes,
  so the codes before a weight choose among the levels too; levels are bfloat16, ``q`` is a byte
"""

from dataclasses import asdict, dataclass, replace
from math import ceil, log2, prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backcast.compress.bits import pack, pack_trits, row_bytes, trit_bytes, unpack, unpack_trits, windows

Kind = Literal["signed", "affine", "split", "sparse", "planes", "scaled", "trellis"]
Scope = Literal["tensor", "group", "row", "block"]
Floats = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Layout:
    """The shape and the coding of one stored matrix."""

    rows: int
    columns: int
    kind: Kind
    bits: int
    """Per code (sign included), 1 to 8."""
    scope: Scope = "block"
    """What shares scales: the tensor, ``block`` consecutive rows (``group``), a row, or ``block`` weights of a row."""
    block: int = 64
    entries: int = 0
    """Magnitudes per scope (``signed``) or levels of the table (``scaled``, ``trellis``)."""
    fine: bool = False
    """``signed`` only: magnitudes in 8 bits relative to a half-precision scale of the scope, not 16 bits each."""
    outer: int = 0
    """Weights in the outer two clusters (``sparse``)."""
    kept: int = 0
    """Weights stored exactly, as index and value."""
    kept_bits: int = 16
    """Of such a value: 16 (bfloat16) or 32."""

    @property
    def weights(self) -> int:
        """How many weights the matrix has."""
        return self.rows * self.columns

    @property
    def per_row(self) -> int:
        """Scopes in a row (1 unless they are blocks)."""
        return ceil(self.columns / self.block) if self.scope == "block" else 1

    @property
    def scopes(self) -> int:
        """Scopes in the tensor."""
        if self.scope == "tensor":
            return 1
        return ceil(self.rows / self.span) * self.per_row

    @property
    def span(self) -> int:
        """Rows that share a scope, the whole tensor's aside."""
        return self.block if self.scope == "group" else 1

    def shapes(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Stored tensors by name, with dtype and shape: the formula of the size."""
        codes = self.rows * row_bytes(self.columns, self.bits)
        found: dict[str, tuple[type, tuple[int, ...]]] = {
            "weight": (np.uint8, (codes * (3 if self.kind == "planes" else 1),)),
            "unit": (np.int32, (1,)),
        }
        if self.kind == "signed":
            found["table"] = (np.uint8 if self.fine else np.int16, (self.scopes, self.entries))
            if self.fine:
                found["scale"] = (np.int16, (self.scopes,))
        elif self.kind == "scaled":
            found |= {"table": (np.int16, (self.entries,)), "scale": (np.int16, (self.scopes,))}
        elif self.kind == "trellis":
            found |= {"table": (np.int16, (self.entries,)), "scale": (np.uint8, (self.scopes,))}
        else:
            shape = (self.scopes,) if self.kind == "affine" else (self.scopes, 3)
            found |= {"scale": (np.int16, shape), "zero": (np.int16, shape)}
        if self.kind == "split":
            found["ids"] = (np.uint8, (self.rows * trit_bytes(self.columns),))
        elif self.kind == "sparse":
            found["outer"] = (np.uint8, (self.rows * ceil(self.columns / 8),))
            found["upper"] = (np.uint8, (ceil(self.outer / 8),))
        if self.kept:
            value = np.int16 if self.kept_bits == 16 else np.int32
            found |= {"kept_index": (np.int32, (self.kept,)), "kept_value": (value, (self.kept,))}
        return found

    def bytes(self) -> int:
        """Bytes of all stored tensors."""
        return sum(np.dtype(kind).itemsize * prod(shape) for kind, shape in self.shapes().values())

    def true_bits(self) -> float:
        """Stored bits per weight: codes, ids, scales, tables, exceptions and padding, all counted."""
        return 8 * self.bytes() / self.weights

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``config.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Encoded:
    """A stored matrix: its layout and the tensors that the layout names."""

    layout: Layout
    tensors: Tensors

    @property
    def unit(self) -> np.float32:
        """The power of two that all stored values are relative to."""
        return np.float32(self.tensors["unit"].view(np.float32)[0])


def unit_of(weights: Floats) -> np.float32:
    """The power of two at or below the largest magnitude; 1 for an all-zero tensor."""
    largest = max(float(weights.max(initial=0.0)), -float(weights.min(initial=0.0)))
    if largest == 0:
        return np.float32(1)
    return np.float32(2.0 ** min(max(np.floor(log2(largest)), -126), 127))


def half(values: NDArray[np.floating]) -> NDArray[np.int16]:
    """The bits of ``values`` rounded to half precision."""
    return np.ascontiguousarray(values, dtype=np.float16).view(np.int16)


def single(bits: NDArray[np.int16]) -> Floats:
    """Half-precision bits as float32."""
    return bits.view(np.float16).astype(np.float32)


def brief(values: NDArray[np.floating]) -> NDArray[np.int16]:
    """The bits of ``values`` rounded to bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16).view(np.int16)


def single_brief(bits: NDArray[np.int16]) -> Floats:
    """Bfloat16 bits as float32."""
    return (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def rounded(values: NDArray[np.floating]) -> Floats:
    """``values`` as they come back from half precision: encoders choose codes against these."""
    return single(half(values))


def spread(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Per-scope values (scopes, ...) as they apply to each row and column: broadcasts to (rows, columns, ...)."""
    tail = values.shape[1:]
    if layout.scope == "tensor":
        return values.reshape(1, 1, *tail)
    if layout.scope in ("row", "group"):
        return np.repeat(values, layout.span, axis=0)[: layout.rows].reshape(layout.rows, 1, *tail)
    by_block = values.reshape(layout.rows, layout.per_row, *tail)
    return np.repeat(by_block, layout.block, axis=1)[:, : layout.columns]


def store(layout: Layout, unit: np.float32, codes: NDArray[np.uint8], **tensors: NDArray[Any]) -> Encoded:
    """Packs codes (rows, columns), or (3, rows, columns) for planes, beside the other tensors of the layout.

    ``ids`` come unpacked. The tensors are checked against the layout's shapes: size on disk is size by formula.
    """
    planes = codes if codes.ndim == 3 else codes[None]
    found: Tensors = {"weight": np.concatenate([pack(plane, layout.bits).ravel() for plane in planes])}
    found["unit"] = np.array([unit], dtype=np.float32).view(np.int32)
    if "ids" in tensors:
        tensors |= _pack_ids(tensors.pop("ids"), layout)
    found |= {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    expected = layout.shapes()
    actual = {name: (value.dtype.type, value.shape) for name, value in found.items()}
    if expected != actual:
        raise AssertionError(f"stored tensors {actual} are not those of the layout, {expected}")
    return Encoded(layout, found)


def _pack_ids(ids: NDArray[np.uint8], layout: Layout) -> Tensors:
    if layout.kind != "sparse":
        return {"ids": pack_trits(ids).ravel()}
    outer = ids != 1
    upper = np.packbits(ids[outer] == 2, bitorder="little")
    return {"outer": np.packbits(outer, axis=1, bitorder="little").ravel(), "upper": upper}


def cluster_ids(layout: Layout, tensors: Tensors) -> NDArray[np.uint8]:
    """(rows, columns) the cluster 0, 1 or 2 of every weight of a ``split`` or ``sparse`` layout."""
    if layout.kind == "split":
        return unpack_trits(tensors["ids"].reshape(layout.rows, -1), layout.columns)
    outer = np.unpackbits(
        tensors["outer"].reshape(layout.rows, -1), axis=1, count=layout.columns, bitorder="little"
    ).astype(bool)
    ids = np.ones(outer.shape, dtype=np.uint8)
    ids[outer] = 2 * np.unpackbits(tensors["upper"], count=layout.outer, bitorder="little")
    return ids


def decode(encoded: Encoded) -> Floats:
    """The weights (rows, columns) in float32: what every kernel and device gives back, bit for bit."""
    layout, tensors = encoded.layout, encoded.tensors
    values = _values(layout, tensors) * encoded.unit
    if layout.kept:
        where = tensors["kept_index"].view(np.uint32).astype(np.int64)
        values.ravel()[where] = kept_values(tensors["kept_value"])
    return values


def kept_values(bits: NDArray[Any]) -> Floats:
    """The exact values behind ``kept_value``: bfloat16 bits in int16, float32 bits in int32."""
    return single_brief(bits) if bits.dtype == np.int16 else bits.view(np.float32)


def _values(layout: Layout, tensors: Tensors) -> Floats:
    rows, columns = layout.rows, layout.columns
    planes = 3 if layout.kind == "planes" else 1
    codes = unpack(tensors["weight"], layout.bits, columns).reshape(planes, rows, columns)
    if layout.kind == "signed":
        return _signed(layout, tensors, codes[0])
    if layout.kind == "trellis":
        levels = single_brief(tensors["table"])[windows(codes[0], layout.bits)]
        return _floats(levels * spread(squares(tensors["scale"]), layout))
    scale = single(tensors["scale"])
    if layout.kind == "scaled":
        return _floats(single(tensors["table"])[codes[0]] * spread(scale, layout))
    zero = single(tensors["zero"])
    if layout.kind == "affine":
        return _floats((codes[0].astype(np.float32) - spread(zero, layout)) * spread(scale, layout))
    scale, zero = (np.broadcast_to(spread(part, layout), (rows, columns, 3)) for part in (scale, zero))
    if layout.kind == "planes":
        planes_of = [(codes[p].astype(np.float32) - zero[..., p]) * scale[..., p] for p in range(3)]
        return _floats(planes_of[0] + planes_of[1] + planes_of[2])
    ids = cluster_ids(layout, tensors)[..., None]
    own_zero, own_scale = (np.take_along_axis(part, ids, 2)[..., 0] for part in (zero, scale))
    return _floats((codes[0].astype(np.float32) - own_zero) * own_scale)


def by_row(encoded: Encoded) -> Encoded:
    """The same numbers with a scope for every row where groups of rows shared one; for formats that know no groups."""
    layout = encoded.layout
    if layout.scope != "group":
        return encoded
    tensors = dict(encoded.tensors)
    for name in {"scale", "zero", "table"} & tensors.keys():
        tensors[name] = np.repeat(tensors[name], layout.span, axis=0)[: layout.rows]
    return Encoded(replace(layout, scope="row"), tensors)


def squares(scale: NDArray[np.uint8]) -> Floats:
    """The scales that bytes stand for: ``q^2 / 65536``, exact in float32. Finer for small ones than an even grid."""
    wide = scale.astype(np.float32)
    return wide * wide * np.float32(2.0**-16)


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)


def magnitude_table(layout: Layout, tensors: Tensors) -> Floats:
    """(scopes, entries) magnitudes of a ``signed`` layout."""
    if layout.fine:
        return tensors["table"].astype(np.float32) * single(tensors["scale"])[:, None]
    return single(tensors["table"])


def _signed(layout: Layout, tensors: Tensors, codes: NDArray[np.uint8]) -> Floats:
    index_bits = layout.bits - 1
    index = codes & ((1 << index_bits) - 1)
    sign = np.float32(1) - np.float32(2) * (codes >> index_bits)
    table = magnitude_table(layout, tensors)
    scope = spread(np.arange(layout.scopes), layout)
    return _floats(table[scope, index] * sign)
