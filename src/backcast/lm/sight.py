"""Language models that see: conversations whose turns hold pictures and calls of tools.

A conversation is the same whatever model it goes to; each model writes it in the form that its template or server
takes. In particular a tool's result is one turn here, text and pictures, although many templates drop pictures there
and OpenAI's chat interface allows only text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from backcast.core.errors import BadInput
from backcast.lm.base import Sampling

Part = Any
"""Of a turn: a text (``str``) or a picture (``PIL.Image.Image``, RGB)."""

Tool = Mapping[str, Any]
"""A function as JSON schema: ``{"type": "function", "function": {"name", "description", "parameters"}}``."""


@dataclass(frozen=True)
class Call:
    """A tool that a model wants to use."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """The server's name for this call; empty where the call stands in the reply's text."""
    broken: str = ""
    """Why the arguments cannot be read; empty if they can."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]
    calls: tuple[Call, ...] = ()
    """What the assistant asked for apart from its text (servers that read calls themselves)."""
    answers: str = ""
    """``Call.id`` that a tool's turn answers."""

    @property
    def text(self) -> str:
        """The texts of the turn, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def pictures(self) -> tuple[Any, ...]:
        """The pictures of the turn, in order."""
        return tuple(part for part in self.parts if not isinstance(part, str))


@dataclass(frozen=True)
class Reply:
    """What a model wrote."""

    text: str
    calls: tuple[Call, ...]
    """Calls that the server took out of the text; empty where they are still in it."""
    tokens: int
    """Sampled, end of turn included."""
    prompt_tokens: int
    """Read, pictures included."""
    finished: bool
    """False if the most tokens allowed cut it off."""


class Sight(Protocol):
    """A model that sees. Implementations: ``local_sight.LocalSight``, ``endpoint.sight.ServedSight``.

    One may have ``remembering()``, a context manager within which a conversation's next turn need not be read whole.
    """

    name: str
    fingerprint: str

    def reply(self, conversations: Sequence[Sequence[Turn]], tools: Sequence[Tool], sampling: Sampling) -> list[Reply]:
        """The next assistant turn of each conversation; the same seed and conversation give the same turn."""
        ...


def load(model: str, dtype: str | None = None, device: str | None = None) -> Sight:
    """The model that ``model`` names, ready to look at pictures.

    Raises BadInput for whatever ``models.resolve`` refuses, for a model without picture input, and for a dtype or
    device asked of a server.
    """
    from backcast.lm.models import is_endpoint, resolve

    if is_endpoint(model):
        if dtype or device:
            raise BadInput(f"'{model}' is a server, which chooses its own dtype and device; leave both out")
        from backcast.lm.endpoint.sight import ServedSight

        return ServedSight(model)
    folder: Path = resolve(model)
    from backcast.lm.local_sight import LocalSight

    return LocalSight.open(folder, dtype=dtype, device=device, name=model)
