"""A plain Hugging Face folder: nothing of ours is needed to load it, and in float32 nothing is lost."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backcast.compress import shards
from backcast.compress.layout import Floats
from backcast.compress.model import continues_text
from backcast.compress.opened import Opened, open_folder
from backcast.compress.shards import source_shards
from backcast.core.errors import BadInput, WorkFailed, nearest
from backcast.core.files import write_atomic, write_json

TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_OWN = ("config.json", "README.md", "compress.json", "export.json", "model.safetensors.index.json")


def write(opened: Opened, out: Path, rest: str | None) -> dict[str, Any]:
    """Writes the folder, packed layers as ``rest`` (default float32, exact); loads it and compares the logits."""
    kind = rest or "float32"
    if kind not in TYPES:
        raise BadInput(f"--rest '{kind}' is no format of a dense folder{nearest(kind, TYPES)}")
    if not opened.layouts:
        raise BadInput(f"'{opened.folder}' is not packed; it is a plain folder already")
    error = Error()
    where: dict[str, str] = {}
    for path in source_shards(opened.folder):
        parts = [_part(opened, entry.name, TYPES[kind], error) for entry in _members(opened, path)]
        shards.write(out / path.name, parts, {"format": "pt"})
        where |= {name: path.name for name, *_ in parts}
    if (opened.folder / "model.safetensors.index.json").exists():
        total = sum(entry.size for path in source_shards(out) for entry in shards.read_header(path)[0])
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        write_json(out / "model.safetensors.index.json", index)
    copy_small(opened.folder, out)
    write_json(out / "config.json", plain_config(opened, kind))
    apart = None
    if continues_text(opened.config):
        apart = _compare(opened, out, exact=kind == "float32")
    else:
        _read_back(opened, out, TYPES[kind])
    write_atomic(out / "README.md", card(opened, f"a plain folder in {kind}"))
    return {"rest": kind, "lossless": kind == "float32", "extra_relative_mse": error.relative, "logits_differ": apart}


class Error:
    """Squared errors added up over tensors, relative to the squares of the exact numbers."""

    def __init__(self) -> None:
        self.wrong = self.square = 0.0

    def add(self, exact: Floats, stored: Floats) -> float:
        """Takes one tensor in; returns its own relative squared error."""
        wrong = float(np.square(exact - stored, dtype=np.float64).sum())
        square = float(np.square(exact, dtype=np.float64).sum())
        self.wrong, self.square = self.wrong + wrong, self.square + square
        return wrong / square if square else 0.0

    @property
    def relative(self) -> float:
        """Of all tensors so far."""
        return self.wrong / self.square if self.square else 0.0


def narrowed(values: Floats, dtype: str) -> tuple[NDArray[Any], Floats]:
    """``values`` in a safetensors type (F32, F16, BF16 as its bits), and what they are there."""
    if dtype == "F32":
        return values, values
    if dtype == "F16":
        short = values.astype(np.float16)
        return short, short.astype(np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32)
    # To nearest, ties to even; weights are finite.
    high = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    return high, (high.astype(np.uint32) << np.uint32(16)).view(np.float32)


def copy_small(source: Path, out: Path) -> None:
    """Tokenizer, chat template, generation settings."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in (".json", ".jinja", ".txt", ".model") and path.name not in _OWN:
            shutil.copyfile(path, out / path.name)


def plain_config(opened: Opened, dtype: str) -> dict[str, Any]:
    """``config.json`` without a word of the packing."""
    ours = ("quantization_config", "transformers_weights")
    config = {key: value for key, value in opened.config.items() if key not in ours}
    config.pop("torch_dtype", None)
    return {**config, "dtype": dtype}


def card(opened: Opened, what: str) -> str:
    """The model card of an export."""
    from backcast.report.card import Card, card

    title = opened.folder.resolve().name
    return card(
        Card(title=f"{title}, {what}", base_model=title, lineage=[f"{what}, made by backcast export from {title}"])
    )


def _members(opened: Opened, path: Path) -> list[shards.Entry]:
    names = set(opened.names)
    return [entry for entry in shards.read_header(path)[0] if entry.name in names]


def _part(opened: Opened, name: str, dtype: str, error: Error) -> shards.Part:
    layout = opened.layout(name)
    if layout is None:
        return shards.copied(opened.entries[name])

    def make() -> NDArray[Any]:
        values = opened.dense(name)
        stored, back = narrowed(values, dtype)
        error.add(values, back)
        return stored

    return name, dtype, opened.shape(name), shards.Later(layout.weights * shards.FLOATS[dtype], make)


def _read_back(opened: Opened, out: Path, dtype: str) -> None:
    """Models that read no text: every packed tensor's numbers are read again from the files; no logits to compare."""
    written = open_folder(out)
    for layer in opened.layouts:
        name = f"{layer}.weight"
        if not np.array_equal(narrowed(opened.dense(name), dtype)[1], written.dense(name)):
            raise WorkFailed(f"'{name}' of the plain folder differs from what was to be written; report this")


def _compare(opened: Opened, out: Path, *, exact: bool) -> float:
    """Largest difference of logits between the packed model, decoded plainly, and the export."""
    import torch

    from backcast.compress.reload import plain_route
    from backcast.compress.score import load

    ids = torch.arange(1, 17)[None] % opened.config.get("vocab_size", 17)
    model, _ = load(opened.folder)
    compare: Callable[..., Any] = model
    with torch.no_grad(), plain_route(model):
        ours = compare(ids).logits
    del model, compare
    other, _ = load(out)
    with torch.no_grad():
        theirs = other(ids).logits
    apart = float((ours - theirs).abs().max())
    if exact and not apart <= 1e-5 * max(float(ours.abs().max()), 1.0):
        raise WorkFailed(f"the plain folder's logits differ by {apart:.3g} from the packed model's; report this")
    return apart
