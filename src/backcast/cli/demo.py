"""``backcast demo``: the main job on the embedded model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast import recipes
from backcast.cli import tables


@dataclass(frozen=True)
class Options:
    """The main job on a small real language model: search, SFT, GRPO, packing, each judged; then the report."""

    quick: bool = False
    """A smaller set: under three minutes instead of under ten."""
    out: Path | None = None
    """The run folder (default: runs/demo, or runs/demo-quick); the same command again goes on from where it stopped."""
    model: str = "smollm2"
    """The model to improve: alias, folder, .gguf or hub id."""


def main(options: Options) -> dict[str, Any]:
    """Runs the story recipe with the demo's sizes; returns the run's summary."""
    story = recipes.module("story")
    settings = story.demo(options.model, options.quick)
    out = options.out or Path("runs") / ("demo-quick" if options.quick else "demo")
    return recipes.execute("story", settings, out, ("backcast", *sys.argv[1:]), tables.announce_plan)


def show(result: dict[str, Any]) -> None:
    """Prints the gap table and the path of the report."""
    tables.show_run(result)
