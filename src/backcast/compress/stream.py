"""Compressing a model folder tensor by tensor: memory for one tensor at a time, resumable per tensor, atomic.

Work in progress lies in ``OUT/.work``: one small file a packed tensor, named by settings and content, so that whatever
was done before a kill or a full disk is taken up again. Then each source shard becomes one shard of the same name.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backcast.compress import rtn, shards, splitquant, wgm
from backcast.compress.guard import GUARD, METHOD, VERSION
from backcast.compress.layout import Encoded, Floats, Layout, decode
from backcast.compress.model import HEAD, Layers, choose, find_layers, read_config
from backcast.compress.shards import source_shards
from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.core.parallel import pmap
from backcast.lm.models import content_hash

Settings = rtn.RTN | wgm.WGM | splitquant.SplitQuant


@dataclass(frozen=True)
class Planned:
    """Settings tensor by tensor, as a plan chose them; tensors without any stay as they are."""

    asked: Mapping[str, Any]
    """What the plan was asked for; the layers follow from it and the model."""
    layers: Mapping[str, Settings]


WORK = ".work"
RESULT = "compress.json"
_ROWS = 1 << 22


@dataclass(frozen=True)
class Job:
    """What is to be compressed, how, and where to."""

    source: Path
    out: Path
    settings: Settings | Planned
    include: tuple[str, ...] = ()
    """Patterns (``*.mlp.*``) of layer names to compress; all linear layers if empty."""
    exclude: tuple[str, ...] = ()
    jobs: int = 1
    check: Literal["auto", "model", "layers"] = "auto"
    """How the result is loaded again (``reload``)."""
    embedding: bool = False
    """Whether input embedding and output head are packed too, as ``VOCABULARY``."""

    def record(self) -> dict[str, Any]:
        """The settings that the result depends on."""
        return {
            "method": METHODS[type(self.settings)],
            "settings": dict(self.settings.asked) if isinstance(self.settings, Planned) else asdict(self.settings),
            "include": list(self.include),
            "exclude": list(self.exclude),
            "version": VERSION,
            **({"embedding": asdict(VOCABULARY)} if self.embedding else {}),
        }


VOCABULARY = rtn.RTN(8, "row")
"""How embeddings are stored when they are: a token's row can be read alone, and 8 bits are nearly exact."""

METHODS: dict[type, str] = {wgm.WGM: "wgm", splitquant.SplitQuant: "splitquant", rtn.RTN: "rtn", Planned: "plan"}


@dataclass(frozen=True)
class Task:
    """One tensor to be packed."""

    entry: shards.Entry
    settings: Settings
    folder: Path


def encode(weights: Floats, settings: Settings, name: str) -> Encoded:
    """Stores a matrix by the method that the settings belong to."""
    if isinstance(settings, wgm.WGM):
        return wgm.encode(weights, settings, name)
    if isinstance(settings, splitquant.SplitQuant):
        return splitquant.encode(weights, settings, name)
    return rtn.encode(weights, settings, name)


def pack_model(job: Job, *, finish: bool = True) -> dict[str, Any]:
    """Writes the packed folder; returns one record a packed tensor and what was left untouched.

    Without ``finish`` the work folder stays, so that a caller with more to do can be killed and resumed too.
    Raises BadInput for a folder that cannot be compressed, for an ``out`` that holds something else or was begun with
    other settings, and for weights that are not finite.
    """
    config = read_config(job.source)
    targets, layers = find_targets(job)
    work = begin(job)
    settings = [_settings(job, entry.name) for entry in targets]
    tasks = [Task(entry, how, work) for entry, how in zip(targets, settings, strict=True) if how is not None]
    tasks += [Task(entry, VOCABULARY, work) for entry in find_vocabulary(job, layers)]
    records = pmap(pack_tensor, tasks, jobs=job.jobs, label="packing tensors")
    by_name = {record["name"]: record for record in records}
    for path in source_shards(job.source):
        _assemble(path, job.out, by_name)
    _write_index(job)
    _copy_rest(job)
    _write_config(job, config, layers, records)
    if finish:
        shutil.rmtree(work)
    left = sorted(name for name in layers.linear if f"{name}.weight" not in by_name)
    return {
        "tensors": records,
        "untouched": {
            **{
                name: why
                for name, why in layers.untouched.items()
                if not (job.embedding and _packed(name, why, by_name))
            },
            **dict.fromkeys(left, "excluded, planned so, or not in the files"),
        },
    }


