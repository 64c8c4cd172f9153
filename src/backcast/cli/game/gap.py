"""``backcast game gap``: the exact gap of a learning agent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast.cli import tables


@dataclass(frozen=True)
class Gap:
    """The exact gap of a learning agent: trained on drawn opponents, tested on others, with report, CSV and
    pictures."""

    train: str = "tft:1,allc:1,alld:1,grim:1"
    """Training opponents: names, names with weights, or a family (pure, dirichlet, reactive, moore, zd, noisy):
    moore:n=8."""
    test: str = "wsls,stft,gtft,tf2t"
    """Test opponents; 'mix' re-weights the training ones."""
    agent: str = "q"
    """q, reinforce, dqn, ppo or recurrent."""
    game: str = "ipd"
    """A named game, or a file; with more than two players opponents are written first&second, in seat order."""
    player: int = 1
    """The seat that learns, counted from 1."""
    k: int = 3
    """Steps of play the agent sees."""
    observe: str = "last-k"
    """last-k, state (no past), none (not even the state), full (the opponent's node) or type (who it is)."""
    steps: int | None = None
    """Training steps per seed (default: 300000 for q and reinforce, else 40000)."""
    seeds: int = 3
    """Agents trained."""
    seed: int = 0
    """Of the draw and of the first agent."""
    discount: str = "0.9"
    """Between 0 and 1."""
    out: Path = Path("runs/game-gap")
    """The run folder; the same command again goes on from where it stopped."""


def gap(options: Gap) -> dict[str, Any]:
    """Answers ``backcast game gap``: the run's summary with the gaps of every seed."""
    import sys
    from dataclasses import asdict

    from backcast import recipes

    given = asdict(options)
    out = given.pop("out")
    given["steps"] = (
        (300_000 if options.agent in ("q", "reinforce") else 40_000) if options.steps is None else options.steps
    )
    settings = recipes.settings("games", **given)
    tables.show_plan(recipes.plan("games", settings), file=sys.stderr)
    return recipes.execute("games", settings, out, ("backcast", *sys.argv[1:]))


def show_gap(result: dict[str, Any]) -> None:
    """Prints the gap table and where the report is."""
    tables.show_run(result)
    tables.console().print(f"csv: {result['csv']}", soft_wrap=True)
