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
    """tiny: decoders of a closed vocabulary, made from nothing on the CPU; or a language model (smollm2, a folder,
    a .gguf file, a hub id), which gets an adapter (LoRA) for each stage."""
    horizon: float = 0.5
    """Observed share at which the weights of counts and the listing threshold are chosen, on clips kept from them."""
    out: Path = Path("scene-model")
    """The folder to write."""
    steps: int | None = None
    """Of each member of each stage (default: tiny 400, language models 200)."""
    parts: int | None = None
    """Of the training clips (tiny, default 3): each stage has a member for every part, fitted on the others."""
    batch: int | None = None
    """Clips (tiny, default 24) or questions (language models, default 4) a step."""
    dropout: float | None = None
    """Of the decoders (default 0.3) or the adapters (0.05)."""
    rate: float | None = None
    """Highest learning rate (default: tiny 0.003, language models 0.0003)."""
    beta: float | None = None
    """How much less far frames weigh in stage 1 (default 0.3)."""
    width: int | None = None
    """Of the tiny decoders (default 64)."""
    layers: int | None = None
    """Of the tiny decoders (default 2)."""
    transition: float | None = None
    """Weight of the transition prior in stage 2 of the tiny decoders (default 0.03)."""
    rank: int | None = None
    """Of the adapters of a language model (default 32)."""
    held_out: int | None = None
    """Most held-out clips on which a language model's mixture is chosen (default 12)."""
    seed: int = 0
    """Of everything."""


BOTH = ("steps", "batch", "dropout", "rate", "beta")
TINY, LANGUAGE = (*BOTH, "parts", "width", "layers", "transition"), (*BOTH, "rank", "held_out")


def fit(options: Fit) -> dict[str, Any]:
    """Answers ``backcast scene fit``: the folder, what was fitted on what, and how counts are mixed in."""
    import time

    from backcast.scenes.problems import read_clips

    if (options.out / "scenes.json").exists():
        raise BadInput(f"--out {options.out} holds a model already; name another folder")
    given = _given(options)
    clips = read_clips(options.clips)
    marked = clips.only("train")
    train = marked if marked.clips else clips
    start = time.monotonic()
    found, parameters = (_fit_tiny if options.model == "tiny" else _adapt)(options, train, given)
    return {
        "out": str(options.out),
        "model": options.model,
        "clips": len(train.clips),
        "parameters": parameters,
        "seconds": round(time.monotonic() - start, 1),
        "weights": found.shares(),
        "listed": found.listed,
    }


def _given(options: Fit) -> dict[str, Any]:
    """The settings that were given; raises BadInput for one that this kind of model has not."""
    if not 0 < options.horizon < 1:
        raise BadInput(f"--horizon {options.horizon}: give the observed share, between 0 and 1")
    names = TINY if options.model == "tiny" else LANGUAGE
    for name in sorted({*TINY, *LANGUAGE} - {*names}):
        if getattr(options, name) is not None:
            kind = "the tiny decoders" if options.model == "tiny" else "a language model"
            raise BadInput(f"--{name.replace('_', '-')} does nothing for {kind}; leave it out")
    found = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return {**found, "fraction": options.horizon, "seed": options.seed}


def _fit_tiny(options: Fit, train: Any, given: dict[str, Any]) -> tuple[Any, int]:
    """(mixture, parameters trained)."""
    from backcast.scenes.ootsm.fitting import fit as fit_stages
    from backcast.scenes.ootsm.settings import Settings

    model = fit_stages(train, _settings(Settings, given))
    model.save(options.out, given)
    members = (*model.listing, *model.labelling)
    return model.mixture, sum(p.numel() for one in members for p in one.parameters())


def _adapt(options: Fit, train: Any, given: dict[str, Any]) -> tuple[Any, int]:
    from backcast.scenes.ootsm.settings import Adapting

    settings = _settings(Adapting, given)
    from backcast.scenes.ootsm.adapting import adapt, adapter_size
    from backcast.scenes.ootsm.stored import save_language

    model = adapt(options.model, train, settings, options.out)
    save_language(model, options.out, options.model, given)
    return model.mixture, adapter_size(options.out)


def _settings(kind: Any, given: dict[str, Any]) -> Any:
    try:
        return kind(**given)
    except ValueError as error:
        raise BadInput(str(error)) from None


def show_fit(result: dict[str, Any]) -> None:
    """Prints the folder and how much the network counts at each horizon."""
    out = tables.console()
    out.print(f"{result['parameters']} parameters on {result['clips']} clips in {result['seconds']} s: {result['out']}")
    out.print("weight of the network 1 / 2-3 / 4-8 / 9+ frames ahead; the rest is counts and nearest windows:")
    for what, row in result["weights"].items():
        out.print(f"  {what}: {', '.join(f'{value:.2f}' for value in row)}")
    out.print(f"an object is listed from a chance of {result['listed']:g} on", style="dim")
