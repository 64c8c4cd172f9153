"""Lists and mappings inside a table's cell: as JSON, as Python writes them, or as numpy does."""

import ast
import json
import re
from typing import Any

from backcast.core.errors import BadInput

NESTED = ("options", "choices", "context", "CONTEXTS", "contexts", "data")
"""Columns that may hold more than a text."""
_PIECE = re.compile(
    r"""(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<noise>\barray\(|,\s*dtype=object\s*\))|\s+|.""", re.DOTALL
)


class Digits(int):
    """A number out of a table, whose cells have no type: an index, or the text of an option."""


def nested(text: str) -> Any:
    """The list or mapping that a cell spells out. Raises BadInput for a cell that spells none.

    A table that pandas made of a parquet file holds numpy's spelling: no commas between texts, ``array([...])``.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    pieces: list[str] = []
    after_value = False
    for found in _PIECE.finditer(text):
        piece = found.group()
        if piece.isspace():
            pieces.append(" ")
        elif not found["noise"]:
            # Python would join two neighbouring texts into one.
            pieces.append(f",{piece}" if after_value and (found["string"] or piece in "[{") else piece)
            after_value = bool(found["string"]) or piece in "]}"
    try:
        return ast.literal_eval("".join(pieces).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise BadInput(f"'{text[:40]}' is neither a list nor {{A: ..}}") from None


def cell(name: str, text: str) -> Any:
    """What a table's cell under the column ``name`` holds: a text, a number where it is an index, a list, a mapping."""
    if name in ("answer", "cop") and text.strip().isdecimal():
        return Digits(text)
    if name in NESTED and text.lstrip()[:1] in ("[", "{"):
        try:
            return nested(text)
        except BadInput:
            return text  # a text that begins with a bracket; who needs a list says so
    return text
