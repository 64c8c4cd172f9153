"""What a small model is taught on, and how its eye is taught; no torch behind it."""

from dataclasses import dataclass

from backcast.core.params import bounded
from backcast.vision.problems.scenes import Scenes
from backcast.vision.warmup.mix import Aim

SCENES = Scenes(canvas=300, cells=6, ratio=0.5, tiles=2, gap=24, easy=0.2)
"""Tiles of 25 pixels: shown whole they are 8 pixels wide, in a right look 40. In every fifth scene 75, shown as 24."""
AIM = Aim(0.2, 0.05)
"""A right look is a fifth of the scene's sides, 4 % of its area."""


@dataclass(frozen=True)
class Eye:
    """How the vision tower is taught on dense targets."""

    steps: int = 1_600
    """Optimiser steps; about 0.3 CPU-seconds each."""
    batch: int = 48
    """Pictures a step."""
    learning_rate: float = 3e-3
    """Highest, of AdamW; it rises over a twentieth of the steps and falls to a fiftieth over the last quarter."""
    scenes: int = 400
    """Scenes that the pictures of ``fresh`` steps are taken from; the next ones come from others."""
    fresh: int = 50
    """Steps on the same scenes; on the same ones throughout, digits are learnt by heart."""
    easy: float = 0.5
    """Share of them whose tiles are large, so that a digit can be told from the whole."""
    save_every: int = 100
    """Steps between checkpoints, which a killed run goes on from."""

    def __post_init__(self) -> None:
        bounded(self, "steps batch scenes fresh save_every", 1)
        bounded(self, "easy", 0, 1)
        bounded(self, "learning_rate", 0, above=True)


@dataclass(frozen=True)
class Point:
    """How the decoder is taught to point at what is asked for, and to read it, before any trace."""

    steps: int = 800
    """Optimiser steps; about a CPU-second each. 0: not at all."""
    batch: int = 32
    """Looks a step, all at new scenes, half as many scenes that need none, and a quarter as many without tools."""
    learning_rate: float = 2e-3
    """Highest, of AdamW; it rises over a twentieth of the steps and falls to a fiftieth over the last quarter."""
    alone: int = 200
    """Steps at the beginning with a single tile in each scene."""
    naming: float = 0.3
    """Weight of the loss of a head that names the box's place, or the digit, at the colour's own tokens. 0: without."""
    save_every: int = 100
    """Steps between checkpoints, which a killed run goes on from."""

    def __post_init__(self) -> None:
        bounded(self, "steps alone naming", 0)
        bounded(self, "batch save_every", 1)
        bounded(self, "learning_rate", 0, above=True)
