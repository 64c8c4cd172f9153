"""Scenes: what happens next in a stream of typed graphs, with probabilities, scored correctly.

Paper: OOTSM, a language-driven object-oriented two-stage method for scene graph anticipation (arXiv 2509.05661).
"""

from importlib import import_module
from typing import Any

_HOME = {
    "ACTION_GENOME": "problems",
    "Clip": "problems",
    "Clips": "problems",
    "Frame": "problems",
    "Group": "problems",
    "Vocabulary": "problems",
    "cut": "problems",
    "read_clips": "problems",
    "write_clips": "problems",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'backcast.scenes' has no attribute '{name}'")
    return getattr(import_module(f"backcast.scenes.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
