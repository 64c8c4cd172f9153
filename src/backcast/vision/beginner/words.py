"""The vocabulary of a small model: what recurs in rendered conversations becomes one token each."""

import re
from collections import Counter
from collections.abc import Sequence

SLOT = re.compile(r"\d+\.\d+|(?<!\w)\d(?!\w)")
"""What changes between conversations of one kind, besides the words that the caller names."""
_MARK = re.compile(r"<\|im_start\|>[a-z]+\n|<\|[a-z_]+\|>")
"""Where a piece ends at the latest; a turn's header is one of these, since generation begins behind it."""


def phrases(texts: Sequence[str], words: Sequence[str] = (), numbers: Sequence[str] = ()) -> list[str]:
    """Pieces of ``texts`` to be read as one token each, longest first; with ``words`` and ``numbers`` themselves.

    A piece between two marks (a turn's header is one) that recurs in at least half of the texts stays whole. Any other
    is cut at numbers and at ``words``, and what then occurs at least twice is kept.
    """
    slots = re.compile("|".join([SLOT.pattern, *(rf"\b{re.escape(word)}\b" for word in words)]))
    within = [set(_MARK.split(text)) for text in texts]
    often = Counter(piece for pieces in within for piece in pieces)
    whole = {piece for piece, count in often.items() if 2 * count >= len(texts)}
    parts = Counter(
        part for text in texts for piece in _MARK.split(text) if piece not in whole for part in slots.split(piece)
    )
    found = (
        {"system\n", "user\n", "assistant\n"}
        | whole
        | {part for part, count in parts.items() if count > 1}
        | {*words, *numbers}
    )
    return sorted((piece for piece in found if len(piece) > 1), key=lambda piece: (-len(piece), piece))


def grid_numbers(grid: float) -> list[str]:
    """The numbers of a grid on 0 to 1 as calls write them (0.05) and as results do (0.050)."""
    steps = [number * grid for number in range(round(1 / grid) + 1)]
    return [*dict.fromkeys([str(round(step, 3)) for step in steps] + [f"{step:.3f}" for step in steps])]
