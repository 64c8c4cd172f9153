"""Clips files: JSON Lines, first the vocabulary, then one clip a line. Also: which layout a path holds."""

import json
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput, nearest
from backcast.core.files import write_atomic
from backcast.core.problem import read_jsonl
from backcast.scenes.problems.clip import Clip, Clips, make_clip, name_frame
from backcast.scenes.problems.vocabulary import Vocabulary

KEYS = ("id", "frames", "split", "meta")


def read_clips(path: Path | str) -> Clips:
    """The clips of a JSON Lines file; every fault is one BadInput with file, line and field."""
    vocabulary: Vocabulary | None = None
    clips: list[Clip] = []
    seen: dict[str, int] = {}
    for number, line in read_jsonl(path):
        where = f"{path}, line {number}"
        if vocabulary is None:
            if "vocabulary" not in line:
                raise BadInput(
                    f'{where}: expected {{"vocabulary": ...}} first, found keys {sorted(line)[:6]}; '
                    "'backcast scene convert' makes clips of other layouts"
                )
            vocabulary = Vocabulary.from_dict(line["vocabulary"], where)
            continue
        clip = _clip(line, vocabulary, where)
        if clip.id in seen:
            raise BadInput(f"{where}, id: '{clip.id}' was used on line {seen[clip.id]}; give each clip its own id")
        seen[clip.id] = number
        clips.append(clip)
    if vocabulary is None or not clips:
        raise BadInput(f"{path}: no clips; the first line holds the vocabulary, each further line one clip")
    return Clips(vocabulary, tuple(clips))


def _clip(line: dict[str, Any], vocabulary: Vocabulary, where: str) -> Clip:
    for key in line:
        if key not in KEYS:
            raise BadInput(f"{where}: unknown key '{key}'{nearest(key, KEYS)}")
    if not isinstance(line.get("id"), str):
        raise BadInput(f"{where}, id: expected a text, found '{line.get('id')}'")
    if not isinstance(line.get("frames"), list):
        raise BadInput(f"{where}, frames: expected a list, found '{str(line.get('frames'))[:40]}'")
    meta = line.get("meta", {})
    if not isinstance(meta, dict):
        raise BadInput(f"{where}, meta: expected an object, found '{str(meta)[:40]}'")
    return make_clip(vocabulary, line["id"], line["frames"], where, split=str(line.get("split", "")), meta=meta)


def write_clips(path: Path, clips: Clips) -> None:
    """Writes a clips file, atomically; reading it back gives equal clips."""
    lines: list[dict[str, Any]] = [{"vocabulary": clips.vocabulary.to_dict()}]
    for clip in clips.clips:
        extra = {key: value for key, value in (("split", clip.split), ("meta", dict(clip.meta))) if value}
        lines.append({"id": clip.id, **extra, "frames": [name_frame(f, clips.vocabulary) for f in clip.frames]})
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))
