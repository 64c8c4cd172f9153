"""Text problems: reading question sets, judging answers, and choosing the questions that still teach (AlphaMed)."""

from importlib import import_module
from typing import Any

_HOME = {
    "Answers": "answers",
    "Question": "problems",
    "by_generation": "answers",
    "by_likelihood": "answers",
    "choose": "score",
    "equivalent": "score",
    "judge": "score",
    "leaks": "problems",
    "option_reward": "score",
    "read_questions": "problems",
    "split": "problems",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'backcast.text' has no attribute '{name}'")
    return getattr(import_module(f"backcast.text.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
