"""A packed matrix as a torch tensor, on any device: the same numbers as ``layout.decode``, bit for bit."""

from dataclasses import replace

import torch
from torch import Tensor

from backcast.compress.bits import STRETCH, row_bytes, window_bits
from backcast.compress.layout import Layout

Stored = dict[str, Tensor]


def dequantise(layout: Layout, stored: Stored) -> Tensor:
    """(rows, columns) float32 on the device of ``stored``."""
    unit = stored["unit"].view(torch.float32)
    values = _values(layout, stored) * unit
    if layout.kept:
        where = stored["kept_index"].to(torch.int64) & 0xFFFFFFFF
        values.view(-1)[where] = kept_values(stored["kept_value"])
    return values


def take_rows(layout: Layout, stored: Stored, rows: Tensor) -> tuple[Layout, Stored]:
    """The layout and the stored tensors of some rows of an even grid with scales of its own in each row or block.

    Raises ValueError for any other layout: only embeddings are read by rows, and those are packed as even grids.
    """
    if layout.kind != "affine" or layout.scope in ("tensor", "group"):
        raise ValueError(f"rows of a {layout.kind} matrix with scope {layout.scope} cannot be taken alone")
    found = {"weight": stored["weight"].view(layout.rows, -1)[rows].reshape(-1), "unit": stored["unit"]}
    for name in ("scale", "zero"):
        found[name] = stored[name].view(layout.rows, -1)[rows].reshape(-1)
    return replace(layout, rows=len(rows)), found


def kept_values(bits: Tensor) -> Tensor:
    """The exact values behind ``kept_value``, float32."""
    if bits.dtype == torch.int16:
        return bits.view(torch.bfloat16).to(torch.float32)
    return bits.view(torch.float32)


def _values(layout: Layout, stored: Stored) -> Tensor:
    rows, columns = layout.rows, layout.columns
    planes = 3 if layout.kind == "planes" else 1
    codes = _unpack(stored["weight"].view(planes * rows, -1), layout.bits, columns).view(planes, rows, columns)
    if layout.kind == "signed":
        return _signed(layout, stored, codes[0])
    if layout.kind == "trellis":
        scale = stored["scale"].float()
        levels = stored["table"].view(torch.bfloat16).float()[_windows(codes[0], layout.bits).long()]
        return levels * _spread(scale * scale * 2.0**-16, layout)
    scale = _single(stored["scale"])
    if layout.kind == "scaled":
        return _single(stored["table"])[codes[0].long()] * _spread(scale, layout)
    zero = _single(stored["zero"])
    if layout.kind == "affine":
        return (codes[0].float() - _spread(zero, layout)) * _spread(scale, layout)
    scale, zero = (_spread(part, layout).expand(rows, columns, 3) for part in (scale, zero))
    if layout.kind == "planes":
        parts = [(codes[p].float() - zero[..., p]) * scale[..., p] for p in range(3)]
        return parts[0] + parts[1] + parts[2]
    ids = _cluster_ids(layout, stored).long()[..., None]
    own_zero, own_scale = (part.gather(2, ids)[..., 0] for part in (zero, scale))
    return (codes[0].float() - own_zero) * own_scale


def _signed(layout: Layout, stored: Stored, codes: Tensor) -> Tensor:
    index_bits = layout.bits - 1
    index = (codes & ((1 << index_bits) - 1)).long()
    sign = 1.0 - 2.0 * (codes >> index_bits).float()
    table = stored["table"].float() * _single(stored["scale"])[:, None] if layout.fine else _single(stored["table"])
    scope = _spread(torch.arange(layout.scopes, device=codes.device), layout).expand(codes.shape)
    return table[scope, index] * sign


def _single(bits: Tensor) -> Tensor:
    return bits.view(torch.float16).float()


def _spread(values: Tensor, layout: Layout) -> Tensor:
    tail = values.shape[1:]
    if layout.scope == "tensor":
        return values.view(1, 1, *tail)
    if layout.scope in ("row", "group"):
        return values.repeat_interleave(layout.span, dim=0)[: layout.rows].view(layout.rows, 1, *tail)
    by_block = values.view(layout.rows, layout.per_row, *tail)
    return by_block.repeat_interleave(layout.block, dim=1)[:, : layout.columns]


def _unpack(packed: Tensor, bits: int, columns: int) -> Tensor:
    stretches = row_bytes(columns, bits) // (4 * bits)
    parts = packed.view(len(packed), stretches, 4 * bits)
    codes = torch.zeros(len(packed), stretches, STRETCH, dtype=torch.uint8, device=packed.device)
    at = done = 0
    for piece in (8, 4, 2, 1):
        if bits & piece:
            taken = parts[..., at : at + 4 * piece]
            mask = (1 << piece) - 1
            pieces = [(taken >> (i * piece)) & mask for i in range(8 // piece)]
            codes |= torch.cat(pieces, dim=2) << done
            at += 4 * piece
            done += piece
    return codes.view(len(packed), -1)[:, :columns]


def _windows(codes: Tensor, bits: int) -> Tensor:
    found = codes.clone()
    for back in range(1, -(-window_bits(bits) // bits)):
        found[:, back:] |= codes[:, :-back] << (back * bits)
    return found & ((1 << window_bits(bits)) - 1)


def _cluster_ids(layout: Layout, stored: Stored) -> Tensor:
    if layout.kind == "split":
        return _unpack_trits(stored["ids"].view(layout.rows, -1), layout.columns)
    outer = _unpack_bits(stored["outer"].view(layout.rows, -1))[:, : layout.columns].bool()
    ids = torch.ones(outer.shape, dtype=torch.uint8, device=outer.device)
    ids[outer] = 2 * _unpack_bits(stored["upper"].view(1, -1))[0, : layout.outer]
    return ids


def _unpack_bits(packed: Tensor) -> Tensor:
    """(n, 8 * bytes) of (n, bytes), lowest bit first."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (packed[..., None] >> places & 1).view(len(packed), -1)


def _unpack_trits(packed: Tensor, columns: int) -> Tensor:
    digits = [torch.div(packed, power, rounding_mode="floor") % 3 for power in (1, 3, 9, 27, 81)]
    return torch.stack(digits, dim=2).view(len(packed), -1)[:, :columns]
