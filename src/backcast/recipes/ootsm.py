"""OOTSM (2509.05661): what happens next in streams of typed graphs, in two stages, beside copying and counting."""

from dataclasses import dataclass, field, replace
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.run import Plan, Run
from backcast.scenes.ootsm.settings import Settings as Fit
from backcast.scenes.problems import Clips, read_clips
from backcast.scenes.problems.household import make_household

FILES, MODELS = ("clips",), ()


@dataclass(frozen=True)
class Settings:
    """Two decoders fitted on known streams, scored on streams they have not seen."""

    clips: str = "household"
    """A clips file ('backcast scene convert' makes one), or "household": made-up clips."""
    count: int = 200
    """Made-up clips."""
    horizon: float = 0.5
    """Observed share of each test clip."""
    fit: Fit = field(default_factory=Fit)
    """How both stages are fitted; its fraction is the horizon."""

    def __post_init__(self) -> None:
        if not 0 < self.horizon < 1:
            raise ValueError(f"horizon must lie between 0 and 1, found {self.horizon}")
        if self.count < 10:
            raise ValueError(f"count must be at least 10, found {self.count}")


def load(settings: Settings) -> Clips:
    """The clips; raises BadInput for a file that is none."""
    if settings.clips == "household":
        return make_household(settings.count, settings.fit.seed)
    return read_clips(settings.clips)


def plan(settings: Settings) -> list[Plan]:
    """What the two stages are expected to take: about 0.035 CPU-s a step of 24 clips at width 64."""
    clips = load(settings)
    if len(clips.clips) < 10:
        raise BadInput(f"{settings.clips}: {len(clips.clips)} clips; give at least 10, to fit on and to ask of")
    fit = settings.fit
    seconds = 2 * fit.parts * fit.steps * 0.035 * fit.batch / 24 * fit.layers / 2 * (fit.width / 64) ** 1.5
    what = f"2 stages x {fit.parts} members x {fit.steps} steps on {len(clips.clips)} clips"
    return [
        Plan("fit", what, seconds, 1.0),
        Plan("score", "forecasts beside four count models", len(clips.clips) * 0.1, 1.0),
    ]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``fit`` and ``score``; returns where model, forecasts and timeline are."""
    from backcast.scenes.stages import fit_stage, load_model, parted, score_stage

    clips = load(settings)
    train, test = parted(clips, settings.fit.seed)
    fit = replace(settings.fit, fraction=settings.horizon)
    inputs = [] if settings.clips == "household" else [settings.clips]
    mark = {"fit": fit.__dict__, "clips": settings.clips, "count": settings.count}
    fitted = run.stage("fit", lambda folder: fit_stage(folder, train, fit), mark, inputs)
    scored = run.stage(
        "score",
        lambda folder: score_stage(folder, load_model(fitted.folder), train, test, settings.horizon),
        {**mark, "horizon": settings.horizon},
        [*inputs, fitted.folder / "model"],
    )
    return {
        "model": str(fitted.folder / "model"),
        "forecast": str(scored.folder / "forecast.jsonl"),
        "timeline": str(scored.folder / "timeline.html"),
    }
