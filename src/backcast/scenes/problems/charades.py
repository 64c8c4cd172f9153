"""Charades: timed action intervals to a graph a second, by the data set's own map of actions to verb and object."""

import csv
import math
from collections import Counter
from pathlib import Path

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clips, make_clip
from backcast.scenes.problems.vocabulary import Group, Vocabulary

MAPPING, OBJECTS, VERBS = (
    "Charades_v1_mapping.txt",
    "Charades_v1_objectclasses.txt",
    "Charades_v1_verbclasses.txt",
)


def read_charades(path: Path | str) -> Clips:
    """The clips of a Charades CSV (columns id, actions, optionally subject and scene), one frame a second.

    The three class files of the data set must lie beside it. A second without an action has no frame. Videos that
    hold fewer than three frames are dropped and counted.
    """
    path = Path(path)
    names = {file: _names(path.parent / file) for file in (OBJECTS, VERBS)}
    actions = _mapping(path.parent / MAPPING, names[OBJECTS], names[VERBS])
    objects = tuple(sorted({thing for thing, _ in actions.values()}))
    verbs = tuple(sorted({verb for _, verb in actions.values()}))
    vocabulary = Vocabulary(objects, (Group("verb", verbs),))
    split = next((word for word in ("train", "test") if word in path.stem.lower()), "")
    dropped: Counter[str] = Counter()
    clips = []
    for number, row in _rows(path):
        where = f"{path}, line {number}"
        seconds: dict[int, dict[str, dict[str, list[str]]]] = {}
        for action, start, end in _intervals(row["actions"], actions, where):
            thing, verb = actions[action]
            for second in range(math.ceil(start), math.floor(end) + 1):
                labels = seconds.setdefault(second, {}).setdefault(thing, {"verb": []})["verb"]
                if verb not in labels:
                    labels.append(verb)
        if len(seconds) <= 2:
            dropped["videos with at most two seconds of action"] += 1
            continue
        frames = [{"index": s, "time_s": float(s), "objects": seconds[s]} for s in sorted(seconds)]
        meta = {key: row[key] for key in ("subject", "scene") if row.get(key)}
        meta = {**meta, **({"group": row["subject"]} if row.get("subject") else {})}
        clips.append(make_clip(vocabulary, row["id"], frames, where, split=split, meta=meta))
    if not clips:
        raise BadInput(f"{path}: no video holds three seconds of action")
    return Clips(vocabulary, tuple(clips), dict(dropped))


def _text(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; the Charades annotations hold it, put it beside the CSV") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read '{path}': {error}") from None


def _names(path: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(_text(path), start=1):
        code, _, name = line.strip().partition(" ")
        if code and not name:
            raise BadInput(f"{path}, line {number}: '{line}' is not a code and a name")
        if code:
            found[code] = name.strip().replace(" ", "_")
    return found


def _mapping(path: Path, objects: dict[str, str], verbs: dict[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for number, line in enumerate(_text(path), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or words[1] not in objects or words[2] not in verbs:
            raise BadInput(f"{path}, line {number}: '{line.strip()}' is not an action, a known object, a known verb")
        found[words[0]] = (objects[words[1]], verbs[words[2]])
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(_text(path))
    missing = [name for name in ("id", "actions") if name not in (reader.fieldnames or ())]
    if missing:
        raise BadInput(f"{path}, line 1: no column '{missing[0]}'; found {', '.join(reader.fieldnames or ())}")
    return [(reader.line_num, row) for row in reader]


def _intervals(cell: str, actions: dict[str, tuple[str, str]], where: str) -> list[tuple[str, float, float]]:
    found = []
    for part in filter(None, (part.strip() for part in (cell or "").split(";"))):
        words = part.split()
        try:
            action, start, end = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            raise BadInput(f"{where}, actions: '{part}' is not 'class start end'") from None
        if action not in actions:
            raise BadInput(f"{where}, actions: class '{action}' is not in {MAPPING}")
        found.append((action, start, end))
    return found
