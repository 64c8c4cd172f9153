"""The door to reasoning-gym: questions that are generated without end and checked by their own rules (an extra).

``reasoning-gym:NAME`` or ``reasoning-gym:NAME:SIZE`` wherever a file of questions is expected.
"""

import json
from functools import lru_cache
from typing import Any

from backcast.core.errors import BadInput, nearest

PREFIX = "reasoning-gym:"
SIZE = 1000
"""Questions generated when no size is given."""

BOX = "\n\nPut the final answer in \\boxed{}."


def is_gym(named: str) -> bool:
    """Whether ``named`` asks for generated questions."""
    return named.startswith(PREFIX)


def generate(named: str, seed: int) -> list[tuple[str, str, str]]:
    """(prompt, answer, kind) of every question of ``reasoning-gym:NAME[:SIZE]``; the same seed gives the same ones.

    The prompt asks for a box besides; the kind names the question, so that ``score`` can find its rules again. Raises
    BadInput for an unknown name or size, and when the extra is not installed.
    """
    name, size = _parse(named)
    data = _dataset(name, size, seed)
    kinds = (json.dumps([name, size, seed, number]) for number in range(size))
    return [(data[n]["question"] + BOX, str(data[n]["answer"]), PREFIX + kind) for n, kind in enumerate(kinds)]


def score(given: str | None, kind: str) -> float:
    """What the question's own rules give for a stated answer, from 0 to 1; 0 for none at all."""
    if given is None:
        return 0.0
    name, size, seed, number = json.loads(kind.removeprefix(PREFIX))
    data = _dataset(name, size, seed)
    return float(data.score_answer(given, data[number]))


def _parse(named: str) -> tuple[str, int]:
    name, _, size = named.removeprefix(PREFIX).partition(":")
    if not size:
        return name, SIZE
    if not size.isdecimal() or int(size) < 4:
        raise BadInput(f"'{named}': the size '{size}' is not a number of at least 4; write {PREFIX}{name}:1000")
    return name, int(size)


@lru_cache(maxsize=8)
def _dataset(name: str, size: int, seed: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise BadInput(
            "reasoning-gym is not installed; pip install 'backcast[reasoning-gym]' to generate questions"
        ) from None
    if name not in DATASETS:
        raise BadInput(f"reasoning-gym has no questions called '{name}'{nearest(name, DATASETS)}")
    return reasoning_gym.create_dataset(name, size=size, seed=seed)
