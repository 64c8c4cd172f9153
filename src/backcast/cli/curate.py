"""``backcast curate``: which questions still teach a model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from backcast import recipes
from backcast.cli import tables


@dataclass(frozen=True)
class Options:
    """Difficulty levels of a question set, what they can teach, and a balanced draw without near-duplicates."""

    questions: Annotated[Path, tyro.conf.Positional]
    """A question file in any known layout (JSON Lines, JSON, CSV, parquet)."""
    model: str
    """Whose difficulty is measured: alias, folder, .gguf, hub id, or http(s)://host:port/v1#name."""
    out: Path
    """The run folder; the same command again goes on from where it stopped."""
    answers: int = 5
    """Answers drawn per question; levels go from 1 (all right) to answers + 1 (none)."""
    temperature: float = 1.0
    """Of these answers."""
    answer_tokens: int = 256
    """Most tokens of one answer."""
    per_level: int = 200
    """Questions drawn of each level; a level with fewer gives all, and the shortfall is told."""
    levels: tuple[int, ...] = ()
    """The levels to draw from; none named: all."""
    group: int = 8
    """Answers per question in training, for the forecast of groups that teach."""
    test: str = ""
    """A question file that must not be in the pool."""
    as_given: bool = False
    """Put questions as they are, without a word on the form of the answer (not for choices)."""
    shuffle: bool = False
    """Put the options of every question into another order."""
    limit: int | None = None
    """Only the first so many questions."""
    seed: int = 0
    """Of answers and draw."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice; --no-cache asks again."""


def main(options: Options) -> dict[str, Any]:
    """Runs the recipe ``curate``; returns the run's summary with the pool's figures."""
    from backcast.core.errors import BadInput
    from backcast.text.curate import Curation

    names = ("answers", "temperature", "answer_tokens", "per_level", "levels", "group", "seed", "as_given")
    try:
        curation = Curation(**{name: getattr(options, name) for name in names})
    except ValueError as error:
        raise BadInput(str(error)) from None
    kept = ("model", "test", "shuffle", "limit", "cache")
    given = {name: getattr(options, name) for name in kept}
    settings = recipes.settings("curate", questions=str(options.questions), curation=curation, **given)
    return recipes.execute("curate", settings, options.out, ("backcast", *sys.argv[1:]), tables.announce_plan)


def show(result: dict[str, Any]) -> None:
    """Prints the levels, what was drawn, and where the file and the report are."""
    from rich.table import Table

    pool, drawn = result["pool"], result["drawn"]
    table = Table("level", "pool", "drawn", "missing", title="Levels (1: always right)", title_justify="left", box=None)
    for level, count in pool["levels"].items():
        here = drawn["levels"].get(level, 0)
        table.add_row(str(level), str(count), str(here), str(result["missing"].get(str(level), "")))
    out = tables.console()
    out.print(table)
    expected = {name: tables.number(part["effective"]["expected"]) for name, part in (("pool", pool), ("drawn", drawn))}
    out.print(f"groups that will teach: {expected['pool']} of the pool, {expected['drawn']} of the drawn (expected)")
    rates = f"pass rate {tables.number(pool['pass_rate'])}, unparsed {tables.number(result['unparsed_rate'])}"
    spread = f"subject entropy {tables.number(pool['subject_entropy'])} nats"
    out.print(f"{rates}, {spread}, {result['duplicates']} near-duplicates left out")
    tables.show_vitals(result["vitals"])
    out.print(f"questions: {result['questions']}", soft_wrap=True)
    out.print(f"report: {result['report']}", style="bold", soft_wrap=True)