def _packed(name: str, why: str, packed: Mapping[str, Any]) -> bool:
    """Whether a layer that otherwise stays is packed by ``embedding``: itself, or a head that shares the weights."""
    return f"{name}.weight" in packed or why == HEAD


def find_vocabulary(job: Job, layers: Layers) -> list[shards.Entry]:
    """Input embedding and output head, if they are to be packed; raises BadInput when there is none that can be."""
    if not job.embedding:
        return []
    entries = [entry for path in source_shards(job.source) for entry in shards.read_header(path)[0]]
    names = {f"{name}.weight" for name in layers.vocabulary}
    found = [entry for entry in entries if entry.name in names and entry.dtype in shards.FLOATS]
    if not found:
        raise BadInput(f"--embedding: '{job.source}' has no plain embedding of words; leave the flag out")
    return found


def find_targets(job: Job) -> tuple[list[shards.Entry], Layers]:
    """The tensors that ``include`` and ``exclude`` choose, in the order of the files, and the model's layers."""
    entries = [entry for path in source_shards(job.source) for entry in shards.read_header(path)[0]]
    layers = find_layers(job.source)
    chosen = {f"{name}.weight" for name in choose(layers, job.include, job.exclude)}
    targets = [entry for entry in entries if entry.name in chosen and entry.dtype in shards.FLOATS]
    if not targets:
        raise BadInput(f"the weights in '{job.source}' bear none of the model's layer names; re-save it first")
    return targets, layers


def _settings(job: Job, name: str) -> Settings | None:
    return job.settings.layers.get(name) if isinstance(job.settings, Planned) else job.settings


def begin(job: Job) -> Path:
    """The work folder in ``out``, fresh or of the same job; raises BadInput when ``out`` holds anything else."""
    work = job.out / WORK
    mark = {**job.record(), "source": fingerprint(job.source)}
    if (work / "job.json").exists():
        old = json.loads((work / "job.json").read_text())
        changed = differences(old, mark)
        if changed:
            raise BadInput(f"'{job.out}' was begun with other settings ({changed}); use another --out")
    elif job.out.exists() and any(member.name != WORK for member in job.out.iterdir()):
        raise BadInput(f"'{job.out}' exists and holds other files; name an empty or new folder with --out")
    else:
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / "job.json", mark)
    return work


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What changed between two records, as ``key: old -> new``; empty when nothing did."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found.append(differences(a, b))
        elif a != b:
            found.append(f"{key}: {a} -> {b}")
    return ", ".join(text for text in found if text)


def fingerprint(folder: Path) -> str:
    """A name for the content of a model folder: its weights to the last byte, and config.json."""
    found = hashlib.sha256()
    for path in [*source_shards(folder), folder / "config.json"]:
        found.update(f"{path.name} {content_hash(path)}\n".encode())
    return found.hexdigest()


