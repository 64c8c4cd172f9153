"""A model folder, packed or plain, read tensor by tensor: what every export starts from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backcast.compress import shards
from backcast.compress.guard import METHOD, VERSION
from backcast.compress.layout import Encoded, Floats, Layout, decode
from backcast.compress.shards import source_shards
from backcast.compress.stream import fingerprint
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Opened:
    """The files of a model folder, by the names the tensors had before packing."""

    folder: Path
    config: dict[str, Any]
    layouts: dict[str, Layout]
    """By layer name; empty for a plain folder."""
    entries: dict[str, shards.Entry]
    """Every stored tensor, in the order of the files."""

    @property
    def vocabulary(self) -> list[str]:
        """The packed layers that are embedding or head."""
        found: list[str] = (self.config.get("quantization_config") or {}).get("vocabulary", [])
        return found

    @property
    def names(self) -> list[str]:
        """The model's tensors, ``layer.weight`` standing for all that is stored of a packed layer."""
        return [name for name in self.entries if not self._inside(name)]

    def layout(self, name: str) -> Layout | None:
        """How the tensor is packed; None for a plain one."""
        return self.layouts.get(name.removesuffix(".weight")) if name.endswith(".weight") else None

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape once unpacked."""
        layout = self.layout(name)
        if layout is None:
            return self.entries[name].shape
        shapes = self.config["quantization_config"].get("shapes", {})
        return tuple(shapes.get(name.removesuffix(".weight"), (layout.rows, layout.columns)))

    def encoded(self, name: str) -> Encoded:
        """The stored integers of a packed tensor."""
        layout, base = self.layouts[name.removesuffix(".weight")], name.removesuffix("weight")
        tensors: dict[str, NDArray[Any]] = {}
        for key, (kind, shape) in layout.shapes().items():
            entry = self.entries.get(base + key)
            if entry is None or entry.size != int(np.prod(shape)) * np.dtype(kind).itemsize:
                raise BadInput(f"'{self.folder}': the packed layer '{base[:-1]}' lacks its '{key}'; fetch it again")
            tensors[key] = shards.read(entry).view(kind).reshape(shape)
        return Encoded(layout, tensors)

    def dense(self, name: str) -> Floats:
        """The tensor's numbers in float32: decoded if packed, as stored otherwise."""
        if self.layout(name):
            return decode(self.encoded(name)).reshape(self.shape(name))
        entry = self.entries[name]
        if entry.dtype not in shards.FLOATS:
            raise BadInput(
                f"'{self.folder}': tensor '{name}' is {entry.dtype}, not floating point; nothing reads it here"
            )
        return shards.as_float32(shards.read(entry), entry)

    def mark(self) -> str:
        """A name for the folder's content."""
        return fingerprint(self.folder)

    def _inside(self, name: str) -> bool:
        layer, _, key = name.rpartition(".")
        layout = self.layouts.get(layer)
        return layout is not None and key != "weight" and key in layout.shapes()


def open_folder(folder: Path) -> Opened:
    """Opens a model folder; raises BadInput when it is none, or is packed by somebody else or in another form."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"'{folder}' is no model folder: it has no config.json") from None
    except ValueError as error:
        raise BadInput(f"'{path}' is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise BadInput(f"'{path}' is no model configuration: it holds a {type(config).__name__}, not an object")
    about = config.get("quantization_config")
    found: dict[str, Layout] = {}
    if about:
        method = about.get("quant_method", "unknown")
        if method != METHOD:
            raise BadInput(
                f"'{folder}' is packed by '{method}', not by backcast; export what `backcast compress` wrote"
            )
        if about.get("version") != VERSION:
            raise BadInput(f"'{folder}' is packed in form {about.get('version')}, and this backcast reads {VERSION}")
        found = {name: Layout(**plain) for name, plain in about["layers"].items()}
    entries = {entry.name: entry for path in source_shards(folder) for entry in shards.read_header(path)[0]}
    missing = [name for name in found if f"{name}.weight" not in entries]
    if missing:
        raise BadInput(f"'{folder}' names the packed layer '{missing[0]}' and has no weights for it; fetch it again")
    return Opened(folder, config, found, entries)
