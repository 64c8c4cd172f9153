"""One GGUF file for llama.cpp: weights in a type that holds them exactly where there is one, else requantised.

What is exact: a block-wise 1-bit grouping (``Q1_0``, where the installed gguf package has it), round to nearest of up
to 7 bits in blocks of a multiple of 32, or per row or tensor (``Q8_0``: its codes are whole numbers below 128), and
whatever fits half precision, bfloat16 or float32. Everything else is stored as ``rest`` says, and the error is told.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from backcast.compress.export.llama_blocks import Stored, back, held_exactly, rounded_to
from backcast.compress.export.llama_words import add_words
from backcast.compress.layout import Floats
from backcast.compress.opened import Opened
from backcast.core.errors import BadInput, WorkFailed, nearest

TYPES = {"q8_0": "Q8_0", "q4_0": "Q4_0", "f16": "F16", "bf16": "BF16", "f32": "F32"}

_KNOWN = {"llama": ("LLAMA", True), "mistral": ("LLAMA", True), "qwen2": ("QWEN2", False), "qwen3": ("QWEN3", False)}
"""model_type: llama.cpp's name for it, and whether its rotary embedding pairs neighbouring rows."""


def write(opened: Opened, out: Path, rest: str | None) -> dict[str, Any]:
    """Writes ``out/model.gguf``; raises BadInput for a family or tokenizer that cannot be put into one faithfully."""
    rest = rest or "q8_0"
    if rest not in TYPES:
        raise BadInput(f"--rest '{rest}' is no GGUF type written here{nearest(rest, TYPES)}")
    kind = opened.config.get("model_type")
    if kind not in _KNOWN:
        raise BadInput(f"--to gguf knows {', '.join(_KNOWN)}, not '{kind}'; --to dense holds any family")
    family, paired = _KNOWN[kind]
    path = out / "model.gguf"
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[family]])
    _add_shape(writer, opened.config)
    add_words(writer, opened.folder, opened.config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family], opened.config["num_hidden_layers"])
    wrong, square, types, spool = 0.0, 0.0, dict[str, int](), _Spool(out / "tensors")
    for name in opened.names:
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise BadInput(f"--to gguf has no place for the tensor '{name}' in a {kind} model; use --to dense")
        exact = opened.dense(name)
        kept = _stored(opened, name, exact, rest)
        if opened.layout(name):
            wrong += float(np.square(exact - back(kept, exact.shape), dtype=np.float64).sum())
            square += float(np.square(exact, dtype=np.float64).sum())
        types[kept.type] = types.get(kept.type, 0) + exact.size
        spool.add(
            target, Stored(kept.type, _paired(kept.values, _heads(opened.config, name) if paired else 0)), exact.shape
        )
    factors = _rotary_factors(opened.config)
    if factors is not None:
        spool.add("rope_freqs.weight", Stored("F32", factors), factors.shape)
    spool.pour(writer)
    _read_back(path, spool)
    spool.path.unlink()
    extra = wrong / square if square else 0.0
    return {"rest": rest, "lossless": wrong == 0, "extra_relative_mse": extra, "types": types}


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name("backcast export")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(_rope(config).get("rope_theta", config.get("rope_theta", 10000.0))))
    writer.add_vocab_size(config["vocab_size"])
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        raise BadInput("--to gguf does not write sliding-window attention; use --to dense")


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _rotary_factors(config: dict[str, Any]) -> Floats | None:
    """What llama.cpp divides each rotary frequency by; None for plain rotary embeddings."""
    kind = _rope(config).get("rope_type", _rope(config).get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise BadInput(f"--to gguf does not write rotary embeddings of type '{kind}'; use --to dense")
    rope = _rope(config)
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    lengths = (
        2 * np.pi * float(rope.get("rope_theta", config.get("rope_theta", 10000.0))) ** (np.arange(0, size, 2) / size)
    )
    old, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    share = (old / lengths - low) / (high - low)
    between = 1 / ((1 - share) / factor + share)
    found = np.where(lengths < old / high, 1.0, np.where(lengths > old / low, factor, between))
    return found.astype(np.float32)


def _heads(config: dict[str, Any], name: str) -> int:
    """Heads of a query or key projection (weight or bias); 0 for every other tensor."""
    if ".q_proj." in name:
        return int(config["num_attention_heads"])
    if ".k_proj." in name:
        return int(config.get("num_key_value_heads") or config["num_attention_heads"])
    return 0


def _paired(values: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows reordered within each head: the two halves that Hugging Face rotates together become neighbours."""
    if not heads:
        return values
    half = len(values) // heads // 2
    return values.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(values.shape)


def _stored(opened: Opened, name: str, exact: Floats, rest: str) -> Stored:
    """The tensor in the smallest type that holds it exactly, or, a packed one, in ``rest`` if none does.

    Vectors are float32, as llama.cpp wants them.
    """
    if exact.ndim == 1:
        return Stored("F32", exact)
    layout = opened.layout(name)
    if layout is not None:
        found = held_exactly(opened.encoded(name))
        return found or rounded_to(TYPES[rest], exact)
    for kind in ("Q8_0", "BF16", "F16"):
        found = rounded_to(kind, exact)
        if found.type == kind and np.array_equal(back(found, exact.shape), exact):
            return found
    return Stored("F32", exact)


class _Spool:
    """Tensors on their way into the file: on disk, since the file wants all names and types first."""

    def __init__(self, path: Path) -> None:
        self.path, self.members = path, list[tuple[str, str, tuple[int, ...], int]]()
        path.touch()

    def add(self, name: str, stored: Stored, shape: tuple[int, ...]) -> None:
        """Appends the bytes of one tensor."""
        values = np.ascontiguousarray(stored.values)
        with self.path.open("ab") as file:
            file.write(values.tobytes())
        self.members.append((name, stored.type, shape, values.nbytes))

    def read(self) -> Iterator[tuple[str, str, tuple[int, ...], NDArray[np.uint8]]]:
        """The tensors again, one by one, as bytes."""
        with self.path.open("rb") as file:
            for name, kind, shape, size in self.members:
                yield name, kind, shape, np.fromfile(file, dtype=np.uint8, count=size)

    def pour(self, writer: Any) -> None:
        """Writes header, metadata and all tensors."""
        for name, kind, shape, size in self.members:
            raw = gguf.GGMLQuantizationType[kind]
            # Bytes for a block type: the writer wants the shape in bytes then.
            by_bytes = (*shape[:-1], size // int(np.prod(shape[:-1], dtype=int)))
            writer.add_tensor_info(name, by_bytes, np.dtype(np.uint8), size, raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for *_, values in self.read():
            writer.write_tensor_data(values)
        writer.close()


def _read_back(path: Path, spool: _Spool) -> None:
    """Opens the file with the gguf reader and compares every tensor's bytes."""
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, kind, shape, values in spool.read():
        tensor = found.get(name)
        same = (
            tensor is not None
            and tensor.tensor_type.name == kind
            and tuple(int(n) for n in tensor.shape) == shape[::-1]
            and np.array_equal(np.ascontiguousarray(tensor.data).view(np.uint8).ravel(), values)
        )
        if not same:
            raise WorkFailed(f"the GGUF file does not give tensor '{name}' back as it was written; report this")
