"""``backcast game reply``: exact best responses, and Bayes-optimal replies to a mixture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Reply:
    """The exact best response to finite-memory opponents, or the Bayes-optimal value against a mixture of them."""

    game: Positional[str]
    """A named game (ipd, traveller:2,100, donation, ...) or a .toml or .json file."""
    opponent: tuple[str, ...] = ()
    """One for each other seat, in order: a name (tft), a .json file, or a vector like 'C;8/9,1/2,1/3,0'."""
    mixture: str = ""
    """Instead of an opponent: types with weights, one of which is drawn for the whole match: tft:1,allc:1; with more
    than two players first&second:1 in seat order."""
    discount: str = ""
    """In [0, 1); fractions are welcome. Default: the game's own."""
    player: int = 1
    """The seat that replies, counted from 1."""
    memory: int | None = None
    """Longest window of the answer; with a mixture, the last rung of the ladder (default 1)."""
    noise: str = ""
    """The opponents' hands tremble with this probability."""
    noise_on: str = "realised"
    """What trembling opponents remember of themselves: 'realised' or 'intended' moves."""
    own_noise: str = ""
    """The replying hand trembles with this probability."""
    average: bool = False
    """Long-run average payoff instead of a discounted sum."""
    method: str = "auto"
    """auto, vi, mpi, pi or lp."""
    budget: int = 3_000_000
    """Lifted states (against a mixture: belief nodes) built at most."""
    out: Path | None = None
    """Also write the policy here: automaton (.json), drawing (.dot)."""


def reply(options: Reply) -> dict[str, Any]:
    """Answers ``backcast game reply``."""
    from backcast.games.problems import load_game

    game = load_game(options.game)
    if not 1 <= options.player <= len(game.players):
        raise BadInput(f"--player {options.player}: '{game.name}' has players 1 to {len(game.players)}")
    if bool(options.mixture) == bool(options.opponent) and len(game.players) > 1:
        raise BadInput("give either --opponent or --mixture; see backcast game reply --help")
    if options.budget < 1:
        raise BadInput(f"--budget {options.budget}: give at least 1")
    _refuse(options)
    if options.memory is not None:
        from backcast.games.memory.windows import check_size

        check_size(game, options.memory)
    if options.average:
        return _average(game, options)
    return _to_mixture(game, options) if options.mixture else _to_opponents(game, options)


def _refuse(options: Reply) -> None:
    """BadInput for flags that would not be heard."""
    heard = {
        "--own-noise": not (options.own_noise and options.mixture),
        "--method": options.method == "auto" or not (options.mixture or options.average),
        "--discount": not (options.discount and options.average),
        "--mixture": not (options.mixture and options.average),
    }
    deaf = next((flag for flag, fine in heard.items() if not fine), None)
    if deaf:
        other = "--average" if options.average else "--mixture"
        raise BadInput(f"{deaf}: has no meaning with {other}; leave one of the two out")


def _hand(options: Reply) -> Any:
    from backcast.games.memory import with_noise

    return (lambda one: with_noise(one, options.noise, options.noise_on)) if options.noise else None


def _opponents(game: Any, options: Reply) -> list[Any]:
    from backcast.games.memory import load_strategy

    seats = [seat for seat in range(len(game.players)) if seat != options.player - 1]
    if len(options.opponent) != len(seats):
        raise BadInput(f"--opponent: {len(options.opponent)} given; '{game.name}' has {len(seats)} other players")
    return [load_strategy(game, text, seat, _hand(options)) for text, seat in zip(options.opponent, seats, strict=True)]


def _answered(answer: Any, options: Reply, policy: Any) -> dict[str, Any]:
    """What answers of both criteria say."""
    from backcast.games.memory import to_json

    lifted = answer.lifted
    return {
        "game": lifted.game.name,
        "opponent": " & ".join(automaton.name for automaton in lifted.others),
        "discount": None,
        "player": options.player,
        "value": answer.value,
        "lower": answer.lower,
        "upper": answer.upper,
        "exact": None if answer.exact is None else str(answer.exact),
        "certified": answer.certify(),
        "actions": answer.actions(options.memory),
        "memory": answer.memory,
        "states": lifted.size,
        "nonzeros": int(lifted.transition.nnz),
        "method": answer.solution.method,
        "policy": to_json(policy),
    }


def _to_opponents(game: Any, options: Reply) -> dict[str, Any]:
    from backcast.games.memory import minimise
    from backcast.games.solve import best_response

    answer = best_response(
        game,
        _opponents(game, options),
        options.player - 1,
        options.discount or None,
        options.method,
        own_noise=options.own_noise or None,
        budget=options.budget,
    )
    policy, _ = minimise(answer.automaton().renamed("best response"))
    _write(options.out, policy)
    said = _answered(answer, options, policy)
    return {**said, "discount": float(answer.discount), "values": answer.values(options.memory)}


