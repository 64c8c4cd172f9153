"""``backcast run``: a recipe by name, by TOML file, or a run folder to go on with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backcast import recipes
from backcast.cli import tables
from backcast.core import params
from backcast.core.errors import BadInput
from backcast.core.run import Plan, read_recipe

USAGE = """usage: backcast run NAME|FILE.toml [--key value ...] [--out DIR] [--dry-run]
       backcast run --resume DIR

  NAME          a recipe: {names}; its keys: backcast run NAME --help
  FILE.toml     a file with the line  recipe = "NAME"  and any of that recipe's keys
  --key value   a key of the recipe; goes before the file, and the file before the defaults
  --out DIR     the run folder (default: runs/NAME); the same command again goes on from where it stopped
  --resume DIR  go on with a run folder; takes nothing else
  --dry-run     show the resolved recipe with its estimate of time and memory, and do nothing"""


@dataclass(frozen=True)
class Options:
    """A recipe by name or file, or a run folder to go on with."""

    recipe: str
    settings: Any
    out: Path
    dry_run: bool
    command: tuple[str, ...]

    @classmethod
    def parse(cls, words: Sequence[str], prog: str) -> "Options":
        """Reads a command line; raises BadInput for an unknown recipe or key and for a folder that is no run."""
        if not words or list(words) in (["-h"], ["--help"]):
            print(USAGE.format(names=", ".join(recipes.RECIPES)))  # noqa: T201
            raise SystemExit(0 if words else 2)
        command = ("backcast", "run", *words)
        if "--resume" in words:
            return _resumed(list(words), command)
        rest, out, dry_run = _own_flags(list(words[1:]))
        name, given = _named(words[0])
        base = _budget(name, rest, given)
        default = params.from_dict(recipes.module(name).Settings, given, words[0], base)
        settings = params.parse(recipes.module(name).Settings, rest, prog=f"{prog} {name}", default=default)
        return cls(name, settings, out or Path("runs") / name, dry_run, command)


def main(job: Options) -> dict[str, Any]:
    """Runs the job, or describes it with ``--dry-run``."""
    if job.dry_run:
        settings = recipes.anchored(job.recipe, job.settings)
        plan = recipes.plan(job.recipe, settings)
        resolved = {"recipe": job.recipe, **params.to_dict(settings)}
        return {"out": str(job.out), "resolved": resolved, "plan": [asdict(line) for line in plan]}
    return recipes.execute(job.recipe, job.settings, job.out, job.command, tables.announce_plan)


def show(result: dict[str, Any]) -> None:
    """Prints the resolved recipe of a dry run, or the gap table and the report's path."""
    if "resolved" not in result:
        return tables.show_run(result)
    print(params.dict_to_toml(result["resolved"]))  # noqa: T201
    return tables.show_plan([Plan(**line) for line in result["plan"]])


def _resumed(words: list[str], command: tuple[str, ...]) -> Options:
    if len(words) != 2 or words[0] != "--resume":
        raise BadInput("--resume DIR takes nothing else: the folder holds the whole recipe; see backcast run --help")
    folder = Path(words[1])
    stored = read_recipe(folder)
    name = str(stored.pop("recipe", ""))
    settings = params.from_dict(recipes.module(name).Settings, stored, str(folder / "recipe.toml"))
    return Options(name, settings, folder, False, command)


def _own_flags(words: list[str]) -> tuple[list[str], Path | None, bool]:
    out, rest = None, []
    dry_run = "--dry-run" in words
    words = [word for word in words if word != "--dry-run"]
    while words:
        word = words.pop(0)
        if word.startswith("--out="):
            out = Path(word.removeprefix("--out="))
        elif word == "--out":
            if not words:
                raise BadInput("--out needs a folder; see backcast run --help")
            out = Path(words.pop(0))
        else:
            rest.append(word)
    return rest, out, dry_run


def _budget(name: str, words: Sequence[str], given: Mapping[str, Any]) -> Any:
    """The settings that a budget (flag before file) begins with; None where the recipe has none, or none is named."""
    if not hasattr(recipes.module(name), "budgeted"):
        return None
    said = given.get("budget")
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--budget" or word.startswith("--budget="):
            said = following if word == "--budget" else word.partition("=")[2]
    return None if said is None else recipes.module(name).budgeted(str(said))


def _named(word: str) -> tuple[str, dict[str, Any]]:
    if not word.endswith(".toml"):
        recipes.module(word)  # an unknown name is answered with the nearest
        return word, {}
    given = params.read_toml(word)
    name = given.pop("recipe", None)
    if name is None:
        raise BadInput(
            f'{word}: no recipe named; add the line  recipe = "story"  (known: {", ".join(recipes.RECIPES)})'
        )
    return str(name), given
