"""Other people's calibration-free quantisers, each as one matrix in, the stored numbers and their bytes out.

Bytes are counted as for our own layouts: codes at their ideal width (some of these packages store 5- and 6-bit codes in
bytes; that is not held against them), every scale and zero point at the width it is stored in. ``benchmarks/peers.txt``
names the packages.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache

import numpy as np
import torch

Quantiser = Callable[[np.ndarray, str], tuple[np.ndarray, float]]
"""(weights (rows, columns) float32, layer name) -> (the same as stored, bytes)."""

LLAMA = ("Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_K", "Q5_K", "Q6_K")
_NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
"""QLoRA (arXiv 2305.14314), appendix E."""


def peers() -> dict[str, Quantiser]:
    """Every peer by its name in the table."""
    found: dict[str, Quantiser] = {"NF4 g64": nf4, "NF4 g64, double": lambda w, n: nf4(w, n, double=True)}
    for bits, group in ((2, 16), (3, 64), (3, 32), (4, 64), (4, 32), (5, 64), (6, 64), (8, 64)):
        found[f"HQQ {bits} g{group}"] = _hqq(bits, group)
    for bits in (3, 4, 5, 6):
        # The wide groups are there to take no more bytes than our default does.
        found[f"HQQ {bits} g256"] = _hqq(bits, 256)
        for group in (64, 128, 192):
            found[f"torchao int{bits} g{group}"] = _torchao(bits, group)
            found[f"AutoRound int{bits} g{group}"] = _auto_round(bits, group)
    for name in LLAMA:
        found[f"llama.cpp {name}"] = _llama(name)
    return found


def nf4(weights: np.ndarray, name: str, *, double: bool = False) -> tuple[np.ndarray, float]:
    """NormalFloat 4 on blocks of 64; ``double`` stores the block scales in 8 bits, 256 to a float32 and its mean."""
    del name
    table = np.array(_NF4, dtype=np.float32)
    blocks = weights.reshape(-1, 64)
    scale = np.abs(blocks).max(1)
    stored = scale.astype(np.float16).astype(np.float32)
    size = weights.size / 2 + len(scale) * 2
    if double:
        centre = float(scale.mean())
        groups = np.pad(scale - centre, (0, -len(scale) % 256)).reshape(-1, 256)
        top = np.abs(groups).max(1, keepdims=True) / 127
        back = np.rint(groups / np.where(top > 0, top, 1)) * top
        stored = (back.ravel()[: len(scale)] + centre).astype(np.float32)
        size = weights.size / 2 + len(scale) + len(groups) * 4 + 4
    middles = (table[1:] + table[:-1]) / 2
    codes = np.searchsorted(middles, blocks / np.where(scale > 0, stored, 1)[:, None])
    return (table[codes] * stored[:, None]).reshape(weights.shape), size


def _hqq(bits: int, group: int) -> Quantiser:
    def quantise(weights: np.ndarray, name: str) -> tuple[np.ndarray, float]:
        del name
        from hqq.core.quantize import Quantizer

        codes, meta = Quantizer.quantize(
            torch.from_numpy(weights), nbits=bits, group_size=group, axis=1, optimize=True, device="cpu",
            compute_dtype=torch.float32, bitpack=False,
        )  # fmt: skip
        back = (codes.float() - meta["zero"]) * meta["scale"]
        return back.reshape(weights.shape).numpy(), weights.size * (bits / 8 + 4 / group)

    return quantise


def _torchao(bits: int, group: int) -> Quantiser:
    def quantise(weights: np.ndarray, name: str) -> tuple[np.ndarray, float]:
        del name
        from torchao.quantization import IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerGroup

        layer = torch.nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        layer.weight.data = torch.from_numpy(weights)
        # Even grids around zero: the zero points are all 0 and not counted.
        quantize_(layer, IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=PerGroup(group)))
        return layer.weight.dequantize().detach().float().numpy(), weights.size * (bits / 8 + 2 / group)

    return quantise


def _auto_round(bits: int, group: int) -> Quantiser:
    def quantise(weights: np.ndarray, name: str) -> tuple[np.ndarray, float]:
        """What ``iters=0`` does by default (200 scales tried per group), without the importance matrix it takes."""
        del name
        from auto_round.data_type.utils import get_quant_func

        search, kind = get_quant_func("int", bits, sym=True, iters=0)
        if kind != "opt_rtn_int_sym":
            raise RuntimeError(f"AutoRound took '{kind}' for iters=0, expected opt_rtn_int_sym")
        back, scales, _ = search(torch.from_numpy(weights), bits=bits, group_size=group)
        # The last group of a row may be shorter; the middle of the codes is the zero point and not counted.
        return back.numpy(), weights.size * bits / 8 + 2 * scales.numel()

    return quantise


@cache
def _ggml() -> ctypes.CDLL:
    """llama.cpp's own quantisers, out of the xllamacpp wheel."""
    import xllamacpp

    folder = os.path.dirname(xllamacpp.__file__)
    library = ctypes.CDLL(os.path.join(folder, next(name for name in os.listdir(folder) if name.endswith(".so"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    library.ggml_row_size.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    return library


def _llama(kind: str) -> Quantiser:
    def quantise(weights: np.ndarray, name: str) -> tuple[np.ndarray, float]:
        """Superblocks of 256 run on over the ends of rows, where llama.cpp itself would take a larger type."""
        del name
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        number, library = int(GGMLQuantizationType[kind]), _ggml()
        flat = np.ascontiguousarray(weights.reshape(-1, 256))
        size = library.ggml_row_size(number, 256) * len(flat)
        packed = np.zeros(size, dtype=np.uint8)
        done = library.ggml_quantize_chunk(number, flat.ctypes.data, packed.ctypes.data, 0, len(flat), 256, None)
        if done != size:
            raise RuntimeError(f"ggml wrote {done} bytes, expected {size}")
        back = dequantize(packed.reshape(len(flat), -1), GGMLQuantizationType[kind])
        return back.reshape(weights.shape).astype(np.float32), float(size)

    return quantise
