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
    """persistence, markov, markov+appearance or knn."""
    horizon: float | None = None
    """Forecast the rest of each clip after this observed share (0.5: the second half)."""
    frames: str = ""
    """Or: frame numbers after each clip's last, such as 10,15,20."""
    train: Path | None = None
    """Clips to fit a count model on; default: the split 'train', else folds of the clips themselves."""
    out: Path = Path("forecast.jsonl")
    """The forecasts: JSON Lines, the vocabulary, then one clip a line."""


def forecast(options: Forecast) -> dict[str, Any]:
    """Answers ``backcast scene forecast``: where the forecasts are, and how many."""
    from backcast.scenes.forecast import write_forecasts
    from backcast.scenes.problems import read_clips
    from backcast.scenes.trial import counted, put

    if (options.horizon is None) == (not options.frames):
        raise BadInput("say either --horizon, the observed share, or --frames, the numbers of the frames to come")
    fit = counted(options.model)
    clips = read_clips(options.clips)
    train = read_clips(options.train) if options.train else None
    if options.horizon is not None:
        trial = put(clips, options.horizon, {options.model: fit}, train)
        made, fitted_on, skipped = trial.answers[options.model], trial.fitted_on, trial.skipped
    else:
        made, fitted_on = _beyond(clips, fit, train, _numbers(options.frames))
        skipped = 0
    write_forecasts(options.out, made, clips.vocabulary)
    return {
        "out": str(options.out),
        "model": options.model,
        "clips": len(made),
        "frames": sum(len(one.index) for one in made),
        "skipped": skipped,
        "fitted_on": fitted_on,
    }


def _numbers(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        raise BadInput(f"--frames '{text}': give whole numbers with commas, such as 10,15,20") from None
    if any(b <= a for a, b in itertools.pairwise(found)):
        raise BadInput(f"--frames '{text}': give them in increasing order, each once")
    return found


def _beyond(clips: Any, fit: Any, train: Any, frames: list[int]) -> tuple[list[Any], str]:
    """Forecasts of frames beyond the end of every clip."""
    known = train or clips.only("train")
    if not known.clips:
        raise BadInput("nothing to fit the model on: give --train FILE, or mark clips with split 'train'")
    asked = clips.clips if train else tuple(clip for clip in clips.clips if clip.split != "train")
    for clip in asked:
        last = clip.frames[-1].index
        if frames[0] <= last:
            raise BadInput(f"--frames {frames[0]}: clip '{clip.id}' is seen up to frame {last}; ask for later ones")
    model = fit(known)
    return [model.forecast(clip.id, clip.frames, frames) for clip in asked], f"{len(known.clips)} training clips"


def show_forecast(result: dict[str, Any]) -> None:
    """Prints where the forecasts are."""
    out = tables.console()
    out.print(f"{result['clips']} clips, {result['frames']} frames by {result['model']}: {result['out']}")
    out.print(f"fitted on {result['fitted_on']}", style="dim")
    if result["skipped"]:
        out.print(f"{result['skipped']} clips leave no frame to forecast", style="yellow")
