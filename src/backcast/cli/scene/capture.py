"""``backcast scene capture``: frames of a video to typed graphs, by a vision-language model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Capture:
    """Graphs of the frames of a video, as a vision-language model sees them."""

    clip: Positional[Path]
    """A video, a folder of frames (their names' numbers are the frame numbers), or an image."""
    model: str
    """A vision-language model: folder, hub id, or http(s)://host:port/v1#name."""
    to: Path
    """The clips file to write; a clip is added to one that is there already."""
    words: Path | None = None
    """A clips file whose objects and predicates are used (default: those of Action Genome)."""
    frames: int = 16
    """Frames looked at, spread evenly."""
    id: str = ""
    """The clip's name (default: the file's)."""
    threshold: float = 0.5
    """Chance from which a local model's object or label stands."""
    scores: Path | None = None
    """Also write a local model's probabilities there: a folder that 'backcast scene convert' reads as detected."""


def capture(options: Capture) -> dict[str, Any]:
    """Answers ``backcast scene capture``: where the clip is, and what a free answer needed mending."""
    from backcast.lm import sight
    from backcast.scenes.capture import capture as look
    from backcast.scenes.problems import ACTION_GENOME, Clips, read_clips, write_clips
    from backcast.vision.media import open_media

    if not 0 < options.threshold < 1:
        raise BadInput(f"--threshold {options.threshold}: give a probability between 0 and 1")
    if options.frames < 1:
        raise BadInput(f"--frames {options.frames}: give at least 1")
    words = read_clips(options.words).vocabulary if options.words else ACTION_GENOME
    there = read_clips(options.to) if options.to.exists() else Clips(words, ())
    name = options.id or options.clip.stem
    if there.vocabulary != words:
        raise BadInput(f"--to {options.to}: its vocabulary is another than that of --words; name another file")
    if any(clip.id == name for clip in there.clips):
        raise BadInput(f"--to {options.to} holds a clip '{name}' already; give --id, or another file")
    media = open_media(options.clip, options.frames)
    times = media.times or (None,) * len(media.images)
    numbers = _numbers(options.clip, len(media.images))
    found = look(
        sight.load(options.model), name, list(zip(numbers, times, media.images, strict=True)), words, options.threshold
    )
    write_clips(options.to, Clips(words, (*there.clips, found.clip)))
    if options.scores is not None:
        _write_scores(options.scores, found.detected)
    return {
        "out": str(options.to),
        "id": name,
        "frames": len(found.clip.frames),
        "objects": sum(len(frame.objects) for frame in found.clip.frames),
        "constrained": found.detected is not None,
        "failures": found.failures,
        "mended": dict(found.mended),
        "scores": None if options.scores is None else str(options.scores / f"{name}.npz"),
    }


def _numbers(path: Path, count: int) -> list[int]:
    """The numbers in the names of a folder's frames, where each has its own, ascending; else 0, 1, ..."""
    import re

    from backcast.vision.media import IMAGE, spread

    if path.is_dir():
        found = [re.findall(r"\d+", file.stem) for file in path.iterdir() if file.suffix.lower() in IMAGE]
        numbers = sorted(int(parts[-1]) for parts in found if parts)
        if len(numbers) == len(found) and len(set(numbers)) == len(numbers):
            return [numbers[at] for at in spread(len(numbers), count)]
    return list(range(count))


def _write_scores(folder: Path, detected: Any) -> None:
    import numpy as np

    if detected is None:
        raise BadInput("--scores: a served model gives no log-probabilities of pictures; leave it out")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"index": detected.index, "objects": detected.objects, "predicates": detected.predicates}
    np.savez_compressed(folder / f"{detected.id}.npz", **arrays)


def show_capture(result: dict[str, Any]) -> None:
    """Prints where the clip is, and what had to be mended."""
    out = tables.console()
    out.print(f"{result['frames']} frames, {result['objects']} objects of '{result['id']}': {result['out']}")
    if not result["constrained"]:
        said = ", ".join(f"{n} {kind}" for kind, n in result["mended"].items()) or "nothing"
        out.print(f"free answers, read leniently; {result['failures']} frames unreadable; mended: {said}", style="dim")
