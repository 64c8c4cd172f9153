"""A folder that the compressed-tensors package, and engines that know it, load: even grids only.

Its ``pack-quantized`` form stores ``(code - zero) * scale`` with whole zero points: just what round to nearest makes.
Groupings and splits are not even grids; they are refused, since rounding again would be another model.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backcast.compress import shards
from backcast.compress.bits import unpack
from backcast.compress.export.dense import card, copy_small, plain_config
from backcast.compress.layout import Layout, by_row, single
from backcast.compress.opened import Opened
from backcast.compress.shards import source_shards
from backcast.core.errors import BadInput
from backcast.core.files import write_atomic, write_json

STRATEGY = {"block": "group", "row": "channel", "group": "channel", "tensor": "tensor"}


def write(opened: Opened, out: Path, rest: str | None) -> dict[str, Any]:
    """Writes the folder; raises BadInput for the first layer that is no even grid."""
    if rest is not None:
        raise BadInput("--rest does not belong to compressed-tensors, which is exact or refused; leave it out")
    if not opened.layouts:
        raise BadInput(f"'{opened.folder}' is not packed; it is a plain folder already")
    linear = {name: how for name, how in opened.layouts.items() if name not in opened.vocabulary}
    for name, how in linear.items():
        _check(name, how)
    where: dict[str, str] = {}
    for path in source_shards(opened.folder):
        parts: list[shards.Part] = []
        for entry in shards.read_header(path)[0]:
            layout = opened.layout(entry.name)
            if entry.name.removesuffix(".weight") in linear:
                parts += _packed(opened, entry.name)
            elif layout is not None:  # engines look words up in plain embeddings
                parts.append((entry.name, "F32", opened.shape(entry.name), opened.dense(entry.name)))
            elif entry.name in opened.names:
                parts.append(shards.copied(entry))
        shards.write(out / path.name, parts, {"format": "pt"})
        where |= {name: path.name for name, *_ in parts}
    if (opened.folder / "model.safetensors.index.json").exists():
        total = sum(entry.size for path in source_shards(out) for entry in shards.read_header(path)[0])
        write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    copy_small(opened.folder, out)
    write_json(out / "config.json", {**plain_config(opened, "float32"), "quantization_config": _config(opened)})
    write_atomic(out / "README.md", card(opened, "compressed-tensors, pack-quantized"))
    return {"rest": None, "lossless": True, "extra_relative_mse": 0.0}


def _check(name: str, layout: Layout) -> None:
    if layout.kind != "affine":
        splits = {
            "planes": "a split in three planes",
            **dict.fromkeys(("split", "sparse"), "a split in three clusters"),
        }
        what = splits.get(layout.kind, "a codebook")
        raise BadInput(
            f"compressed-tensors holds even grids only, and '{name}' is {what}; compress with --method rtn, "
            "or export with --to dense or --to onnx"
        )
    if layout.scope == "block" and layout.columns % layout.block:
        raise BadInput(
            f"compressed-tensors wants whole groups, and '{name}' has {layout.columns} columns in blocks of "
            f"{layout.block}; compress with a --block that divides them, or --scope row"
        )


def _packed(opened: Opened, name: str) -> list[shards.Part]:
    encoded, base = by_row(opened.encoded(name)), name.removesuffix("weight")
    layout = encoded.layout
    shape = (1,) if layout.scope == "tensor" else (layout.rows, layout.per_row)
    scale = (single(encoded.tensors["scale"]) * encoded.unit).reshape(shape)
    zero = np.rint(single(encoded.tensors["zero"])).astype(np.uint32).reshape(shape)
    codes = unpack(encoded.tensors["weight"], layout.bits, layout.columns).astype(np.uint32)
    packed = words(codes, _width(layout))
    size = np.array([layout.rows, layout.columns], dtype=np.int64)
    parts: dict[str, tuple[str, NDArray[Any]]] = {
        "weight_packed": ("I32", packed),
        "weight_shape": ("I64", size),
        "weight_scale": ("F32", scale),
        "weight_zero_point": _zeros(layout, zero),
    }
    return [(base + key, dtype, values.shape, values) for key, (dtype, values) in parts.items()]


def _zeros(layout: Layout, zero: NDArray[np.uint32]) -> tuple[str, NDArray[Any]]:
    """Zero points lie packed along the rows; the form counts codes from the middle, so packing adds it back."""
    if layout.scope == "tensor":
        return "I8", (zero.astype(np.int64) - (1 << (_width(layout) - 1))).astype(np.int8)
    return "I32", np.ascontiguousarray(words(np.ascontiguousarray(zero.T), _width(layout)).T)


def _width(layout: Layout) -> int:
    """Bits of a stored code. Releases differ in how they pack 3, 5, 6 and 7 bits; in 4 and 8 they agree."""
    return 4 if layout.bits <= 4 else 8


def words(codes: NDArray[np.uint32], bits: int) -> NDArray[np.int32]:
    """Codes (rows, columns) in 32-bit words along a row, ``32 // bits`` to a word, the first in the lowest bits."""
    each = 32 // bits
    rows, columns = codes.shape
    padded = np.zeros((rows, -(-columns // each), each), dtype=np.uint32)
    padded.reshape(rows, -1)[:, :columns] = codes
    found = np.zeros(padded.shape[:2], dtype=np.uint32)
    for i in range(each):
        found |= padded[..., i] << np.uint32(bits * i)
    return found.view(np.int32)


def _config(opened: Opened) -> dict[str, Any]:
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, layout in opened.layouts.items():
        if name in opened.vocabulary:
            continue
        size = layout.block if layout.scope == "block" else None
        groups.setdefault((_width(layout), STRATEGY[layout.scope], size), []).append(name)
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        # transformers 5.23 lays out zero points unpacked when it keeps a model packed, and then refuses packed ones,
        # its own too; unpacked at loading they are read as they should.
        "dequantize": True,
        "config_groups": {
            f"group_{i}": {"targets": names, "weights": _weights(*how), "input_activations": None}
            for i, (how, names) in enumerate(groups.items())
        },
    }


def _weights(bits: int, strategy: str, size: int | None) -> dict[str, Any]:
    about = {"num_bits": bits, "type": "int", "symmetric": False, "dynamic": False}
    return {**about, "strategy": strategy, "group_size": size}
