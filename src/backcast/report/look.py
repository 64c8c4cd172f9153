"""A page that shows where a model looked: the given images with every box drawn, and turn by turn what it saw."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from backcast import __version__
from backcast.report.page import _environment, _text


@dataclass(frozen=True)
class Mark:
    """A box drawn on a given image, in its pixels."""

    label: str
    x: int
    y: int
    width: int
    height: int
    colour: int
    """Which of the page's six colours."""


@dataclass(frozen=True)
class Picture:
    """An image of the page, as a data URL."""

    title: str
    url: str
    width: int
    height: int
    """Pixels that the marks count; the picture itself may be smaller."""
    note: str = ""
    marks: tuple[Mark, ...] = ()
    colour: int | None = None


@dataclass(frozen=True)
class Step:
    """One reply and what came of it."""

    text: str
    """What the model wrote."""
    calls: tuple[str, ...] = ()
    """Calls apart from the text, as text."""
    told: tuple[str, ...] = ()
    """Errors that the model was told."""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class LookPage:
    """What the page shows."""

    question: str
    answer: str | None
    figures: Sequence[tuple[str, str]]
    """Name and value, beside the answer."""
    given: Sequence[Picture]
    steps: Sequence[Step]
    about: str = ""
    """Of what, and by which model: a line above the question."""
    notice: str = ""
    """A sentence on what went wrong, if anything did."""


def page(look: LookPage) -> str:
    """The HTML: one file that needs nothing else."""
    return str(
        _environment()
        .get_template("look.html")
        .render(look=look, style=Markup(_text("style.css")), version=__version__)
    )
