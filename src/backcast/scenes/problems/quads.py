"""Quadruples (subject, predicate, object, time) in CSV or JSON Lines: one clip for every subject of every clip id."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput, nearest
from backcast.core.problem import read_jsonl
from backcast.scenes.problems.clip import Clips, make_clip
from backcast.scenes.problems.instances import Numbering
from backcast.scenes.problems.vocabulary import Group, Vocabulary

ALIASES = {
    "clip": "clip",
    "id": "clip",
    "video": "clip",
    "subject": "subject",
    "head": "subject",
    "predicate": "predicate",
    "relation": "predicate",
    "object": "object",
    "tail": "object",
    "time": "time",
    "frame": "time",
    "timestamp": "time",
    "group": "group",
    "instance": "instance",
}
NEEDED = ("predicate", "object", "time")


def read_quads(path: Path | str, vocabulary: Vocabulary | None = None) -> Clips:
    """The clips of quadruples; columns predicate, object, time (whole numbers), and optionally clip, subject, group,
    instance (which of several objects of one name: see ``instances``).

    Without ``vocabulary`` it is what occurs: objects and predicates sorted, one many-of group for each name in
    ``group`` (default "relation"). Repeated rows count once. Raises BadInput with file, line and field.
    """
    rows: dict[str, dict[int, dict[tuple[str, str], dict[str, list[str]]]]] = {}
    predicates: dict[str, str] = {}
    for number, raw in _rows(Path(path)):
        row = _known(raw, f"{path}, line {number}")
        where = f"{path}, line {number}"
        try:
            time = int(str(row["time"]))
        except ValueError:
            raise BadInput(f"{where}, time: '{row['time']}' is not a whole number") from None
        name, label, group = str(row["object"]), str(row["predicate"]), str(row.get("group") or "relation")
        if predicates.setdefault(label, group) != group:
            raise BadInput(f"{where}, group: '{label}' is in '{group}' here and in '{predicates[label]}' before")
        thing = (name, str(row.get("instance") or ""))
        clip = "/".join(str(row[key]) for key in ("clip", "subject") if row.get(key) not in (None, "")) or "all"
        labels = rows.setdefault(clip, {}).setdefault(time, {}).setdefault(thing, {}).setdefault(group, [])
        if label not in labels:
            labels.append(label)
    if not rows:
        raise BadInput(f"{path}: no quadruples; give rows with the columns {', '.join(NEEDED)}")
    graphs = {clip: _frames(times) for clip, times in rows.items()}
    objects = {name for frames in graphs.values() for frame in frames for name in frame["objects"]}
    words = vocabulary or _vocabulary(objects, predicates)
    clips = [make_clip(words, name, frames, f"{path}, clip '{name}'") for name, frames in graphs.items()]
    return Clips(words, tuple(clips))


def _frames(times: dict[int, dict[tuple[str, str], dict[str, list[str]]]]) -> list[dict[str, Any]]:
    numbering = Numbering()
    frames = []
    for time in sorted(times):
        objects = {numbering.name(*thing): labels for thing, labels in sorted(times[time].items())}
        frames.append({"index": time, "objects": dict(sorted(objects.items()))})
    return frames


def _vocabulary(objects: set[str], predicates: dict[str, str]) -> Vocabulary:
    names = sorted(set(predicates.values()))
    groups = [
        Group(name, tuple(sorted(p for p, g in predicates.items() if g == name)), allow_empty=len(names) > 1)
        for name in names
    ]
    return Vocabulary(tuple(sorted(objects)), tuple(groups), subject="subject")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from read_jsonl(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            for row in reader:
                if None in row:
                    raise BadInput(f"{path}, line {reader.line_num}: more fields than the first line names")
                yield reader.line_num, row
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read '{path}': {error}; give a UTF-8 CSV file") from None


def _known(raw: dict[str, Any], where: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in raw.items():
        name = ALIASES.get(key.strip().lower())
        if name is None:
            raise BadInput(f"{where}: unknown column '{key}'{nearest(key, ALIASES)}")
        row[name] = value.strip() if isinstance(value, str) else value
    for key in NEEDED:
        if row.get(key) in (None, ""):
            raise BadInput(f"{where}, {key}: missing; every row needs {', '.join(NEEDED)}")
    return row
