"""Packed matrices as ONNX nodes: MatMulNBits for even grids, tables and codes gathered for the rest.

``MatMulNBits`` is onnxruntime's own operator: 4 or 8 bits, blocks of a power of two from 16 on, whole zero points.
A codebook becomes ``Gather(table, codes) * scale``, in the very numbers of the packed layer. onnxruntime folds such
constant branches when it loads the graph: small on disk, float32 in memory.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from backcast.compress.bits import unpack, windows
from backcast.compress.export.onnx_file import MICROSOFT, GraphFile
from backcast.compress.layout import (
    Encoded,
    Layout,
    by_row,
    cluster_ids,
    kept_values,
    magnitude_table,
    single,
    single_brief,
    squares,
)

SMALLEST = 16
WIDE = 128
"""Block in which a scale of a row or tensor is repeated."""


def packed_product(graph: GraphFile, x: str, name: str, encoded: Encoded) -> str:
    """``x`` (..., columns) times the transposed matrix: (..., rows)."""
    encoded = by_row(encoded)
    layout = encoded.layout
    if layout.kind == "planes":
        # The published form: three products whose outputs add up.
        low, middle, high = (packed_product(graph, x, f"{name}.{p}", plane) for p, plane in enumerate(_planes(encoded)))
        return str(graph.op("Add", graph.op("Add", low, middle), high))
    if layout.kind == "affine" and _by_operator(layout):
        return _grid(graph, x, name, encoded)
    dense = _floats(graph, name, encoded)
    if layout.kept:
        dense = _with_kept(graph, name, dense, encoded)
    return str(graph.op("MatMul", x, graph.op("Transpose", dense, perm=[1, 0])))


def _planes(encoded: Encoded) -> list[Encoded]:
    """The three planes of a split, each an even grid of its own."""
    layout, tensors = replace(encoded.layout, kind="affine"), encoded.tensors
    codes = tensors["weight"].reshape(3, -1)
    return [
        Encoded(
            layout,
            {"weight": codes[p], "unit": tensors["unit"]} | {key: tensors[key][:, p] for key in ("scale", "zero")},
        )
        for p in range(3)
    ]


def _by_operator(layout: Layout) -> bool:
    return layout.scope != "block" or (layout.block >= SMALLEST and layout.block & (layout.block - 1) == 0)


def _grid(graph: GraphFile, x: str, name: str, encoded: Encoded) -> str:
    layout, tensors = encoded.layout, encoded.tensors
    scale = np.ascontiguousarray(single(np.ascontiguousarray(tensors["scale"])) * encoded.unit)
    zero = np.rint(single(np.ascontiguousarray(tensors["zero"]))).astype(np.uint8)
    bits, block = (4 if layout.bits <= 4 else 8), (layout.block if layout.scope == "block" else WIDE)
    blocks = -(-layout.columns // block)
    room: NDArray[Any] = np.zeros((layout.rows, blocks * block), dtype=np.uint8)
    room[:, : layout.columns] = unpack(tensors["weight"], layout.bits, layout.columns)
    shape = (layout.rows, blocks)
    if layout.scope != "block":
        scale, zero = (np.repeat(part.reshape(-1, 1), blocks, axis=1) for part in (scale, zero))
    scale, zero = (np.broadcast_to(part.reshape(-1, blocks), shape) for part in (scale, zero))
    if bits == 4:
        room, zero = _two_to_a_byte(room), _two_to_a_byte(np.pad(zero, ((0, 0), (0, blocks % 2))))
    stored = graph.weight(f"{name}.codes", room.reshape(layout.rows, blocks, -1))
    scales = graph.weight(f"{name}.scale", np.ascontiguousarray(scale, dtype=np.float32).reshape(-1))
    zeros = graph.weight(f"{name}.zero", np.ascontiguousarray(zero, dtype=np.uint8).reshape(-1))
    about = {"K": layout.columns, "N": layout.rows, "bits": bits, "block_size": block, "accuracy_level": 1}
    return str(graph.op("MatMulNBits", x, stored, scales, zeros, domain=MICROSOFT, **about))


def grid_floats(graph: GraphFile, name: str, encoded: Encoded) -> str:
    """(rows, columns) float32 of an even grid with a scale a row: ``(code - zero) * scale``, by arithmetic."""
    layout, tensors = encoded.layout, encoded.tensors
    codes = graph.weight(f"{name}.codes", np.ascontiguousarray(unpack(tensors["weight"], layout.bits, layout.columns)))
    zero = graph.weight(f"{name}.zero", single(tensors["zero"]).reshape(-1, 1))
    scale = graph.weight(f"{name}.scale", (single(tensors["scale"]) * encoded.unit).reshape(-1, 1))
    moved = graph.op("Sub", graph.op("Cast", codes, to=TensorProto.FLOAT), zero)
    return str(graph.op("Mul", moved, scale))


def _floats(graph: GraphFile, name: str, encoded: Encoded) -> str:
    """(rows, columns) float32, by a table."""
    layout, tensors, unit = encoded.layout, encoded.tensors, encoded.unit
    width = layout.block if layout.scope == "block" else layout.columns
    padded = layout.per_row * width
    codes: NDArray[Any] = unpack(tensors["weight"], layout.bits, layout.columns)
    bits = layout.bits
    if layout.kind in ("split", "sparse"):
        # The id on top of the code: one table of three times as many levels.
        codes = codes.astype(np.int32) + (cluster_ids(layout, tensors).astype(np.int32) << bits)
        bits += 2
    elif layout.kind == "trellis":
        # Codes that choose together are written out as what they choose, a byte each.
        codes, bits = windows(codes, bits), 8
    found = _codes(graph, name, codes, bits, padded)
    if layout.kind in ("scaled", "trellis"):
        alone = layout.kind == "scaled"
        levels = single(tensors["table"]) if alone else single_brief(tensors["table"])
        table = graph.weight(f"{name}.table", levels * unit)
        values = graph.op("Gather", table, found)
        values = graph.op("Reshape", values, graph.constant([layout.rows, layout.per_row, width]))
        factor = single(tensors["scale"]) if alone else squares(tensors["scale"])
        scale = graph.weight(f"{name}.scale", factor.reshape(layout.rows, layout.per_row, 1))
        values = graph.op("Mul", values, scale)
    else:
        table = graph.weight(f"{name}.table", _levels(layout, tensors) * unit)
        by_scope = graph.op("Reshape", found, graph.constant([layout.scopes, -1]))
        values = graph.op("GatherElements", table, by_scope, axis=1)
    values = graph.op("Reshape", values, graph.constant([layout.rows, padded]))
    if padded == layout.columns:
        return str(values)
    return str(graph.op("Slice", values, graph.constant([0]), graph.constant([layout.columns]), graph.constant([1])))


def _levels(layout: Layout, tensors: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """(scopes, levels): what each code means in its scope."""
    if layout.kind == "signed":
        top = 1 << (layout.bits - 1)
        table = np.zeros((layout.scopes, 2 * top), dtype=np.float32)
        magnitudes = magnitude_table(layout, tensors)
        table[:, : layout.entries], table[:, top : top + layout.entries] = magnitudes, -magnitudes
        return table
    codes = np.arange(1 << layout.bits, dtype=np.float32)
    scale, zero = (
        single(np.ascontiguousarray(tensors[key])).reshape(layout.scopes, -1, 1) for key in ("scale", "zero")
    )
    return ((codes - zero) * scale).reshape(layout.scopes, -1)


def _codes(graph: GraphFile, name: str, codes: NDArray[Any], bits: int, padded: int) -> str:
    """(rows, padded) whole numbers: two to a byte up to 4 bits, else one."""
    rows, columns = codes.shape
    even = padded + padded % 2
    room = np.zeros((rows, even if bits <= 4 else padded), dtype=np.uint8 if bits <= 8 else np.uint16)
    room[:, :columns] = codes
    if bits > 4:
        return str(graph.op("Cast", graph.weight(f"{name}.codes", room), to=TensorProto.INT32))
    stored = graph.weight(f"{name}.codes", _two_to_a_byte(room))
    low = graph.op("BitwiseAnd", stored, graph.constant(15, np.uint8))
    high = graph.op("BitShift", stored, graph.constant(4, np.uint8), direction="RIGHT")
    last = graph.constant([2])
    pairs = graph.op("Concat", graph.op("Unsqueeze", low, last), graph.op("Unsqueeze", high, last), axis=2)
    flat = graph.op("Cast", graph.op("Reshape", pairs, graph.constant([rows, even])), to=TensorProto.INT32)
    if even == padded:
        return str(flat)
    return str(graph.op("Slice", flat, graph.constant([0]), graph.constant([padded]), graph.constant([1])))


def _two_to_a_byte(values: NDArray[Any]) -> NDArray[Any]:
    """Pairs of neighbours in a byte, the first in its lower half."""
    found: NDArray[Any] = values[:, ::2] | values[:, 1::2] << 4
    return found


def _with_kept(graph: GraphFile, name: str, dense: str, encoded: Encoded) -> str:
    """The weights that are stored exactly, put in their places."""
    layout = encoded.layout
    where = graph.weight(f"{name}.kept", encoded.tensors["kept_index"].view(np.uint32).astype(np.int64))
    values = graph.weight(f"{name}.exact", kept_values(encoded.tensors["kept_value"]))
    flat = graph.op("ScatterElements", graph.op("Reshape", dense, graph.constant([-1])), where, values, axis=0)
    return str(graph.op("Reshape", flat, graph.constant([layout.rows, layout.columns])))