def _average(game: Any, options: Reply) -> dict[str, Any]:
    from backcast.games.memory import minimise
    from backcast.games.solve import average_response

    answer = average_response(
        game,
        _opponents(game, options),
        options.player - 1,
        own_noise=options.own_noise or None,
        budget=options.budget,
    )
    policy, _ = minimise(answer.automaton().renamed("best response on average"))
    _write(options.out, policy)
    return {
        **_answered(answer, options, policy),
        "keeps": answer.keeping(options.memory),
        "components": len(answer.components),
    }


def _to_mixture(game: Any, options: Reply) -> dict[str, Any]:
    from backcast.games.memory import parse_mixture, two_seats
    from backcast.games.mixtures import ladder
    from backcast.games.numbers import check_discount

    game, seat = two_seats(game, options.player - 1)
    mixture = parse_mixture(game, options.mixture, 1 - seat, _hand(options))
    rungs = ladder(
        game,
        mixture,
        seat,
        options.discount or None,
        1 if options.memory is None else options.memory,
        nodes=min(options.budget, 60_000 if mixture.pure else 20_000),
    )
    bayes = rungs.bayes
    _write(options.out, rungs.memory[-1].strategy)
    enough = [rung.memory for rung in rungs.memory if rung.value >= bayes.upper - 1e-9 * max(1.0, abs(bayes.upper))]
    return {
        "game": game.name,
        "opponent": mixture.name,
        "discount": float(check_discount(options.discount or game.discount)),
        "player": options.player,
        "value": bayes.value,
        "lower": bayes.lower,
        "upper": bayes.upper,
        "exact": None if bayes.exact is None else str(bayes.exact),
        "bayes": bayes.value,
        "clairvoyant": rungs.clairvoyant,
        "clairvoyant_exact": None if rungs.clairvoyant_exact is None else str(rungs.clairvoyant_exact),
        "memory_values": {str(rung.memory): rung.value for rung in rungs.memory},
        "memory_exact": {str(rung.memory): None if rung.exact is None else str(rung.exact) for rung in rungs.memory},
        "memory_upper": {str(rung.memory): rung.upper for rung in rungs.memory},
        "memory_policies": {str(rung.memory): rung.policy() for rung in rungs.memory},
        "induced": rungs.induced,
        "actions": bayes.actions(),
        "memory": enough[0] if enough else None,
        "states": bayes.nodes,
    }


def _write(out: Path | None, policy: Any) -> None:
    """Policy as JSON and as a DOT drawing beside each other."""
    if out is None:
        return
    import json

    from backcast.core.files import write_atomic
    from backcast.games.memory import to_dot, to_json

    write_atomic(out.with_suffix(".json"), json.dumps(to_json(policy), indent=1))
    write_atomic(out.with_suffix(".dot"), to_dot(policy))


def show_reply(result: dict[str, Any]) -> None:
    """Prints the value, its proof, and what to play."""
    from rich.table import Table

    out = tables.console()
    exact = f" = {result['exact']}" if result["exact"] and "/" in result["exact"] else ""
    out.print(f"{result['game']}, player {result['player']} against {result['opponent']}", style="bold")
    average = result["discount"] is None
    kind = "Bayes-optimal value" if "bayes" in result else "best average" if average else "best response"
    per = " a step" if average else f", {result['value'] * (1 - result['discount']):.6g} a step"
    out.print(f"{kind}: {result['value']:.10g}{exact}{per}")
    counted = "beliefs" if "bayes" in result else "lifted states"
    out.print(f"certified: [{result['lower']:.12g}, {result['upper']:.12g}], {result['states']} {counted}")
    if "bayes" in result:
        out.print(_ladder(result))
    windows = result["memory"] is not None or "bayes" in result
    table = Table("after (own move first)" if windows else "the opponent is in", "play", box=None)
    if average:
        table.add_column("keeps the best average within reach")
    rows = list(result["actions"].items())
    for window, actions in rows[:40]:
        more = [" or ".join(result["keeps"][window])] if average and window in result["keeps"] else []
        table.add_row(window, " or ".join(actions), *more)
    out.print(table)
    if len(rows) > 40:
        out.print(f"... and {len(rows) - 40} more; --json gives all")
    if average:
        out.print("'play' is one policy that earns the average; the last column alone is not: mere detours stay in it")


def _ladder(result: dict[str, Any]) -> Any:
    from rich.table import Table

    rungs = Table("strategy", "value", box=None)
    for memory, value in result["memory_values"].items():
        proved = (
            "" if result["memory_upper"][memory] <= value + 1e-9 else f" (at most {result['memory_upper'][memory]:.6g})"
        )
        rungs.add_row(f"best memory-{memory}", f"{value:.6g}{proved}")
    rungs.add_row("Bayes", f"{result['bayes']:.6g}")
    rungs.add_row("clairvoyant", f"{result['clairvoyant']:.6g}")
    return rungs
