"""The card (README.md) of a Hugging Face folder that we made: what it is, what it came from, what it gained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.run import Gap
from backcast.report.collect import difference
from backcast.report.words import interval, number, places, signed


@dataclass(frozen=True)
class Card:
    """What a card says. Everything but the title may be missing: what is not known is left out, never invented."""

    title: str
    base_model: str | None = None
    """Hub id, alias, or the name of the folder that was started from."""
    licence: str | None = None
    """As the hub writes it (``apache-2.0``, ``mit``, ...) or in words."""
    data: Sequence[str] = ()
    """One line per source, with its licence."""
    gaps: Sequence[Gap] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Further results, by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it was made with, by name."""
    lineage: Sequence[str] = ()
    """Lines that say what was made from what, and how to load it."""
    tags: Sequence[str] = ()
    language: str = "en"


def card(about: Card) -> str:
    """The Markdown text of a model card, with the metadata block that the hub reads.

    Raises BadInput when huggingface_hub, which writes that block, is not installed.
    """
    rows = [_row(gap) for gap in about.gaps]
    return str(_template().render(about=about, rows=rows, metadata=_metadata(about)))


def licence_of(folder: Path) -> str | None:
    """What a model folder says of its licence (``backcast.json`` of a converted model, or the head of its card)."""
    converted = folder / "backcast.json"
    if converted.exists():
        return json.loads(converted.read_text()).get("licence") or None
    readme = folder / "README.md"
    if not readme.exists():
        return None
    from huggingface_hub import ModelCard

    found = ModelCard.load(readme, ignore_metadata_errors=True).data.license
    return str(found) if found else None


def _metadata(about: Card) -> str:
    try:
        from huggingface_hub import ModelCardData
    except ImportError:
        raise BadInput("a model card needs huggingface_hub; run: pip install 'backcast[lm]'") from None
    licence = about.licence or ""
    # The hub knows short names; a licence in words is called "other" there, with its name beside it.
    known = licence.lower() if licence and " " not in licence else "other" if licence else None
    # Keys without a value are left out of the block.
    data = ModelCardData(
        language=about.language,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["backcast", *about.tags],
        base_model=about.base_model,
        license=known,
        license_name=licence if known == "other" else None,
        ignore_metadata_errors=True,
    )
    return str(data.to_yaml()).strip()


def _row(gap: Gap) -> list[str]:
    digits = places([gap.baseline, gap.value])
    of = "difference" if gap.paired else "value"
    bounds = interval(gap.low, gap.high, digits)
    return [
        f"{gap.stage}: {gap.metric}",
        number(gap.baseline, digits),
        number(gap.value, digits),
        signed(difference(gap), digits),
        bounds if gap.low is None else f"{bounds} ({of})",
        number(gap.n),
    ]


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("backcast.report"), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    environment.filters["cell"] = lambda value: " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
    return environment.get_template("card.md")
