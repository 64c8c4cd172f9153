"""One compression from end to end: pack, reload, compare, generate a sample, write the card, give the figures."""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backcast.compress.layout import Layout
from backcast.compress.reload import check
from backcast.compress.stream import RESULT, WORK, Job, differences, fingerprint, pack_model
from backcast.core.errors import BadInput
from backcast.core.files import write_atomic, write_json


def compress(job: Job, title: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Compresses a model folder and returns the figures of ``backcast compress --json``.

    The packed folder is loaded again before success is declared: its logits by the fast kernels are compared with those
    by plain decoding. ``more`` is added to the figures. A finished folder of the same job is answered from its record.
    Raises BadInput for anything that cannot be compressed, WorkFailed when the reloaded model does not agree.
    """
    finished = finished_before(job)
    if finished is not None:
        return finished
    began, cpu = time.monotonic(), time.process_time()
    packed = pack_model(job, finish=False)
    checked = check(job.out, job.check)
    tensors = packed["tensors"]
    layouts = [Layout(**record["layout"]) for record in tensors]
    weights = sum(layout.weights for layout in layouts)
    worked = sum(record["cpu_seconds"] for record in tensors) if job.jobs != 1 else 0.0
    figures: dict[str, Any] = {
        "method": job.record()["method"],
        "claimed_bits": _mean([record["claimed_bits"] for record in tensors], layouts),
        "true_bits": 8 * sum(layout.bytes() for layout in layouts) / weights,
        "bytes_before": folder_bytes(job.source),
        "bytes_after": 0,
        "weights": weights,
        "relative_mse": _relative(tensors),
        "seconds": round(time.monotonic() - began, 3),
        "cpu_seconds": round(time.process_time() - cpu + worked, 3),
        **checked,
        "out": str(job.out),
        "untouched": packed["untouched"],
        **(more or {}),
    }
    write_atomic(job.out / "README.md", _card(title, job, figures))
    _write_record(job, figures, tensors)
    shutil.rmtree(job.out / WORK)
    return figures


def folder_bytes(folder: Path) -> int:
    """Bytes of all files of a folder, work in progress left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and WORK not in path.relative_to(folder).parts)
    return sum(path.stat().st_size for path in files)


def _write_record(job: Job, figures: dict[str, Any], tensors: list[dict[str, Any]]) -> None:
    """Writes the record of the job; the size of the folder counts this very file too."""
    mark = {"job": job.record(), "source": fingerprint(job.source)}
    for _ in range(3):  # the number's own digits settle at once
        write_json(job.out / RESULT, {**mark, "figures": figures, "tensors": tensors})
        figures["bytes_after"] = folder_bytes(job.out)
    write_json(job.out / RESULT, {**mark, "figures": figures, "tensors": tensors})


def finished_before(job: Job) -> dict[str, Any] | None:
    """The figures of a finished folder of the same job, None if there is none; raises BadInput for another job's."""
    path = job.out / RESULT
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    mark = {"job": job.record(), "source": fingerprint(job.source)}
    changed = differences({key: stored[key] for key in mark}, mark)
    if changed:
        raise BadInput(f"'{job.out}' holds a model compressed otherwise ({changed}); use another --out")
    shutil.rmtree(job.out / WORK, ignore_errors=True)  # killed after the record was written
    figures: dict[str, Any] = stored["figures"]
    return figures


def _mean(values: list[float], layouts: list[Layout]) -> float:
    """The mean over all weights of per-tensor figures."""
    total = sum(layout.weights for layout in layouts)
    return sum(value * layout.weights for value, layout in zip(values, layouts, strict=True)) / total


def _relative(tensors: list[dict[str, Any]]) -> float:
    square = sum(record["square"] for record in tensors)
    return float(sum(record["squared_error"] for record in tensors) / square) if square else 0.0


def _card(title: str, job: Job, figures: dict[str, Any]) -> str:
    from backcast.report.card import Card, card

    told = job.record()
    chosen = ", ".join(f"{key} {value}" for key, value in told["settings"].items())
    lines = [
        f"made from {title} by backcast compress, method {told['method']} ({chosen})",
        f"{figures['weights']:,} weights packed at {figures['true_bits']:.3f} true bits each "
        f"(advertised as {figures['claimed_bits']:.3f}), relative squared error {figures['relative_mse']:.6f}",
        f"left as they were: {', '.join(figures['untouched']) or 'no layer'}",
        "to load: `import backcast.compress`, then `AutoModelForCausalLM.from_pretrained(folder)`",
    ]
    return card(Card(title=f"{title}, packed", base_model=title, lineage=lines))
