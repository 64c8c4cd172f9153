"""Matrices in llama.cpp's block types: which of our layouts one of them holds exactly, and rounding for the rest."""

from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from backcast.compress.bits import unpack
from backcast.compress.export.dense import narrowed
from backcast.compress.layout import Encoded, Floats, Layout, magnitude_table, single, spread

ONE_BIT = 128
"""Weights in a block of ``Q1_0``: a half-precision magnitude, then a bit a weight, 1 for plus, the first lowest."""

EIGHT_BIT = 32
"""Weights in a block of ``Q8_0``: a half-precision scale, then a signed byte a weight."""


@dataclass(frozen=True)
class Stored:
    """A tensor as a GGUF file holds it."""

    type: str
    values: NDArray[Any]
    """Numbers of a plain type, or bytes (rows, bytes of a row) of a block type and of BF16."""


def held_exactly(encoded: Encoded) -> Stored | None:
    """The packed matrix in ``Q1_0`` or ``Q8_0`` if that is the very same numbers; None otherwise."""
    layout = encoded.layout
    if layout.kept or layout.kind not in ("signed", "affine"):
        return None
    if layout.kind == "signed":
        return _one_bit(encoded) if layout.bits == 1 and hasattr(gguf.GGMLQuantizationType, "Q1_0") else None
    return _eight_bit(encoded)


def rounded_to(kind: str, values: Floats) -> Stored:
    """A matrix in a type that may not hold it exactly; float32 where its columns do not fill whole blocks."""
    if kind in ("F32", "F16", "BF16"):
        short = narrowed(values, kind)[0]
        return Stored(kind, short.view(np.uint8) if kind == "BF16" else short)
    if values.shape[1] % EIGHT_BIT:
        return Stored("F32", values)
    return Stored(kind, gguf.quantize(values, gguf.GGMLQuantizationType[kind]))


def back(stored: Stored, shape: tuple[int, ...]) -> Floats:
    """The numbers of a stored tensor, float32."""
    if stored.type == "Q1_0":
        blocks = np.ascontiguousarray(stored.values).reshape(-1, 2 + ONE_BIT // 8)
        scale = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
        signs = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype(np.float32) * 2 - 1
        return (scale * signs).reshape(shape)
    if stored.type == "BF16":
        high = np.ascontiguousarray(stored.values).view(np.uint16).astype(np.uint32)
        return (high << np.uint32(16)).view(np.float32).reshape(shape)
    if stored.type in ("F32", "F16"):
        return stored.values.astype(np.float32).reshape(shape)
    found: Floats = gguf.dequantize(stored.values, gguf.GGMLQuantizationType[stored.type]).reshape(shape)
    return found


def _one_bit(encoded: Encoded) -> Stored | None:
    layout = encoded.layout
    scale = _per_block(layout, magnitude_table(layout, encoded.tensors)[:, 0] * encoded.unit, ONE_BIT)
    if scale is None:
        return None
    codes = unpack(encoded.tensors["weight"], 1, layout.columns)
    plus = np.packbits(codes.reshape(*scale.shape, ONE_BIT) == 0, axis=2, bitorder="little")
    blocks = np.concatenate([scale[..., None].view(np.uint8), plus], axis=2)
    return Stored("Q1_0", blocks.reshape(layout.rows, -1))


def _eight_bit(encoded: Encoded) -> Stored | None:
    layout = encoded.layout
    scale = _per_block(layout, single(encoded.tensors["scale"]) * encoded.unit, EIGHT_BIT)
    if scale is None:
        return None
    zero = spread(np.rint(single(encoded.tensors["zero"])).astype(np.int16), layout)
    level = unpack(encoded.tensors["weight"], layout.bits, layout.columns).astype(np.int16) - zero
    if level.min() < -128 or level.max() > 127:
        return None
    levels = level.astype(np.int8).view(np.uint8).reshape(*scale.shape, EIGHT_BIT)
    blocks = np.concatenate([scale[..., None].view(np.uint8), levels], axis=2)
    return Stored("Q8_0", blocks.reshape(layout.rows, -1))


def _per_block(layout: Layout, scale: Floats, width: int) -> NDArray[np.float16] | None:
    """A half-precision scale for every block of ``width`` weights; None where blocks do not fit or a scale does not."""
    if layout.columns % width or (layout.scope == "block" and layout.block % width):
        return None
    short = scale.astype(np.float16)
    if not np.array_equal(short.astype(np.float32), scale):
        return None
    wide = np.broadcast_to(spread(short, layout), (layout.rows, layout.columns))
    return np.ascontiguousarray(wide[:, ::width])
