"""Instances of a class: two cups in a frame are "cup" and "cup#2", numbered as their clip first shows them.

A name is an identity everywhere else, so whatever reads, counts, forecasts, writes or scores names knows instances too.
What they share is their class (``class_of``).
"""

import re
from collections import Counter
from collections.abc import Hashable

_NUMBERED = re.compile(r"(.+)#([1-9]\d*)")


def class_of(name: str) -> str:
    """ "cup" of "cup#2", and of "cup"."""
    found = _NUMBERED.fullmatch(name)
    return found.group(1) if found and int(found.group(2)) > 1 else name


class Numbering:
    """The names of one clip's instances, by whatever its source calls them."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, Hashable], str] = {}
        self._count: Counter[str] = Counter()

    def name(self, kind: str, key: Hashable) -> str:
        """The instance's name: the class for the first asked about, then the class with 2, 3, ... behind a #."""
        if (kind, key) not in self._names:
            self._count[kind] += 1
            number = self._count[kind]
            self._names[kind, key] = kind if number == 1 else f"{kind}#{number}"
        return self._names[kind, key]
