"""Where solutions are written: names that a file can have, and nothing overwritten that is not ours."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backcast.core.errors import BadInput

if TYPE_CHECKING:
    from backcast.routing.problems.instance import Instance

SUFFIXES = (".sol", ".json", ".svg", ".trace.svg", ".routes.csv")
"""What ``route solve`` writes for an instance."""
LONGEST = 200
"""Bytes of an instance's name in a file's: most file systems take 255 with everything that is added."""


def file_name(instance: "Instance") -> str:
    """The instance's name as one that a file can have: no slashes, no control characters, no dot in front.

    Raises BadInput for a name that is too long.
    """
    name = re.sub(r"[/\\\x00-\x1f\x7f]|^\.+", "-", instance.id)
    if len(name.encode()) > LONGEST:
        size = len(name.encode())
        raise BadInput(f"the instance's name '{name[:30]}...' has {size} bytes; shorten NAME in its file to {LONGEST}")
    return name


def beside(base: Path, suffix: str) -> Path:
    """``base`` with ``suffix`` added; dots in the name stay."""
    return base.with_name(base.name + suffix)


def written_here(solution: Path) -> bool:
    """Whether ``route solve`` wrote this .sol file: the JSON beside it holds the same routes."""
    try:
        record = json.loads(solution.with_suffix(".json").read_text(encoding="utf-8"))
        found = re.findall(r"^Route #\d+:(.*)$", solution.read_text(encoding="utf-8"), re.MULTILINE)
        routes = [[int(node) for node in route.split()] for route in found]
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and "trace" in record and record.get("routes") == routes


def claim(folder: Path, instances: Sequence["Instance"]) -> list[Path]:
    """Makes the folder, and returns for each instance the path that its files begin with.

    Raises BadInput, before any search, where a result could not be written, two instances would be written to the same
    files, or a file stands there that is not an earlier result.
    """
    names = [file_name(instance) for instance in instances]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"two instances would be written to {folder / twice}.sol; solve them apart, each with its --out")
    bases = [folder / name for name in names]
    for base in bases:
        ours = written_here(beside(base, ".sol"))
        taken = next((path for suffix in SUFFIXES if os.path.lexists(path := beside(base, suffix))), None)
        if taken is not None and not ours:
            raise BadInput(f"{taken} was not written by route solve and would be overwritten; name another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"--out {folder}: {error.strerror}; name a folder that can be written to") from None
    return bases
