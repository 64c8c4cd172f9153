"""``backcast reason``: REER over a file of good texts."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backcast import recipes
from backcast.cli import tables
from backcast.reasons.settings import Objective, preset

SEARCH = (
    *("objective", "expansions", "max_steps", "sweeps", "max_overlap", "start_tokens", "proposal_tokens"),
    *("batch", "seed"),
)
"""Flags that change the preset's search."""


@dataclass(frozen=True)
class Options:
    """REER: the reasoning that makes known-good texts likely."""

    pairs: Annotated[Path, tyro.conf.Positional]
    """JSON Lines: {id?, prompt, answer}, or {id?, text} with --requests write."""
    model: str
    """Proposes thinking: alias, folder, .gguf, hub id, or http(s)://host:port/v1#name."""
    out: Path
    """The run folder; the same command again goes on from where it stopped."""
    preset: Literal["paper", "authors", "small"] = "small"
    """paper: the published method; authors: their released code; small: for models too weak to follow its prompts."""
    scorer: str | None = None
    """Scores the texts (default: the model itself)."""
    judge: str | None = None
    """Another model, which scores first and final thinking at the end and has no say in the search."""
    requests: Literal["given", "write"] = "given"
    """write: the file holds bare texts, and the model writes the request to each."""
    limit: int | None = None
    """Only the first so many items."""
    seed: int = 0
    """Every draw follows from it."""
    objective: Objective | None = None
    """What is minimised (default: the preset's)."""
    expansions: int | None = None
    """Candidates drawn per visit and kind (default: the preset's)."""
    max_steps: int | None = None
    """Segments visited at most (default: the preset's)."""
    sweeps: int | None = None
    """Sweeps over the segments (default: the preset's)."""
    max_overlap: float | None = None
    """Leak guard: most n-gram overlap of a candidate with its text (default: the preset's)."""
    start_tokens: int | None = None
    """Most tokens of a written first thinking (default: the preset's). The model's context holds prompt and reply."""
    proposal_tokens: int | None = None
    """Most tokens of one candidate (default: the preset's); as above."""
    batch: int | None = None
    """Items searched in lock step (default: the preset's)."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice; --no-cache asks again."""


def main(options: Options) -> dict[str, Any]:
    """Runs the recipe ``reer`` with these settings; returns the run's summary with the figures of the search."""
    search = preset(options.preset, **{name: getattr(options, name) for name in SEARCH})
    kept = ("model", "scorer", "judge", "requests", "limit", "cache")
    given = {name: getattr(options, name) for name in kept}
    settings = recipes.settings("reer", pairs=str(options.pairs), search=search, **given)
    return recipes.execute("reer", settings, options.out, ("backcast", *sys.argv[1:]), tables.announce_plan)


def show(result: dict[str, Any]) -> None:
    """Prints the gap table and where the traces and the report are."""
    tables.show_run(result)
    out = tables.console()
    out.print(
        f"{result['accepted']} of {result['items']} items improved, {result['dropped']} dropped; "
        f"{result['calls']} model calls, {result['cached_calls']} of them remembered"
    )
    out.print(f"traces: {result['traces']}", soft_wrap=True)
    out.print(f"training data: {result['dataset']}", soft_wrap=True)
