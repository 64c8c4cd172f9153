"""``backcast game text``: games as verifiable text problems, with the exact value as the reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Text:
    """Games against known opponents as questions in words, each with its exact answer: JSONL for a language model."""

    game: Positional[str]
    """A named game (ipd, donation, ...) or a .toml or .json file."""
    opponents: str = "tft,grim,wsls,allc,alld"
    """Names, or a family: moore:n=20,nodes=3. With more than two players first&second, in seat order."""
    ask: Literal["value", "move", "both"] = "both"
    """The best value from the start (a number), the best move in a situation (a letter), or both."""
    discount: str = ""
    """In [0, 1); default: the game's own."""
    player: int = 1
    """The seat the reader plays, counted from 1."""
    seed: int = 0
    """Of a family's draw."""
    out: Path = Path("problems.jsonl")
    """The file to write: {id, prompt, answer, kind} on each line."""


def text(options: Text) -> dict[str, Any]:
    """Answers ``backcast game text``: the file, and how many problems of each kind it holds."""
    import json

    from backcast.core.files import write_atomic
    from backcast.games.memory import needed_memory, two_seats
    from backcast.games.opponents import draw
    from backcast.games.problems import load_game
    from backcast.games.text import game_problem, move_records, value_record

    if options.seed < 0:
        raise BadInput(f"--seed {options.seed}: give 0 or more")
    game, seat = two_seats(load_game(options.game), options.player - 1)
    found, _ = draw(game, options.opponents, 1 - seat, options.seed)
    rate = options.discount or None
    records: list[dict[str, Any]] = []
    untold = 0
    for opponent in found.types:
        if options.ask != "move":
            records.append(value_record(game, opponent, rate))
        if options.ask == "value":
            continue
        if needed_memory(opponent) is None:  # no window of past steps tells what it will do: no situation to ask about
            untold += 1
        else:
            records += move_records(game_problem(game, opponent, rate))
    if not records:
        raise BadInput("no problem left: every situation has several best moves, or no words; give --ask value")
    write_atomic(options.out, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    kinds = {kind: sum(one["kind"] == kind for one in records) for kind in ("numeric", "choice")}
    return {"out": str(options.out), "problems": len(records), "opponents": len(found.types), "untold": untold, **kinds}


def show_text(result: dict[str, Any]) -> None:
    """Prints what was written, and the first problem."""
    import json

    out = tables.console()
    with Path(result["out"]).open(encoding="utf-8") as file:
        first = json.loads(file.readline())
    out.print(first["prompt"], soft_wrap=True, markup=False)
    out.print(f"answer: {first['answer']}", style="bold")
    out.print(
        f"{result['problems']} problems ({result['numeric']} numeric, {result['choice']} choice) about "
        f"{result['opponents']} opponents: {result['out']}"
    )
    if result["untold"]:
        out.print(f"no moves were asked of {result['untold']}: no window of past steps tells what they will do")
