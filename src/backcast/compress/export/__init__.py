"""Packed models for other runtimes: plain folders, llama.cpp, compressed-tensors, ONNX."""

import importlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backcast.compress.opened import Opened, open_folder
from backcast.core.errors import BadInput
from backcast.core.files import write_json

Target = Literal["dense", "gguf", "compressed-tensors", "onnx"]

RECORD = "export.json"

_DOORS = {"dense": "dense", "gguf": "llama_cpp", "compressed-tensors": "uniform", "onnx": "graph"}
_NEEDS = {"gguf": ("gguf",), "onnx": ("onnx", "onnxruntime")}


@dataclass(frozen=True)
class Wish:
    """What is exported, where to, and how."""

    source: Path
    out: Path
    to: Target
    rest: str | None = None
    """The number format of what the target cannot hold exactly; None: the target's own default."""

    def record(self, opened: Opened) -> dict[str, Any]:
        """The settings that the result depends on."""
        return {"to": self.to, "rest": self.rest, "source": opened.mark()}


def export(wish: Wish) -> dict[str, Any]:
    """Writes the export, checks it, and returns its figures; ``out`` appears only when all is done.

    ``out`` is a folder, or a ``.gguf`` file. A finished export of the same folder is answered from its record. Raises
    BadInput in one line for what the target cannot hold, for a package that is not installed, and for an ``out`` that
    holds something else.
    """
    for package in _NEEDS.get(wish.to, ()):
        if importlib.util.find_spec(package) is None:
            raise BadInput(f"--to {wish.to} needs the package '{package}'; run: pip install 'backcast[export]'")
    if wish.to == "gguf" and wish.out.suffix != ".gguf":
        raise BadInput(f"--to gguf writes one file; --out '{wish.out}' must end with .gguf")
    opened = open_folder(wish.source)
    record = wish.record(opened)
    done = _finished(wish.out, record)
    if done is not None:
        return done
    door = importlib.import_module(f"backcast.compress.export.{_DOORS[wish.to]}")
    write: Callable[[Opened, Path, str | None], dict[str, Any]] = door.write
    work = wish.out.with_name(f".{wish.out.name}.part")
    shutil.rmtree(work, ignore_errors=True)  # of a killed run: an export is begun anew
    work.mkdir(parents=True)
    try:
        figures = {"to": wish.to, "out": str(wish.out), **write(opened, work, wish.rest)}
        figures["bytes_before"] = _bytes(wish.source)
        figures["bytes"] = _bytes(work)
        if wish.to == "gguf":
            os.replace(work / "model.gguf", wish.out)
            write_json(_record_of(wish.out), {"record": record, "figures": figures})
        else:
            write_json(work / RECORD, {"record": record, "figures": figures})
            if wish.out.is_dir():
                wish.out.rmdir()  # empty, or _finished would have refused it
            os.replace(work, wish.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return figures


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _record_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.{RECORD}") if out.suffix == ".gguf" else out / RECORD


def _finished(out: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    path = _record_of(out)
    if not path.is_file():
        if out.suffix == ".gguf" and out.is_file():  # killed between the file and its record
            raise BadInput(f"'{out}' exists without the record of an export; remove it or name another --out")
        raise BadInput(f"'{out}' exists and is no export of ours; name a new one with --out")
    stored = json.loads(path.read_text())
    old = stored["record"]
    changed = [f"{key}: {old.get(key)} -> {value}" for key, value in record.items() if old.get(key) != value]
    if changed:
        raise BadInput(f"'{out}' holds another export ({', '.join(changed)}); name a new one with --out")
    figures: dict[str, Any] = stored["figures"]
    return figures
