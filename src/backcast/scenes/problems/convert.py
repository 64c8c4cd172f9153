"""Any layout to clips: which reader a path asks for, and how to say it outright."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backcast.core.errors import BadInput, nearest
from backcast.scenes.problems.action_genome import OBJECTS, read_action_genome
from backcast.scenes.problems.charades import read_charades
from backcast.scenes.problems.clip import Clips
from backcast.scenes.problems.detector import discretise, read_detected
from backcast.scenes.problems.files import read_clips
from backcast.scenes.problems.household import make_household
from backcast.scenes.problems.quads import read_quads
from backcast.scenes.problems.scene_graph import read_scene_graph
from backcast.scenes.problems.virtualhome import PACKAGE, PROGRAMS, read_virtualhome
from backcast.scenes.problems.vocabulary import ACTION_GENOME


@dataclass(frozen=True)
class Wish:
    """What some of the readers want to know."""

    count: int = 100
    """Clips of a made-up household."""
    seed: int = 0
    """Of that household."""
    threshold: float = 0.5
    """Probability above which a detector's objects and labels are taken."""
    limit: int | None = None
    """The first VirtualHome programs only."""
    mini: bool = False
    """Action Genome: the first 80,000 frame keys only."""
    instances: bool = False
    """VirtualHome: two objects of a class are two."""


READERS: dict[str, Callable[[str, Wish], Clips]] = {
    "clips": lambda source, _: read_clips(source),
    "quads": lambda source, _: read_quads(source),
    "action-genome": lambda source, wish: read_action_genome(source, wish.mini),
    "scene-graph": lambda source, _: read_scene_graph(source),
    "charades": lambda source, _: read_charades(source),
    "virtualhome": lambda source, wish: read_virtualhome(source, wish.limit, wish.instances),
    "detector": lambda source, wish: discretise(read_detected(source, ACTION_GENOME), ACTION_GENOME, wish.threshold),
    "household": lambda _, wish: make_household(wish.count, wish.seed),
}


def read_any(source: str, layout: str = "auto", wish: Wish = Wish()) -> Clips:
    """The clips of ``source`` in ``layout``; "auto" looks at the path. Raises BadInput when no layout fits."""
    if layout == "auto":
        layout = guess(source)
    if layout not in READERS:
        raise BadInput(f"unknown layout '{layout}'{nearest(layout, READERS)}")
    return READERS[layout](source, wish)


def guess(source: str) -> str:
    """The layout that a path looks like."""
    path = Path(source)
    if source in ("household", "virtualhome"):
        return source
    if path.is_dir():
        if (path / OBJECTS).exists():
            return "action-genome"
        if (path / PROGRAMS).is_dir() or (path / PACKAGE).is_dir():
            return "virtualhome"
        if any(path.glob("*.npz")):
            return "detector"
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".json", ".jsonl", ".csv", ".whl"))
        say = f"name a file, such as '{files[0]}'" if files else f"say --layout, one of {', '.join(READERS)}"
        raise BadInput(f"'{source}' holds none of {OBJECTS}, VirtualHome's {PROGRAMS}, or .npz files; {say}")
    if not path.exists():
        known = ("household", "virtualhome")
        raise BadInput(f"no such file or folder: '{source}'{nearest(source, known)}")
    suffix = path.suffix.lower()
    if suffix == ".whl":
        return "virtualhome"
    if suffix == ".json":
        return "scene-graph"
    if suffix == ".pkl":
        raise BadInput(f"'{source}': give the folder that holds {OBJECTS} and person_bbox.pkl")
    first = _first_line(path)
    if suffix in (".csv", ".tsv"):
        return "charades" if {"id", "actions"} <= set(first.strip().split(",")) else "quads"
    if suffix in (".jsonl", ".ndjson"):
        try:
            return "clips" if "vocabulary" in json.loads(first) else "quads"
        except (ValueError, TypeError):
            return "clips"  # whose reader names the fault
    raise BadInput(f"'{source}': no layout known by '{suffix}'; say --layout with one of {', '.join(READERS)}")


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read '{path}': {error}") from None
