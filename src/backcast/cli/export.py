"""``backcast export``: a packed model for a runtime that knows nothing of us."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backcast.cli import tables


@dataclass(frozen=True)
class Options:
    """A packed folder for another runtime; what a format cannot hold is refused, or its extra error told."""

    folder: Annotated[Path, tyro.conf.Positional]
    """What `backcast compress` wrote (gguf and onnx take a plain model folder too)."""
    to: Literal["dense", "gguf", "compressed-tensors", "onnx"]
    """dense: plain Hugging Face folder; gguf: one file for llama.cpp; compressed-tensors: even grids; onnx: a graph."""
    out: Path
    """The folder to write, or for gguf the file."""
    rest: str | None = None
    """dense: float32 (default), bfloat16, float16; gguf: q8_0 (default), q4_0, f16, bf16, f32 for what is not exact."""


def main(options: Options) -> dict[str, Any]:
    """Writes the export and returns its figures."""
    from backcast.compress.export import Wish, export

    return export(Wish(options.folder, options.out, options.to, options.rest))


def show(result: dict[str, Any]) -> None:
    """Prints what was kept, and what was not."""
    from rich.table import Table

    extra = result["extra_relative_mse"]
    table = Table(box=None, show_header=False)
    rows = {
        "written": result["out"],
        "size": f"{result['bytes_before'] / 1e6:,.1f} MB -> {result['bytes'] / 1e6:,.1f} MB",
        "numbers": "the packed model's own"
        if result["lossless"]
        else f"rounded again, relative squared error {extra:.3g}",
    }
    if "types" in result:
        rows["weights in"] = ", ".join(f"{name}: {count:,}" for name, count in result["types"].items())
    if result.get("logits_differ") is not None:
        rows["logits differ by"] = f"{result['logits_differ']:.2g}"
    for name, value in rows.items():
        table.add_row(name, value)
    tables.console().print(table)
