"""The papers as recipes: a plain function each, with the TOML of its settings.

A recipe's file holds a frozen dataclass ``Settings``, ``plan(settings)``, which says what each stage is expected to
take, ``run(run, settings)``, which does the stages, ``FILES`` and ``MODELS``, which name the settings that may be
paths, and, where servers can be asked, ``reach(settings)``, which tries them. Beside it lies the TOML of its defaults.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput, nearest
from backcast.core.run import Plan, Run


@dataclass(frozen=True)
class Method:
    """One of the ten papers and where it lives."""

    number: int
    name: str
    paper: str
    """arXiv id."""
    room: str
    recipe: str | None
    """The recipe that runs it end to end, or None while there is none; each recipe has its end-to-end test."""


METHODS = (
    Method(1, "REER", "2509.06160", "reasons", "reer"),
    Method(2, "HICRA", "2509.03646", "learn", "hicra"),
    Method(3, "AlphaMed", "2505.17952", "text", "alphamed"),
    Method(4, "Pixel Reasoner", "2505.15966", "vision", "pixel"),
    Method(5, "VL-Rethinker", "2504.08837", "learn", "rethinker"),
    Method(6, "OOTSM", "2509.05661", "scenes", "ootsm"),
    Method(7, "WGM", "2509.03054", "compress", "wgm"),
    Method(8, "SplitQuantV2", "2503.07657", "compress", "splitquant"),
    Method(9, "Constant-memory games", "2505.07008", "games", "games"),
    Method(10, "HLGP", "2502.08340", "routing", "routing"),
)

RECIPES = (
    "alphamed",
    "curate",
    "games",
    "hicra",
    "ootsm",
    "pixel",
    "policies",
    "reer",
    "rethinker",
    "routing",
    "splitquant",
    "story",
    "study",
    "wgm",
)
"""Every recipe; ``recipes/<name>.py`` and ``recipes/<name>.toml``."""


def module(name: str) -> Any:
    """The module of a recipe; raises BadInput naming the nearest for an unknown one."""
    if name not in RECIPES:
        raise BadInput(f"unknown recipe '{name}'{nearest(name, RECIPES)}")
    return importlib.import_module(f"backcast.recipes.{name}")


def defaults_file(name: str) -> Path:
    """The TOML of a recipe's defaults."""
    return Path(__file__).parent / f"{name}.toml"


def settings(name: str, **given: Any) -> Any:
    """The settings of a recipe; a value that it refuses raises BadInput."""
    try:
        return module(name).Settings(**given)
    except ValueError as error:
        raise BadInput(str(error)) from None


def anchored(name: str, settings: Any) -> Any:
    """The settings with files and model folders as absolute paths, so that a stored recipe holds in any folder.

    An alias, a server, a hub id and the recipe's own default (a word such as "bundled") stay as they are.
    """
    from backcast.lm.models import ALIASES

    home = module(name)
    words = {*ALIASES, *(str(known.default) for known in fields(home.Settings))}
    found: dict[str, str | tuple[str, ...]] = {}
    for field in (*home.FILES, *home.MODELS):
        value = getattr(settings, field)
        folders = field in home.MODELS
        if isinstance(value, tuple):
            found[field] = tuple(_absolute(one, folders) for one in value)
        elif value and value not in words:
            found[field] = _absolute(value, folders)
    return replace(settings, **found)


def _absolute(value: str, folders: bool) -> str:
    path = Path(value).expanduser()
    return str(path.absolute()) if path.is_file() or (folders and path.is_dir()) else value


def plan(name: str, settings: Any) -> list[Plan]:
    """What the stages of a recipe are expected to take."""
    lines: list[Plan] = module(name).plan(settings)
    return lines


def execute(
    name: str,
    settings: Any,
    out: Path,
    command: Sequence[str],
    announce: Callable[[Sequence[Plan]], None] = lambda _: None,
) -> dict[str, Any]:
    """Runs a recipe in the folder ``out`` (or goes on with it there) and writes its report.

    ``announce`` gets the plan once the inputs, the servers and the folder have been found usable. Returns the run's
    summary, with what the recipe itself has to say. Bad input that comes out only at work leaves no new folder behind.
    """
    from backcast.report import write_report

    settings = anchored(name, settings)
    work, lines = module(name).run, plan(name, settings)
    run = Run.open(out, name, settings, command)
    try:
        if run.fresh and hasattr(module(name), "reach"):
            module(name).reach(settings)
        announce(lines)
        said: dict[str, Any] = work(run, settings)
    except BadInput as error:
        run.abandon(f"{type(error).__name__}: {error}")
        raise
    except BaseException as error:
        run.close(f"{type(error).__name__}: {error}")
        raise
    write_report(run.folder)
    run.close()
    return {**run.summary(), **said}
