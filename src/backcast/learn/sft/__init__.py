"""Supervised training on conversations (messages), through TRL's SFTTrainer; the only door to it."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backcast.learn.sft.fit import Card as Card
    from backcast.learn.sft.fit import train as train
    from backcast.learn.sft.rows import read_rows as read_rows
    from backcast.learn.sft.settings import SFTSettings as SFTSettings
    from backcast.learn.sft.settings import preset as preset

_HOME = {"Card": "fit", "SFTSettings": "settings", "preset": "settings", "read_rows": "rows", "train": "fit"}
__all__ = ["Card", "SFTSettings", "preset", "read_rows", "train"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'backcast.learn.sft' has no attribute '{name}'")
    return getattr(importlib.import_module(f"backcast.learn.sft.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
