"""``backcast scene fit``: the two stages on known streams."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Fit:
    """The two stages on known streams: which objects each later frame holds, then what holds of each."""

    clips: Positional[Path]
    """A clips file; with splits, those marked 'train' are used."""
    model: str = "tiny"
    """tiny: two decoders of a closed vocabulary, made from nothing on the CPU."""
    horizon: float = 0.5
    """Observed share at which the weights of counts and the listing threshold are chosen, on held-out clips."""
    out: Path = Path("scene-model")
    """The folder to write."""
    steps: int = 600
    """Of each stage."""
    width: int = 64
    """Of the decoders."""
    layers: int = 2
    """Of the decoders."""
    batch: int = 24
    """Clips a step."""
    dropout: float = 0.3
    """Of the decoders."""
    rate: float = 3e-3
    """Highest learning rate."""
    beta: float = 0.3
    """How much less far frames weigh in stage 1."""
    transition: float = 0.03
    """Weight of the transition prior in stage 2."""
    seed: int = 0
    """Of everything."""


def fit(options: Fit) -> dict[str, Any]:
    """Answers ``backcast scene fit``: the folder, what was fitted on what, and how counts are mixed in."""
    import time

    from backcast.scenes.problems import read_clips

    if options.model != "tiny":
        raise BadInput(f"--model {options.model}: only 'tiny' can be fitted so far")
    if (options.out / "scenes.json").exists():
        raise BadInput(f"--out {options.out} holds a model already; name another folder")
    clips = read_clips(options.clips)
    if not 0 < options.horizon < 1:
        raise BadInput(f"--horizon {options.horizon}: give the observed share, between 0 and 1")
    marked = clips.only("train")
    train = marked if marked.clips else clips
    from backcast.scenes.ootsm.fitting import fit as fit_stages
    from backcast.scenes.ootsm.settings import Settings

    names = ("width", "layers", "steps", "batch", "dropout", "rate", "beta", "transition")
    given = {name: getattr(options, name) for name in names}
    try:
        settings = Settings(**given, fraction=options.horizon, seed=options.seed)
    except ValueError as error:
        raise BadInput(str(error)) from None
    start = time.monotonic()
    model = fit_stages(train, settings)
    model.save(options.out, {**given, "seed": options.seed})
    parameters = sum(p.numel() for part in (model.listing, model.labelling) for p in part.parameters())
    return {
        "out": str(options.out),
        "model": options.model,
        "clips": len(train.clips),
        "parameters": parameters,
        "seconds": round(time.monotonic() - start, 1),
        "objects_weight": list(model.mixture.objects),
        "predicates_weight": list(model.mixture.predicates),
        "listed": model.mixture.listed,
    }


def show_fit(result: dict[str, Any]) -> None:
    """Prints the folder and how much the network counts at each horizon."""
    out = tables.console()
    out.print(f"{result['parameters']} parameters on {result['clips']} clips in {result['seconds']} s: {result['out']}")
    for what in ("objects", "predicates"):
        weights = ", ".join(f"{value:.1f}" for value in result[f"{what}_weight"])
        out.print(f"weight of the network for {what}, 1 / 2-3 / 4-8 / 9+ frames ahead: {weights}; the rest is counts")
    out.print(f"an object is listed from a chance of {result['listed']:g} on", style="dim")
