"""Run: a folder that holds the resolved recipe, one sub-folder per stage, and the report. Killed anywhere, it resumes.

A stage is skipped when its fingerprint (settings, input hashes, code version) is the one it was finished with.
"""

import hashlib
import json
import os
import platform
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from backcast.core import params
from backcast.core.errors import BadInput
from backcast.core.files import code_version, digest, write_atomic, write_json
from backcast.core.vitals import Vital

RECIPE = "recipe.toml"
PACKAGES = ("backcast", "numpy", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "joblib")


@dataclass(frozen=True)
class Gap:
    """One row of the gap table: how far from the known good outcome, without and with the method."""

    stage: str
    metric: str
    baseline: float | None
    """The same problems without the method; None when that was not measured."""
    value: float | None
    low: float | None = None
    high: float | None = None
    """The 95 % interval of ``value``, or of ``value - baseline`` where ``paired`` is True."""
    n: int = 0
    paired: bool = False
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """Numbers over steps: ``series`` maps a label to its [x, y] points."""

    name: str
    x: str
    y: str
    series: Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Table:
    """A small table for the report; a cell is text, a number, or None (not measured)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class View:
    """Traces to be shown by the viewer of their ``kind``; ``path`` is relative to the run folder."""

    kind: str
    path: str


@dataclass(frozen=True)
class StageResult:
    """What a stage gives to the report and to the stages after it. Plain values only: it is stored as JSON."""

    gaps: Sequence[Gap] = ()
    vitals: Sequence[Vital] = ()
    curves: Sequence[Curve] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[str] = ()
    """Paths of PNG or SVG files, relative to the run folder."""
    views: Sequence[View] = ()
    lineage: Sequence[str] = ()
    """Lines that say what was made from what."""
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, vitals with their verdict."""
        return {**asdict(self), "vitals": [vital.to_dict() for vital in self.vitals]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "StageResult":
        """The inverse of ``to_dict``."""
        vitals = [Vital(**{key: value for key, value in row.items() if key != "ok"}) for row in record["vitals"]]
        return cls(
            gaps=[Gap(**row) for row in record["gaps"]],
            vitals=vitals,
            curves=[Curve(**row) for row in record["curves"]],
            tables=[Table(**row) for row in record["tables"]],
            pictures=record["pictures"],
            views=[View(**row) for row in record["views"]],
            lineage=record["lineage"],
            outputs=record["outputs"],
        )


@dataclass(frozen=True)
class Stage:
    """A finished stage."""

    name: str
    folder: Path
    skipped: bool
    seconds: float
    result: StageResult


class Run:
    """An open run folder. Make one with ``Run.open`` (new, or the same settings again) or ``Run.resume``."""

    def __init__(self, folder: Path, recipe: str, command: Sequence[str]) -> None:
        self.folder, self.recipe = folder, recipe
        self.stages: list[Stage] = []
        self._made = False
        self._lock = _lock(folder)
        self._started = time.time()
        self._attempt = _attempt_file(folder)
        self._log: dict[str, Any] = {"command": list(command), "pid": os.getpid(), "started": _now(), "stages": []}
        write_json(self._attempt, self._log)
        write_json(folder / "environment.json", environment())

    @classmethod
    def open(cls, out: Path | str, recipe: str, settings: Any, command: Sequence[str] = ()) -> "Run":
        """The run in ``out``: begun there, or gone on with if the settings are the same.

        Raises BadInput when ``out`` holds a run with other settings (naming them), or something that is no run.
        """
        folder = Path(out)
        text = params.to_toml(settings, {"recipe": recipe})
        if (folder / RECIPE).exists():
            _same_settings(folder, text)
        elif folder.exists() and not _is_empty(folder):
            raise BadInput(f"'{folder}' exists and is no run folder; name an empty or new folder with --out")
        else:
            made = not folder.exists()
            _make(folder, text)
            run = cls(folder, recipe, command)
            run._made = made
            return run
        return cls(folder, recipe, command)

    @property
    def fresh(self) -> bool:
        """True until a stage has been begun in this folder, by this attempt or an earlier one."""
        return not any(self.folder.glob("*-*/begun.json"))

    def stage(
        self,
        name: str,
        work: Callable[[Path], StageResult],
        settings: Any = None,
        inputs: Sequence[Path | str] = (),
    ) -> Stage:
        """Does ``work(folder)`` once: skipped when this stage was finished with the same settings, inputs and code.

        The work may leave files in its folder for its own resumption; after a change of settings, inputs or code the
        old folder is set aside under ``logs/stale`` and the stage begins afresh.
        """
        folder = self.folder / f"{len(self.stages) + 1}-{name}"
        mark = _fingerprint(name, settings, inputs)
        finished = _read_done(folder, mark)
        if finished is None:
            finished = self._work(name, work, folder, mark)
            stage = Stage(name, folder, False, finished["seconds"], StageResult.from_dict(finished["result"]))
        else:
            stage = Stage(name, folder, True, finished["seconds"], StageResult.from_dict(finished["result"]))
        self.stages.append(stage)
        self._log["stages"].append({"name": name, "skipped": stage.skipped, "ended": _now()})
        write_json(self._attempt, self._log)
        return stage

    def _work(self, name: str, work: Callable[[Path], StageResult], folder: Path, mark: str) -> dict[str, Any]:
        begun = folder / "begun.json"
        if folder.exists() and _read(begun).get("fingerprint") != mark:
            _set_aside(folder, self.folder / "logs" / "stale")
        if not begun.exists():
            write_json(begun, {"fingerprint": mark})
        start = time.perf_counter()
        result = work(folder)
        write_json(folder / "vitals.json", [vital.to_dict() for vital in result.vitals])
        seconds = round(time.perf_counter() - start, 3)
        done = {"name": name, "fingerprint": mark, "seconds": seconds, "result": result.to_dict()}
        write_json(folder / "done.json", done)
        return done

    def close(self, outcome: str = "done") -> None:
        """Ends the attempt: logs how it ended and lets go of the folder."""
        self._log.update(ended=_now(), outcome=outcome)
        write_json(self._attempt, self._log)
        self._lock.release()

    def abandon(self, outcome: str) -> None:
        """``close`` after bad input: a folder that this attempt made and that holds no work yet is taken away again."""
        self.close(outcome)
        if self._made and not self.stages and not any(map(_holds_work, self.folder.glob("*-*/"))):
            shutil.rmtree(self.folder)

    def summary(self) -> dict[str, Any]:
        """The object of ``--json`` for every run: run, report, seconds, stages, gaps, vitals."""
        report = self.folder / "report.html"
        return {
            "run": str(self.folder),
            "report": str(report) if report.exists() else None,
            "seconds": round(time.time() - self._started, 3),
            "stages": [{"name": s.name, "skipped": s.skipped, "seconds": s.seconds} for s in self.stages],
            "gaps": [asdict(gap) for stage in self.stages for gap in stage.result.gaps],
            "vitals": [vital.to_dict() for stage in self.stages for vital in stage.result.vitals],
        }


@dataclass(frozen=True)
class Plan:
    """One line of ``--dry-run``: what a stage is expected to take on an idle machine like the one at hand."""

    stage: str
    what: str
    seconds: float
    memory_gb: float


def read_recipe(folder: Path | str) -> dict[str, Any]:
    """The resolved recipe of a run folder; raises BadInput when the folder is no run."""
    path = Path(folder) / RECIPE
    if not path.is_file():
        raise BadInput(f"'{folder}' is no run folder: it has no {RECIPE}; give the folder that a run wrote")
    return params.read_toml(path)


def read_stages(folder: Path | str) -> list[Stage]:
    """The finished stages of a run folder, in order; raises BadInput when the folder is no run."""
    read_recipe(folder)
    found = [path for path in Path(folder).glob("*-*/done.json") if path.parent.name.split("-")[0].isdigit()]
    stages = []
    for path in sorted(found, key=lambda path: int(path.parent.name.split("-")[0])):
        record = _read(path)
        result = StageResult.from_dict(record["result"])
        stages.append(Stage(record["name"], path.parent, True, record["seconds"], result))
    return stages


def environment() -> dict[str, Any]:
    """What a bug report needs: versions, machine, code. Nothing of the user's environment variables."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "code": code_version(),
        "packages": versions,
    }


def _fingerprint(name: str, settings: Any, inputs: Sequence[Path | str]) -> str:
    plain = params.to_dict(settings) if hasattr(settings, "__dataclass_fields__") else settings
    hashes = []
    for path in map(Path, inputs):
        if not path.exists():
            raise BadInput(f"no such file or folder: '{path}' (an input of stage '{name}')")
        hashes.append(digest(path))
    record = json.dumps([name, plain, hashes, code_version()], sort_keys=True, default=str)
    return hashlib.sha256(record.encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record


def _read_done(folder: Path, mark: str) -> dict[str, Any] | None:
    record = _read(folder / "done.json")
    return record if record.get("fingerprint") == mark else None


def _set_aside(folder: Path, stale: Path) -> None:
    stale.mkdir(parents=True, exist_ok=True)
    count = len(list(stale.iterdir()))
    shutil.move(str(folder), str(stale / f"{folder.name}.{count + 1}"))


def _is_empty(folder: Path) -> bool:
    # Our own temporary files and lock begin with a dot; a run killed in its first millisecond leaves only those.
    return folder.is_dir() and all(member.name.startswith(".") for member in folder.iterdir())


def _make(folder: Path, recipe: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / RECIPE, recipe)
    except OSError as error:
        raise BadInput(f"cannot write the run folder '{folder}': {error.strerror}; name another with --out") from None


def _holds_work(stage: Path) -> bool:
    return any(member.name != "begun.json" for member in stage.iterdir())


def _same_settings(folder: Path, text: str) -> None:
    old, new = params.flat(read_recipe(folder)), params.flat(tomllib.loads(text))
    changed = [
        f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise BadInput(f"'{folder}' was begun with other settings ({'; '.join(changed)}); use another --out")


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(f"another process is running in '{folder}'; wait for it or use another --out") from None
    return lock


def _attempt_file(folder: Path) -> Path:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    return logs / f"attempt-{len(list(logs.glob('attempt-*.json'))) + 1}.json"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
