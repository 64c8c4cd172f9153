"""``backcast route train``: a global and a local policy, with a report."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from backcast.cli import tables
from backcast.cli.route.needs import require_routing


@dataclass(frozen=True)
class Train:
    """Trains HLGP's global and local policies, and scores them beside sweep and savings; the same command goes on."""

    how: Literal["rl", "sl"] = "rl"
    """rl: REINFORCE with a shared baseline; sl: imitation of partitions refined by the room's own search."""
    size: int = 200
    """Customers of the drawn instances."""
    minutes: float | None = 10.0
    """CPU-minutes, half for each policy; none: the steps alone count."""
    steps: int | None = None
    """Steps of each policy; none: the minutes alone count."""
    instances: int = 8
    """Per step."""
    samples: int = 16
    """Partitions sampled for each instance."""
    features: Literal["repaired", "paper"] = "repaired"
    """paper: the released program's features and candidates."""
    net: Literal["graph", "attention"] = "graph"
    """graph: one pass scores all candidates; attention: the supervised variant's, read anew at every step (sl)."""
    reward: Literal["before", "after"] = "before"
    """Of the global policy (rl): the cost before local levels (the released program), or after them (the paper)."""
    held_out: int = 40
    """Instances that the policies are scored on."""
    seed: int = 0
    out: Path = Path("runs/route-train")
    """The run folder; the policies lie in its folder model."""


def train(options: Train) -> dict[str, Any]:
    """Answers ``backcast route train``: the run's summary and the policies' folder."""
    import sys

    from backcast import recipes

    require_routing()
    given = asdict(options)
    out = given.pop("out")
    settings = recipes.settings("policies", **given)
    return recipes.execute("policies", settings, out, ("backcast", *sys.argv[1:]), tables.announce_plan)


def show_train(result: dict[str, Any]) -> None:
    """Prints the gap table, and where report and policies are."""
    tables.show_run(result)
    tables.console().print(f"policies: {result['policy']} (route solve --policy)", soft_wrap=True)
