"""safetensors files tensor by tensor: read one without mapping the file, write a file while its parts come in.

Nothing here holds more than one tensor in memory, and nothing is mapped, so a limit on address space is no obstacle.
"""

import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backcast.core.errors import BadInput

FLOATS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}
"""Bytes of the floating types that can be compressed."""

_NAMES = {"uint8": "U8", "int16": "I16", "int32": "I32"}
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Entry:
    """One tensor in a file."""

    name: str
    dtype: str
    """As safetensors writes it: BF16, F32, U8, ..."""
    shape: tuple[int, ...]
    path: Path
    start: int
    """Of its first byte, from the beginning of the file."""
    size: int
    """In bytes."""


def read_header(path: Path) -> tuple[list[Entry], dict[str, str]]:
    """The tensors of a file in the order of their bytes, and its metadata; raises BadInput for a damaged header."""
    length = path.stat().st_size
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > length - 8:
                raise ValueError(f"it says its header has {size} bytes, and the file has {length}")
            table = json.loads(file.read(size))
        about = table.pop("__metadata__", {})
        entries = [_entry(name, record, path, size + 8, length) for name, record in table.items()]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadInput(
            f"'{path}' is damaged: its safetensors header cannot be read ({error}); fetch the file again"
        ) from error
    return sorted(entries, key=lambda entry: entry.start), about


def _entry(name: str, record: dict[str, Any], path: Path, base: int, length: int) -> Entry:
    start, end = record["data_offsets"]
    shape = tuple(int(n) for n in record["shape"])
    if not 0 <= start <= end or base + end > length:
        raise ValueError(f"tensor '{name}' ends at byte {base + end} of {length}")
    known = FLOATS.get(record["dtype"])
    if known is not None and prod(shape) * known != end - start:
        raise ValueError(f"tensor '{name}' of shape {list(shape)} has {end - start} bytes")
    return Entry(name, str(record["dtype"]), shape, path, base + start, end - start)


def read(entry: Entry) -> NDArray[np.uint8]:
    """The bytes of one tensor."""
    with entry.path.open("rb") as file:
        file.seek(entry.start)
        return np.fromfile(file, dtype=np.uint8, count=entry.size)


def as_float32(raw: NDArray[np.uint8], entry: Entry) -> NDArray[np.float32]:
    """The numbers of a floating tensor, in its shape; exact for BF16, F16 and F32."""
    if entry.dtype == "BF16":
        values = np.empty(len(raw) // 2, dtype=np.uint32)
        np.left_shift(raw.view(np.uint16), 16, out=values, dtype=np.uint32)
        return values.view(np.float32).reshape(entry.shape)
    kind = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[entry.dtype]
    return raw.view(kind).astype(np.float32, copy=False).reshape(entry.shape)


INDEX = "model.safetensors.index.json"


def source_shards(folder: Path) -> list[Path]:
    """The safetensors files that a model folder loads: those that its index names, or ``model.safetensors``, or all.

    Other files of weights beside them (an adapter, a second copy in another format) are none of the model's. Raises
    BadInput when there are none, and when the index is damaged or names a file that is not there.
    """
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        other = "; it has *.bin files: re-save it with safe_serialization" if any(folder.glob("*.bin")) else ""
        raise BadInput(f"'{folder}' has no weights (*.safetensors){other}")
    return found


def _indexed(folder: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"'{folder / INDEX}' is damaged: it has no weight_map; fetch the file again") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BadInput(f"'{folder}' has no '{missing[0]}', which its index names; was the download interrupted?")
    return [folder / name for name in names]


@dataclass(frozen=True)
class Later:
    """A tensor that is made only when its turn to be written comes."""

    size: int
    """In bytes."""
    make: Callable[[], NDArray[Any]]


Part = tuple[str, str, tuple[int, ...], NDArray[Any] | Entry | Later]
"""Name, dtype, shape, and where the bytes are: in memory, in another file, or still to be made."""


def part(name: str, values: NDArray[Any]) -> Part:
    """An integer array as a tensor to be written."""
    return name, _NAMES[values.dtype.name], values.shape, values


def copied(entry: Entry, name: str | None = None) -> Part:
    """A tensor of another file, to be copied, under a new name if one is given."""
    return name or entry.name, entry.dtype, entry.shape, entry


def write(path: Path, parts: Sequence[Part], about: dict[str, str]) -> None:
    """Writes a file, atomically: after ``kill -9`` or a full disk there is the whole file or none."""
    header: dict[str, Any] = {"__metadata__": about}
    offset = 0
    for name, dtype, shape, source in parts:
        size = source.nbytes if isinstance(source, np.ndarray) else source.size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for *_, source in parts:
                for chunk in _bytes(source):
                    file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _bytes(source: NDArray[Any] | Entry | Later) -> Iterator[bytes | memoryview]:
    if isinstance(source, Later):
        values = source.make()
        if values.nbytes != source.size:
            raise AssertionError(f"a tensor of {values.nbytes} bytes was announced with {source.size}")
        source = values
    if not isinstance(source, Entry):
        yield np.ascontiguousarray(source).tobytes()
        return
    with source.path.open("rb") as file:
        file.seek(source.start)
        left = source.size
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise BadInput(f"'{source.path}' ended in the middle of tensor '{source.name}'; fetch the file again")
            left -= len(chunk)
            yield chunk
