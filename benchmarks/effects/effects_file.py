"""Where an experiment leaves its figures: one JSON a name, with date, commit and machine."""

import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backcast.core.files import code_version, write_atomic
from backcast.core.run import environment

FOLDER = Path(__file__).parent / "results"


def write(name: str, figures: dict[str, Any]) -> Path:
    """Writes ``results/<name>.json`` and returns its path."""
    FOLDER.mkdir(exist_ok=True)
    head = {"date": time.strftime("%Y-%m-%d"), "code": code_version(), "packages": environment()["packages"]}
    path = FOLDER / f"{name}.json"
    write_atomic(path, json.dumps({**head, **figures}, indent=1) + "\n")
    return path


def over_seeds(values: Sequence[float]) -> list[float]:
    """Mean, low, high of a few seeds' values: 95 % by Student's t (a bootstrap of five values is too narrow)."""
    from scipy.stats import t

    mean = statistics.fmean(values)
    if len(values) < 2:
        return [round(mean, 4), math.nan, math.nan]
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return [round(float(x), 4) for x in (mean, mean - half, mean + half)]
