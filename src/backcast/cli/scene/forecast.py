"""``backcast scene forecast``: graphs of frames to come, with probabilities."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Forecast:
    """Graphs of the frames to come, with a probability for every object and predicate."""

    clips: Positional[Path]
    """A clips file (see 'backcast scene convert')."""
    model: str
    """persistence, markov, markov+appearance or knn, or a folder that 'backcast scene fit' wrote."""
    horizon: float | None = None
    """Forecast the rest of each clip after this observed share (0.5: the second half)."""
    frames: str = ""
    """Or: frame numbers after each clip's last, such as 10,15,20."""
    train: Path | None = None
    """Clips to fit a count model on; default: the split 'train', else folds of the clips themselves."""
    out: Path = Path("forecast.jsonl")
    """The forecasts: JSON Lines, the vocabulary, then one clip a line."""
    page: Path | None = None
    """Also draw one clip's forecast: a page with lanes of objects over time."""
    clip: str = ""
    """The clip to draw (default: the first)."""


def forecast(options: Forecast) -> dict[str, Any]:
    """Answers ``backcast scene forecast``: where the forecasts are, and how many."""
    from backcast.scenes.forecast import write_forecasts
    from backcast.scenes.problems import read_clips
    from backcast.scenes.trial import COUNTS, forecaster, put

    if (options.horizon is None) == (not options.frames):
        raise BadInput("say either --horizon, the observed share, or --frames, the numbers of the frames to come")
    clips = read_clips(options.clips)
    fit = forecaster(options.model, clips)
    train = read_clips(options.train) if options.train else None
    if options.horizon is not None:
        trial = put(clips, options.horizon, {options.model: fit}, train)
        made, fitted_on, skipped = trial.answers[options.model], trial.fitted_on, trial.skipped
    else:
        made, fitted_on = _beyond(clips, fit, train, _numbers(options.frames), options.model in COUNTS)
        skipped = 0
    write_forecasts(options.out, made, clips.vocabulary)
    if options.page is not None:
        _draw(options, clips, made)
    return {
        "page": None if options.page is None else str(options.page),
        "out": str(options.out),
        "model": options.model,
        "clips": len(made),
        "frames": sum(len(one.index) for one in made),
        "skipped": skipped,
        "fitted_on": fitted_on,
    }


def _draw(options: Forecast, clips: Any, made: list[Any]) -> None:
    from backcast.core.errors import nearest
    from backcast.core.files import write_atomic
    from backcast.scenes.problems import cut
    from backcast.scenes.timeline import page

    by_id = {one.id: one for one in made}
    name = options.clip or made[0].id
    if name not in by_id:
        raise BadInput(f"--clip {name}: no forecast of it{nearest(name, by_id)}")
    clip = next(clip for clip in clips.clips if clip.id == name)
    parts = cut(clip, options.horizon) if options.horizon is not None else (clip.frames, None)
    if parts is None:
        raise BadInput(f"--clip {name}: it leaves no frame to forecast")
    assert options.page is not None
    write_atomic(options.page, page(by_id[name], parts[0], clips.vocabulary, parts[1]))


def _numbers(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        raise BadInput(f"--frames '{text}': give whole numbers with commas, such as 10,15,20") from None
    if any(b <= a for a, b in itertools.pairwise(found)):
        raise BadInput(f"--frames '{text}': give them in increasing order, each once")
    return found


def _beyond(clips: Any, fit: Any, train: Any, frames: list[int], counts: bool) -> tuple[list[Any], str]:
    """Forecasts of frames beyond the end of every clip."""
    known = train or clips.only("train")
    if counts and not known.clips:
        raise BadInput("nothing to fit the model on: give --train FILE, or mark clips with split 'train'")
    asked = clips.clips if train else tuple(clip for clip in clips.clips if clip.split != "train")
    for clip in asked:
        last = clip.frames[-1].index
        if frames[0] <= last:
            raise BadInput(f"--frames {frames[0]}: clip '{clip.id}' is seen up to frame {last}; ask for later ones")
    model = fit(known)
    return [
        model.forecast(clip.id, clip.frames, frames) for clip in asked
    ], f"{len(known.clips) or len(model.known)} training clips"


def show_forecast(result: dict[str, Any]) -> None:
    """Prints where the forecasts are."""
    out = tables.console()
    out.print(f"{result['clips']} clips, {result['frames']} frames by {result['model']}: {result['out']}")
    out.print(f"fitted on {result['fitted_on']}", style="dim")
    if result["page"]:
        out.print(f"timeline: {result['page']}")
    if result["skipped"]:
        out.print(f"{result['skipped']} clips leave no frame to forecast", style="yellow")
