"""Pixel Reasoner: a model that looks before it answers; and the problems, rewards and traces it learns from."""

from importlib import import_module
from typing import Any

_HOME = {
    "Ask": "looker",
    "Box": "looker",
    "Budget": "looker",
    "Curiosity": "curiosity",
    "CuriosityReward": "curiosity",
    "Desk": "looker",
    "Look": "looker",
    "LookSettings": "looker",
    "Looking": "looker",
    "Media": "media",
    "Scenes": "problems",
    "VisualProblem": "problems",
    "curious": "curiosity",
    "environment": "looker.environment",
    "generate": "problems",
    "mask": "warmup",
    "necessity": "score",
    "open_image": "media",
    "open_media": "media",
    "preset": "looker",
    "read_problems": "problems",
    "schemas": "looker",
    "synthesise": "warmup",
    "uniform": "curiosity",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'backcast.vision' has no attribute '{name}'")
    return getattr(import_module(f"backcast.vision.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
