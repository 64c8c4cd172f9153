"""OOTSM's two stages: which objects, then their relations; a tiny decoder, or any causal language model."""

from importlib import import_module
from typing import Any

_HOME = {
    "Adapting": "settings",
    "Language": "language",
    "Settings": "settings",
    "SingleStage": "single",
    "TwoStage": "model",
    "adapt": "adapting",
    "fit": "fitting",
    "fit_single": "single",
    "load": "stored",
    "zero_shot": "language",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'backcast.scenes.ootsm' has no attribute '{name}'")
    return getattr(import_module(f"backcast.scenes.ootsm.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
