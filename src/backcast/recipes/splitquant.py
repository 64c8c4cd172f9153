"""SplitQuantV2 (2503.07657): layers split into three, then quantised, against round to nearest at equal granularity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backcast.compress.rtn import RTN
from backcast.compress.splitquant import SplitQuant
from backcast.compress.stream import Settings as Method
from backcast.core.run import Plan, Run
from backcast.recipes.packing import Options, plan_packing, run_packing

FILES, MODELS = ("text",), ("model",)


@dataclass(frozen=True)
class Settings:
    """SplitQuantV2: each layer as the sum of three, one cluster of weights each."""

    model: str = "smollm2"
    """Alias, folder, .gguf or hub id."""
    text: str = "bundled"
    """A text file to score on; "bundled": texts that ship with the package."""
    bits: int = 4
    """Per code."""
    scopes: tuple[Literal["tensor", "row", "block"], ...] = ("row",)
    """Granularities to compare at; per tensor, round to nearest destroys a small model."""
    masked: bool = False
    """Also an arm whose grids span their own cluster only."""
    wider: bool = True
    """Also round to nearest at 8 bits per row: what the split has to beat for its size as published."""
    protocol: Literal["strided", "gptq"] = "strided"
    """Of the perplexity."""
    context: int = 512
    """Tokens per window."""
    windows: int = 8
    """Windows scored at most."""
    jobs: int = 1
    """Tensors packed at a time."""


def arms(settings: Settings) -> dict[str, Method]:
    """What is compared, by name; bits out of range are refused when the first is packed."""
    found: dict[str, Method] = {}
    for scope in settings.scopes:
        found[f"rtn-{settings.bits}-{scope}"] = RTN(settings.bits, scope)
        found[f"split-{settings.bits}-{scope}"] = SplitQuant(settings.bits, scope)
        if settings.masked:
            found[f"split-{settings.bits}-{scope}-masked"] = SplitQuant(settings.bits, scope, masked=True)
    if settings.wider:
        found["rtn-8-row"] = RTN(8, "row")
    return found


def plan(settings: Settings) -> list[Plan]:
    """What the two stages are expected to take."""
    return plan_packing(_options(settings), len(arms(settings)))


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``pack`` and ``score``; returns the figures of every arm and where its folder is."""
    return run_packing(run, _options(settings), arms(settings))


def _options(settings: Settings) -> Options:
    text = None if settings.text == "bundled" else Path(settings.text)
    return Options(settings.model, text, settings.protocol, settings.context, settings.windows, settings.jobs)
