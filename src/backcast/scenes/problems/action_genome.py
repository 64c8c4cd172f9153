"""Action Genome's annotation pickles, by the rules that define the benchmark's population."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clip, Clips, make_clip
from backcast.scenes.problems.unpickle import load_plain
from backcast.scenes.problems.vocabulary import ACTION_GENOME

OBJECTS, PERSONS = "object_bbox_and_relationship.pkl", "person_bbox.pkl"
FIELDS = {
    "attention": "attention_relationship",
    "spatial": "spatial_relationship",
    "contacting": "contacting_relationship",
}
RATE = 24.0
"""Frames a second, assumed for every video by the loaders of this lineage."""


def read_action_genome(folder: Path | str, mini: bool = False) -> Clips:
    """The clips of a folder with Action Genome's two pickles; boxes are kept in ``meta`` (xyxy, pixels).

    A frame is kept with at least one visible object and one person box; a video with more than two such frames (rules
    of the STTran and SceneSayer loaders). ``mini``: only the first 80,000 keys, as published evaluations used.
    """
    folder = Path(folder)
    things, persons = load_plain(folder / OBJECTS), load_plain(folder / PERSONS)
    for name, value in ((OBJECTS, things), (PERSONS, persons)):
        if not isinstance(value, dict):
            raise BadInput(f"{folder / name}: expected a dictionary of frames, found {type(value).__name__}")
    dropped: Counter[str] = Counter()
    videos: dict[str, list[tuple[int, str]]] = {}
    for key in list(persons)[:80_000] if mini else persons:
        video, number = _split(key, folder / PERSONS)
        if key not in things:
            raise BadInput(f"{folder / OBJECTS}: frame '{key}' of {PERSONS} is missing; the two files belong together")
        videos.setdefault(video, []).append((number, key))
    clips = [_clip(video, sorted(keys), things, persons, dropped) for video, keys in videos.items()]
    kept = tuple(clip for clip in clips if clip is not None)
    if not kept:
        raise BadInput(f"{folder}: no video keeps more than two frames ({dict(dropped)})")
    return Clips(ACTION_GENOME, kept, dict(dropped))


def _split(key: Any, path: Path) -> tuple[str, int]:
    video, _, file = str(key).partition("/")
    stem = file.partition(".")[0]
    if not stem.isdigit():
        raise BadInput(f"{path}: key '{key}' is not '<video>.mp4/<frame>.png'")
    return video.partition(".")[0], int(stem)


def _clip(
    video: str,
    keys: list[tuple[int, str]],
    things: Mapping[str, Any],
    persons: Mapping[str, Any],
    dropped: Counter[str],
) -> Clip | None:
    frames, boxes, split = [], {}, ""
    for number, key in keys:
        seen = [one for one in things[key] if one.get("visible")]
        if things[key]:
            split = split or str((things[key][0].get("metadata") or {}).get("set", ""))
        if not seen:
            dropped["frames without a visible object"] += 1
            continue
        if len(persons[key]["bbox"]) == 0:
            dropped["frames without a person box"] += 1
            continue
        place = f"{OBJECTS}, frame '{key}'"
        objects = {one["class"]: {group: _labels(one, name, place) for group, name in FIELDS.items()} for one in seen}
        frames.append({"index": number, "time_s": number / RATE, "objects": objects})
        boxes[str(number)] = {one["class"]: _corners(one.get("bbox")) for one in seen}
    if len(frames) <= 2:
        dropped["videos with at most two frames"] += 1
        return None
    return make_clip(ACTION_GENOME, video, frames, f"{OBJECTS}, video '{video}'", split=split, meta={"boxes": boxes})


def _labels(thing: Mapping[str, Any], name: str, place: str) -> list[str]:
    value = thing.get(name)
    if not value:
        raise BadInput(f"{place}, {thing['class']}.{name}: no label for a visible object")
    return list(dict.fromkeys(value))


def _corners(box: Any) -> list[float] | None:
    """(x, y, width, height) to (x1, y1, x2, y2), pixels."""
    if box is None:
        return None
    x, y, width, height = (float(value) for value in box)
    return [x, y, x + width, y + height]
