"""How the two stages are fitted; imports no network library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the two stages are fitted. Defaults are ours unless a source is named."""

    width: int = 64
    """Of the decoder."""
    layers: int = 2
    """Of the decoder."""
    parts: int = 3
    """Of the training clips; each stage has a member for every part, fitted on the others."""
    steps: int = 400
    """Of each member."""
    batch: int = 24
    """Clips a step."""
    dropout: float = 0.3
    """Of both decoders; a few hundred clips are soon known by heart."""
    rate: float = 3e-3
    """Highest learning rate; 5 % warm-up, then cosine."""
    beta: float = 0.3
    """Horizon weighting of stage 1 (OOTSM's command line)."""
    transition: float = 0.03
    """Weight of the transition prior in stage 2 (OOTSM's command line)."""
    fraction: float = 0.3
    """Observed share at which mixing weights and thresholds are chosen, on clips that no source has seen."""
    seed: int = 0
    """Of everything."""

    def __post_init__(self) -> None:
        _positive(self, "width", "layers", "steps", "batch")
        _shares(self)
        if self.width % 4:
            raise ValueError(f"width {self.width}: give a multiple of 4")
        if self.parts < 2:
            raise ValueError(f"parts {self.parts}: give 2 or more; each is forecast by a member that has not seen it")
        if self.transition < 0:
            raise ValueError(f"transition {self.transition}: give 0 or more")


@dataclass(frozen=True)
class Adapting:
    """How the two adapters (LoRA) of a language model are fitted. Defaults are ours unless a source is named."""

    steps: int = 200
    """Of each stage."""
    batch: int = 4
    """Questions a step, each with its own prompt."""
    rank: int = 32
    """Of the adapters (OOTSM); they count 1 (alpha = rank, OOTSM) and sit on every linear layer (ours)."""
    dropout: float = 0.05
    """Of the adapters' input (OOTSM)."""
    rate: float = 3e-4
    """Highest learning rate; 5 % warm-up, then cosine. OOTSM's 1e-5 wants 40,000 steps."""
    beta: float = 0.3
    """Horizon weighting of stage 1 (OOTSM's command line)."""
    fraction: float = 0.3
    """Observed share at which mixing weights and thresholds are chosen, on held-out clips."""
    held_out: int = 12
    """Most held-out clips that this is done on."""
    seed: int = 0
    """Of everything."""

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch", "rank", "held_out")
        _shares(self)


def _positive(settings: Settings | Adapting, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise ValueError(f"{name.replace('_', '-')} {getattr(settings, name)}: give at least 1")


def _shares(settings: Settings | Adapting) -> None:
    if not 0 <= settings.beta <= 1:
        raise ValueError(f"beta {settings.beta}: give a number from 0 to 1")
    if not 0 <= settings.dropout < 1:
        raise ValueError(f"dropout {settings.dropout}: give a number from 0 to below 1")
    if not settings.rate > 0:
        raise ValueError(f"rate {settings.rate}: give a number above 0")