def pack_tensor(task: Task) -> dict[str, Any]:
    """Packs one tensor into its part file, unless it is there for the same bytes; returns its record."""
    start = time.process_time()
    raw = shards.read(task.entry)
    sha256 = hashlib.sha256(raw.data).hexdigest()
    path = part_file(task.folder, task.entry.name)
    if path.exists():
        _, about = shards.read_header(path)
        record: dict[str, Any] = json.loads(about["record"])
        if record["sha256"] == sha256:
            return record
    weights = shards.as_float32(raw, task.entry)
    del raw
    settings = task.settings
    if weights.ndim != 2:
        weights = weights.reshape(len(weights), -1)  # a convolution: one kernel a row
        if isinstance(settings, splitquant.SplitQuant):
            settings = splitquant.by_kernel(settings)
    encoded = encode(weights, settings, task.entry.name)
    wrong, square = _errors(weights, encoded)
    record = {
        "name": task.entry.name,
        "layout": encoded.layout.to_dict(),
        "claimed_bits": settings.claimed(encoded.layout),
        "squared_error": wrong,
        "square": square,
        "sha256": sha256,
        "cpu_seconds": round(time.process_time() - start, 4),
        **({"shape": list(task.entry.shape)} if len(task.entry.shape) != 2 else {}),
    }
    base = task.entry.name.removesuffix("weight")
    parts = [shards.part(base + name, values) for name, values in encoded.tensors.items()]
    shards.write(path, parts, {"record": json.dumps(record)})
    return record


def part_file(work: Path, name: str) -> Path:
    """Where the packed form of a tensor lies until its shard is written."""
    return work / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"


def _errors(weights: Floats, encoded: Encoded) -> tuple[float, float]:
    """Squared error and squared norm, summed in double precision a few rows at a time."""
    stored = decode(encoded)
    stored -= weights
    height = max(_ROWS // weights.shape[1], 1)
    pieces = [slice(at, at + height) for at in range(0, len(weights), height)]
    wrong = sum(float(np.square(stored[piece], dtype=np.float64).sum()) for piece in pieces)
    square = sum(float(np.square(weights[piece], dtype=np.float64).sum()) for piece in pieces)
    return wrong, square


def _assemble(source: Path, out: Path, records: dict[str, dict[str, Any]]) -> None:
    """Writes the shard that takes the place of ``source``: packed tensors from their parts, the rest copied."""
    if (out / source.name).exists():
        return
    entries, about = shards.read_header(source)
    parts: list[shards.Part] = []
    for entry in entries:
        if entry.name in records:
            packed, _ = shards.read_header(part_file(out / WORK, entry.name))
            parts += [shards.copied(tensor) for tensor in packed]
        else:
            parts.append(shards.copied(entry))
    shards.write(out / source.name, parts, {**about, "format": "pt"})


def _write_index(job: Job) -> None:
    if not (job.source / "model.safetensors.index.json").exists():
        return
    where, total = {}, 0
    for path in source_shards(job.out):
        for entry in shards.read_header(path)[0]:
            where[entry.name] = path.name
            total += entry.size
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    write_json(job.out / "model.safetensors.index.json", index)


def _copy_rest(job: Job) -> None:
    for path in small_files(job.source):
        shutil.copyfile(path, job.out / path.name)


def small_files(source: Path) -> list[Path]:
    """Tokenizer, chat template, generation settings: every small file that is not weights, configuration or card."""
    own = ("config.json", "README.md", "backcast.json", "model.safetensors.index.json")
    kinds = (".json", ".jinja", ".txt", ".model")
    return [
        path for path in sorted(source.iterdir()) if path.is_file() and path.suffix in kinds and path.name not in own
    ]


def _write_config(job: Job, config: dict[str, Any], layers: Layers, records: list[dict[str, Any]]) -> None:
    packed = {record["name"].removesuffix(".weight"): record["layout"] for record in records}
    about: dict[str, Any] = {"quant_method": METHOD, "version": VERSION, "about": job.record(), "layers": packed}
    if job.embedding:
        about["vocabulary"] = [name for name in layers.vocabulary if name in packed]
    if modules := {name: module for name, module in layers.modules.items() if name in packed}:
        about["modules"] = modules
    shapes = {record["name"].removesuffix(".weight"): record["shape"] for record in records if "shape" in record}
    if shapes:
        about["shapes"] = shapes
    config = {**config, "transformers_weights": GUARD, "quantization_config": about}
    write_json(job.out / "config.json", config)


def layouts(config: dict[str, Any]) -> dict[str, Layout]:
    """The layouts of the packed layers of a packed folder's ``config.json``."""
    return {name: Layout(**plain) for name, plain in config["quantization_config"]["layers"].items()}
