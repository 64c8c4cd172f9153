"""Text and numbers of a file, or one line that says where it is wrong."""

import math
from pathlib import Path

from backcast.core.errors import BadInput

LARGEST = 2**53
"""Whole numbers up to which floats are exact."""


def read_text(path: Path) -> str:
    """The file's text; raises BadInput where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"cannot read '{path}': not UTF-8 text; give a text file") from None
    except OSError as error:
        raise BadInput(f"cannot read '{path}': {error.strerror}; give a readable file") from None


def number(text: str, where: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{where} '{text.strip()}' is not a finite number; correct it")
    return value


def whole(text: str, where: str) -> int:
    """A whole number."""
    try:
        value = int(text)
    except ValueError:
        found = number(text, where)
        if found != int(found):
            raise BadInput(
                f"{where} '{text.strip()}' is not a whole number; scale demands and capacity alike"
            ) from None
        value = int(found)
    if abs(value) > LARGEST:
        raise BadInput(f"{where} '{text.strip()}' is too large; give at most {LARGEST} (2**53)")
    return value
