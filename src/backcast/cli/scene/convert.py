"""``backcast scene convert``: any layout to clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables


@dataclass(frozen=True)
class Convert:
    """Any layout to clips: Action Genome, scene graphs in JSON, Charades, VirtualHome, quadruples, a detector's scores,
    or a made-up household."""

    source: Positional[str]
    """A file or folder, or 'virtualhome' (the installed package) or 'household'."""
    to: Path = Path("clips.jsonl")
    """The clips file to write."""
    layout: str = "auto"
    """auto, action-genome, scene-graph, charades, virtualhome, quads, detector, household or clips."""
    count: int = 100
    """household: how many clips."""
    seed: int = 0
    """household: of the draw."""
    threshold: float = 0.5
    """detector: probability above which an object or label is taken."""
    limit: int | None = None
    """virtualhome: the first programs only."""
    mini: bool = False
    """action-genome: the first 80,000 frame keys only, as published evaluations did."""
    instances: bool = False
    """virtualhome: two chairs are two, 'chair' and 'chair#2'; else what holds of either holds of 'chair'."""


def convert(options: Convert) -> dict[str, Any]:
    """Answers ``backcast scene convert``: what was kept, and what was dropped and why."""
    from backcast.scenes.problems import write_clips
    from backcast.scenes.problems.convert import Wish, read_any
    from backcast.scenes.problems.household import statistics

    wish = Wish(options.count, options.seed, options.threshold, options.limit, options.mini, options.instances)
    clips = read_any(options.source, options.layout, wish)
    write_clips(options.to, clips)
    return {
        "out": str(options.to),
        "clips": len(clips.clips),
        "frames": sum(len(clip.frames) for clip in clips.clips),
        "objects": len(clips.vocabulary.candidates),
        "predicates": len(clips.vocabulary.predicates),
        "dropped": dict(clips.dropped),
        "statistics": statistics(clips),
    }


def show_convert(result: dict[str, Any]) -> None:
    """Prints what was written."""
    out = tables.console()
    out.print(
        f"{result['clips']} clips, {result['frames']} frames, {result['objects']} objects, "
        f"{result['predicates']} predicates: {result['out']}"
    )
    found = result["statistics"]
    shares = [f"{found[key]:.0%}" if found[key] is not None else "?" for key in ("persistence", "relation_change")]
    out.print(
        f"{tables.number(found['objects_per_frame'], 2)} objects a frame, {shares[0]} stay from one frame to the next, "
        f"of those {shares[1]} change relations",
        style="dim",
    )
    for reason, count in result["dropped"].items():
        out.print(f"dropped: {count} {reason}", style="yellow")
