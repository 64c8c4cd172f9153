"""``backcast doctor``: what a bug report needs."""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Any

from backcast import __version__
from backcast.cli import tables
from backcast.core.files import cache_folder
from backcast.core.run import environment

EXTRAS = {
    "lm": "transformers",
    "learn": "trl",
    "compress": "numba",
    "games": "gymnasium",
    "text": "math_verify",
    "serve": "uvicorn",
    "agents": "stable_baselines3",
}
"""An extra of the package, and a module by which to tell that it is installed."""


@dataclass(frozen=True)
class Options:
    """Versions, device, extras, caches."""


def main(options: Options) -> dict[str, Any]:
    """The state of this installation; nothing in it is secret."""
    del options
    return {
        "backcast": __version__,
        **environment(),
        "device": _device(),
        "extras": {name: importlib.util.find_spec(probe) is not None for name, probe in EXTRAS.items()},
        "cache": _cache(),
        "browser": shutil.which("chromium") or shutil.which("google-chrome"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def show(result: dict[str, Any]) -> None:
    """Prints it as lines to paste."""
    out = tables.console()
    for key, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {inner}" for name, inner in value.items())
        out.print(f"{key}: {value}", soft_wrap=True)


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "no torch"
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}"
    return f"cpu, {torch.get_num_threads()} threads"


def _cache() -> dict[str, Any]:
    from backcast.lm.cache import CallCache

    folder = cache_folder()
    models = folder / "models"
    entries = models.iterdir() if models.is_dir() else ()
    found: dict[str, Any] = {
        "folder": str(folder),
        "models": sorted(entry.name for entry in entries if not entry.name.startswith(".")),
        "calls": None,
    }
    calls = CallCache()
    if calls.path.exists():
        stats = calls.stats()
        found["calls"] = {"path": str(stats.path), "rows": stats.rows, "bytes": stats.bytes}
    return found
