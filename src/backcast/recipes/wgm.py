"""WGM (2509.03054): a model's weights grouped by magnitude, as published and as we would, against round to nearest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backcast.compress.rtn import RTN
from backcast.compress.stream import Settings as Method
from backcast.compress.wgm import preset
from backcast.core.run import Plan, Run
from backcast.recipes.packing import Options, plan_packing, run_packing

FILES, MODELS = ("text",), ("model",)


@dataclass(frozen=True)
class Settings:
    """WGM: weights grouped by magnitude, with the bits honestly counted."""

    model: str = "smollm2"
    """Alias, folder, .gguf or hub id."""
    text: str = "bundled"
    """A text file to score on; "bundled": texts that ship with the package."""
    bits: int = 4
    """Per code, sign included, for every arm but the paper's."""
    presets: tuple[Literal["ours", "table", "exact", "paper", "v3"], ...] = ("paper", "v3", "ours")
    """Arms beside round to nearest; the paper's has the released 32 groups a tensor, 6 bits a code."""
    protocol: Literal["strided", "gptq"] = "strided"
    """Of the perplexity."""
    context: int = 512
    """Tokens per window."""
    windows: int = 8
    """Windows scored at most."""
    jobs: int = 1
    """Tensors packed at a time."""


RELEASED_BITS = 6
"""32 groups and a sign: the setting of the released code."""


def arms(settings: Settings) -> dict[str, Method]:
    """What is compared, by name; raises BadInput for bits out of range."""
    found: dict[str, Method] = {f"rtn-{settings.bits}": RTN(settings.bits)}
    for name in settings.presets:
        bits = RELEASED_BITS if name == "paper" else settings.bits
        found[f"{name}-{bits}"] = preset(name, bits)
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
