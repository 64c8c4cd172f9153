"""Vital signs: each method's own signal with its healthy range, and the error raised when a method does nothing."""

from dataclasses import asdict, dataclass
from typing import Any

from backcast.core.errors import InertMethod

PATIENCE = 20
"""Batches after which a part of a training that had opportunities in all of them, and used none, stops it."""


@dataclass(frozen=True)
class Vital:
    """One signal that tells whether a method is alive."""

    name: str
    value: float | None
    """None: the method had no opportunity to act (said so, never shown as 0)."""
    low: float | None = None
    high: float | None = None
    meaning: str = ""
    """One sentence: what the number is, and what a value outside the range points to."""

    @property
    def ok(self) -> bool | None:
        """True inside [low, high] (None bounds are open), False outside, None without a value."""
        if self.value is None:
            return None
        above = self.low is None or self.value >= self.low
        below = self.high is None or self.value <= self.high
        return above and below

    def to_dict(self) -> dict[str, Any]:
        """The keys that scripts may rely on: name, value, low, high, ok; and the meaning."""
        return {**asdict(self), "ok": self.ok}


def must_act(method: str, acted: int, opportunities: int) -> None:
    """Raises InertMethod when there were opportunities and ``method`` took none of them.

    No opportunity at all is no error: report the vital as None then.
    """
    if opportunities > 0 and acted == 0:
        raise InertMethod(
            f"{method} is switched on but changed nothing in {opportunities} opportunities; "
            "check its settings and inputs, or switch it off"
        )
