"""``backcast new``: a folder to start from, with data, a recipe and the commands that run."""

import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Options:
    """Writes a folder to start from: data to replace by your own, a recipe, and the commands that run it."""

    kind: Annotated[Literal["text", "scene", "game"], tyro.conf.Positional]
    """text: problems with answers that can be checked; scene: streams of typed graphs; game: a stochastic game."""
    name: Annotated[Path, tyro.conf.Positional]
    """The folder to write."""


def main(options: Options) -> dict[str, Any]:
    """Copies the scaffold; returns its files and first command. Raises BadInput for a folder that holds something."""
    out = options.name
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"'{out}' is there already; name a new folder")
    scaffold = Path(str(resources.files("backcast.data"))) / "new" / options.kind
    shutil.copytree(scaffold, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    readme = out / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("NAME", out.resolve().name), encoding="utf-8")
    files = sorted(path.name for path in out.iterdir())
    return {"kind": options.kind, "folder": str(out), "files": files, "commands": _commands(readme)}


def show(result: dict[str, Any]) -> None:
    """Prints what was written and what to type next."""
    out = tables.console()
    out.print(f"{result['folder']}: {', '.join(result['files'])}", soft_wrap=True, markup=False)
    out.print(f"  cd {result['folder']}", soft_wrap=True, markup=False)
    for command in result["commands"]:
        out.print(f"  {command}", soft_wrap=True, markup=False)


def _commands(readme: Path) -> list[str]:
    """The commands of the first block of the README, without their comments."""
    block = readme.read_text(encoding="utf-8").split("```")[1]
    return [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]
