"""The same questions put to several forecasters, none of which has seen the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backcast.core.errors import BadInput, nearest
from backcast.scenes.counts import Forecaster, Markov, Neighbours, Persistence, forecast_all
from backcast.scenes.forecast import Case, GraphForecast, cases
from backcast.scenes.problems.clip import Clip, Clips, Frame
from backcast.scenes.problems.split import folds

Fit = Callable[[Clips], Forecaster]

COUNTS: dict[str, Fit] = {
    "persistence": lambda train: Persistence(train.vocabulary),
    "markov": lambda train: Markov.fit(train),
    "markov+appearance": lambda train: Markov.fit(train, appear=0.4, gate=0.4),
    "knn": lambda train: Neighbours.fit(train),
}
"""The count models at their usual operating points."""


def forecaster(name: str, clips: Clips) -> Fit:
    """A count model to be fitted, the fitted model of a folder, or a language model as it comes, by name or path.

    Raises BadInput for an unknown one (naming the nearest), for a model of another vocabulary, and for one that was
    fitted on a clip that it would be asked of.
    """
    if name in COUNTS:
        return COUNTS[name]
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return _fitted(folder, clips)
    from backcast.lm.models import ALIASES, is_endpoint, load

    if not (folder.is_dir() or is_endpoint(name) or name in ALIASES or name.endswith(".gguf")):
        raise BadInput(
            f"unknown model '{name}': neither a count model, a folder, a language model nor a server's address"
            f"{nearest(name, [*COUNTS, *ALIASES])}"
        )
    from backcast.scenes.ootsm.language import zero_shot

    lm = load(name)
    return lambda train: zero_shot(lm, Markov.fit(train))


def _fitted(folder: Path, clips: Clips) -> Fit:
    from backcast.scenes.ootsm.stored import load

    model = load(folder)
    if model.vocabulary != clips.vocabulary:
        raise BadInput(f"'{folder}' was fitted on another vocabulary than that of these clips; convert them together")
    asked = {clip.id for clip in clips.clips if clip.split != "train"}
    seen = sorted(asked & set(model.known))
    if seen:
        raise BadInput(f"'{folder}' was fitted on clip '{seen[0]}' ({len(seen)} in all); ask of clips it has not seen")
    return lambda _: model


@dataclass(frozen=True)
class Trial:
    """What was asked, what each model answered, and how models were kept from the answers."""

    asked: list[Case]
    answers: Mapping[str, list[GraphForecast]]
    skipped: int
    """Clips that leave no future at this horizon."""
    fitted_on: str
    """In words: which clips the models were fitted on."""


def put(
    clips: Clips, fraction: float, fits: Mapping[str, Fit], train: Clips | None = None, seen: Clips | None = None
) -> Trial:
    """Every fit's forecasts of the clips cut at ``fraction``.

    Fitted on ``train``; without it on the clips whose split is "train", the others being asked; without splits in up
    to five folds of groups, each asked of models fitted on the rest. A clip is never asked of a model that saw its
    group. With ``seen`` (captured graphs) models are shown its frames up to the cut in place of the clips' own; the
    cases keep the clips' own. Raises BadInput when vocabularies differ or nothing is left to ask.
    """
    parts, fitted_on = _parts(clips, train)
    asked: list[Case] = []
    answers: dict[str, list[GraphForecast]] = {name: [] for name in fits}
    skipped = 0
    for test, rest in parts:
        mine, missed = cases(test, fraction)
        asked += mine
        skipped += missed
        questions = [(case.id, case.seen if seen is None else _shown(case, seen), case.future) for case in mine]
        for name, fit in fits.items() if mine else ():
            model = fit(replace(clips, clips=tuple(rest)))
            answers[name] += forecast_all(model, questions)
    if not asked:
        raise BadInput(f"no clip leaves a future frame at horizon {fraction} ({skipped} looked at); observe less")
    return Trial(asked, answers, skipped, fitted_on)


def _shown(case: Case, seen: Clips) -> tuple[Frame, ...]:
    found = next((clip.frames for clip in seen.clips if clip.id == case.id), ())
    shown = tuple(frame for frame in found if frame.index <= case.seen[-1].index)
    if not shown:
        raise BadInput(f"no captured frame of clip '{case.id}' up to frame {case.seen[-1].index}; capture it")
    return shown


def _parts(clips: Clips, train: Clips | None) -> tuple[list[tuple[Sequence[Clip], Sequence[Clip]]], str]:
    if train is not None:
        if train.vocabulary != clips.vocabulary:
            raise BadInput(
                "the training clips have another vocabulary than the clips to forecast; convert them together"
            )
        same = {clip.id for clip in train.clips} & {clip.id for clip in clips.clips}
        if same:
            raise BadInput(f"clip '{min(same)}' is among the training clips too; forecast clips that no model has seen")
        return [(clips.clips, train.clips)], f"{len(train.clips)} training clips"
    marked = [clip for clip in clips.clips if clip.split == "train"]
    rest = [clip for clip in clips.clips if clip.split != "train"]
    if marked and rest:
        return [(rest, marked)], f"{len(marked)} clips of the split 'train'"
    groups = len({str(clip.meta.get("group", f"clip {clip.id}")) for clip in clips.clips})
    if groups < 2:
        raise BadInput("a single clip (or group) and no training clips: give --train FILE")
    parts: list[tuple[Sequence[Clip], Sequence[Clip]]] = []
    for fold in folds(clips.clips, min(5, groups)):
        inside = set(fold)
        test = [clips.clips[i] for i in fold]
        parts.append((test, [clip for i, clip in enumerate(clips.clips) if i not in inside]))
    return parts, f"the other folds of {len(parts)}, groups kept together"
