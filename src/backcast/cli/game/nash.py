"""``backcast game nash``: equilibria in K-memory strategies, with their certificates."""

from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Nash:
    """Equilibria in K-memory strategies, each certified by exact best responses."""

    game: Positional[str]
    """A named game or a .toml or .json file."""
    memory: int = 1
    """K: how many steps of play every player remembers."""
    all_pure: bool = False
    """Enumerate: every pure K-memory equilibrium from the start, in exact arithmetic."""
    discount: str = ""
    """In [0, 1); default: the game's own."""
    starts: int = 4
    """Random priors from which the search is begun, besides the uniform one and the trigger profiles."""
    seed: int = 0
    """Of the random priors."""
    profile: tuple[str, ...] = ()
    """Begin from this profile too, and certify it as it is: one strategy for each player."""
    limit: int = 20_000
    """Profiles that --all-pure looks at, at most."""


def nash(options: Nash) -> list[dict[str, Any]]:
    """Answers ``backcast game nash``."""
    from backcast.games import equilibrium
    from backcast.games.memory import load_strategy
    from backcast.games.problems import load_game

    game = load_game(options.game)
    rate = options.discount or None
    if options.starts < 0:
        raise BadInput(f"--starts {options.starts}: give 0 or more random priors")
    if options.seed < 0:
        raise BadInput(f"--seed {options.seed}: give 0 or more")
    if options.profile and len(options.profile) != len(game.players):
        raise BadInput(f"--profile: {len(options.profile)} strategies; '{game.name}' has {len(game.players)} players")
    if options.all_pure:
        found = equilibrium.all_pure(game, options.memory, rate, options.limit)
    else:
        seeds = (
            [[load_strategy(game, text, seat) for seat, text in enumerate(options.profile)]] if options.profile else []
        )
        found = equilibrium.nash(game, options.memory, rate, options.starts, options.seed, seeds)
    groups: dict[Any, int] = {}
    return [_equilibrium(one, groups.setdefault(one.path.key, len(groups) + 1)) for one in found]


def _equilibrium(one: Any, group: int) -> dict[str, Any]:
    exact = one.exact
    return {
        "values": list(one.values),
        "eps_start": one.eps_start,
        "eps_all": one.eps_all,
        "strategies": one.plays(),
        "play": one.path.words,
        "group": group,
        "method": one.method,
        "exact": exact
        and {
            "values": [str(v) for v in exact.values],
            "eps_start": str(exact.eps_start),
            "eps_all": str(exact.eps_all),
        },
    }


def show_nash(result: list[dict[str, Any]]) -> None:
    """Prints one line per path of play, and the strategies of the first few profiles that follow it."""
    from rich.table import Table

    out = tables.console()
    groups: dict[int, list[dict[str, Any]]] = {}
    for one in result:
        groups.setdefault(one["group"], []).append(one)
    table = Table("play", "values", "eps from the start", "eps everywhere", "profiles", "found by", box=None)
    for same in groups.values():
        best = min(same, key=lambda one: float(one["eps_all"]))
        methods = ", ".join(dict.fromkeys(one["method"] for one in same))
        table.add_row(best["play"], _values(best), *_eps(best), str(len(same)), methods)
    out.print(table)
    out.print(
        "eps: the most any player gains by any deviation. Profiles on one line differ only where play never gets."
    )
    for same in list(groups.values())[:3]:
        best = min(same, key=lambda one: float(one["eps_all"]))
        out.print(f"\n{best['play']}", style="bold", soft_wrap=True)
        for player, plays in enumerate(best["strategies"], 1):
            said = "  ".join(f"{window}: {_mix(play)}" for window, play in list(plays.items())[:12])
            more = f"  ... {len(plays) - 12} more" if len(plays) > 12 else ""
            out.print(f"player {player}: {said}{more}", soft_wrap=True)
    if len(result) > min(3, len(groups)):
        out.print(f"\nstrategies of all {len(result)} profiles: --json")


def _values(one: dict[str, Any]) -> str:
    """Values as whole numbers, short fractions or six digits."""
    shown = []
    for i, value in enumerate(one["values"]):
        text = one["exact"]["values"][i] if one["exact"] else ""
        shown.append(text if text and len(text) <= 9 else f"{value:.6g}")
    return ", ".join(shown)


def _eps(one: dict[str, Any]) -> tuple[str, str]:
    """Both certificates: exact ones as they are, floats not finer than what a float certificate can tell."""
    if one["exact"]:
        exact = one["exact"]
        kept = [exact[key] if len(exact[key]) <= 9 else f"{one[key]:.3g}" for key in ("eps_start", "eps_all")]
        return kept[0], kept[1]
    said = [f"{one[key]:.1e}" if one[key] >= 1e-12 else "< 1e-12" for key in ("eps_start", "eps_all")]
    return said[0], said[1]


def _mix(play: dict[str, float]) -> str:
    return "/".join(action if p == 1 else f"{action} {p:.3g}" for action, p in play.items())
