"""The stages of a run: fit both stages on known streams, then score the forecasts beside the count models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.core.problem import Score
from backcast.core.run import Gap, StageResult, Table
from backcast.core.trace import Trace, TraceLog
from backcast.core.vitals import Vital, must_act
from backcast.scenes.forecast import Case, GraphForecast, write_forecasts
from backcast.scenes.ootsm.fitting import fit
from backcast.scenes.ootsm.model import TwoStage
from backcast.scenes.ootsm.settings import Settings
from backcast.scenes.problems.clip import Clips
from backcast.scenes.problems.split import folds
from backcast.scenes.render import scene_text
from backcast.scenes.score import Tally, interval, metric, summary, tally
from backcast.scenes.score.measure import number
from backcast.scenes.timeline import page
from backcast.scenes.trial import COUNTS, Trial, put

METRICS = ("with R@10", "no R@10", "no mR@10", "object f1", "novel f1")


def parted(clips: Clips, seed: int = 0) -> tuple[Clips, Clips]:
    """(train, test): by their splits where marked, else a fifth of the groups is the test."""
    train = [clip for clip in clips.clips if clip.split == "train"]
    test = [clip for clip in clips.clips if clip.split != "train"]
    if not train or not test:
        held = set(folds(clips.clips, 5, seed)[0])
        train = [clip for i, clip in enumerate(clips.clips) if i not in held]
        test = [clip for i, clip in enumerate(clips.clips) if i in held]
    return Clips(clips.vocabulary, tuple(train)), Clips(clips.vocabulary, tuple(test))


def fit_stage(folder: Path, train: Clips, settings: Settings) -> StageResult:
    """Fits on ``train`` and writes ``model`` into the stage's folder."""
    model = fit(train, settings)
    model.save(folder / "model", {"steps": settings.steps, "seed": settings.seed})
    weights = model.mixture.shares()
    must_act("the two-stage network", sum(w > 0 for row in weights.values() for w in row), 16)
    rows = [[what, *row] for what, row in weights.items()]
    columns = ("weight of the network", "1", "2-3", "4-8", "9+ frames ahead")
    far = Vital(
        "network, 9+ frames ahead",
        weights["objects that come"][-1],
        0.1,
        1.0,
        "weight of stage 1 for objects that come far ahead; 0 is counts only",
    )
    lineage = [f"{settings.parts} members a stage fitted on {len(train.clips)} clips, each on all parts but one"]
    return StageResult(vitals=[far], tables=[Table("Mixture by horizon", columns, rows)], lineage=lineage)


def score_stage(folder: Path, model: TwoStage, train: Clips, test: Clips, fraction: float) -> StageResult:
    """Forecasts the test clips with the model and with counts; gap table, vitals, traces and a timeline."""
    trial = put(test, fraction, {**COUNTS, "two-stage": lambda _: model}, train)
    found = {name: tally(made, trial.asked, test.vocabulary) for name, made in trial.answers.items()}
    own, made = found["two-stage"], trial.answers["two-stage"]
    write_forecasts(folder / "forecast.jsonl", made, test.vocabulary)
    _pages(folder, trial, made, test)
    path = folder / "traces.jsonl"
    path.unlink(missing_ok=True)  # written whole, at once: what an interrupted attempt left is not added to
    TraceLog(path).append(_traces(trial, made, found["two-stage"], test))
    gaps = [_gap(name, own, found[other], f"against {other}") for other in ("persistence", "knn") for name in METRICS]
    line = summary(own.total(), own)
    vitals = [
        Vital("parse failures", float(own.failures), 0, 0, "frames whose text could not be read; not 0: no grammar"),
        Vital("object precision", line["objects"]["precision"], 0.5, None, "low: recall is bought by listing more"),
        Vital("novel-triplet F1", line["novel"]["f1"], 1e-9, None, "0: the last graph is copied"),
        Vital("ECE", line["calibration"]["ece"], None, 0.05, "calibration error of triplet probabilities, 15 bins"),
    ]
    lineage = [f"{len(trial.asked)} clips forecast after {fraction:g} of each; {trial.skipped} leave no future"]
    return StageResult(gaps=gaps, vitals=vitals, tables=[_table(found)], lineage=lineage)


def _gap(name: str, own: Tally, other: Tally, note: str) -> Gap:
    value, base = number(metric(own.total(), name)), number(metric(other.total(), name))
    bounds = interval(own, name, other)
    return Gap("score", f"{name}, {note}", base, value, bounds.low, bounds.high, len(own.ids), paired=True)


def _table(found: Mapping[str, Tally]) -> Table:
    names = (*METRICS, "object precision", "object recall", "appear precision", "appear recall", "brier", "ece")
    rows = [[model, *(number(metric(one.total(), name)) for name in names)] for model, one in found.items()]
    return Table(
        "Every model on the same clips", ("model", *names), rows, "shares; higher is better but for brier, ece"
    )


def _pages(folder: Path, trial: Trial, made: list[GraphForecast], test: Clips) -> None:
    case = max(trial.asked, key=lambda one: len({o for frame in one.future for o in frame.objects}))
    one = next(one for one in made if one.id == case.id)
    write_atomic(folder / "timeline.html", page(one, case.seen, test.vocabulary, case.future))


def _traces(trial: Trial, made: list[GraphForecast], found: Tally, test: Clips) -> list[Trace]:
    traces = []
    for i, (case, one) in enumerate(zip(trial.asked, made, strict=True)):
        sums = {name: value[i].sum(0) for name, value in found.sums.items()}
        parts = {name: number(metric(sums, name)) for name in METRICS}
        score = Score(parts["no R@10"], parts, 1.0)
        traces.append(Trace(f"{case.id}/two-stage", case.id, "scene", _said(one, test), score, _asked(case, test)))
    return traces


def _said(one: GraphForecast, test: Clips) -> str:
    words = test.vocabulary
    lines = []
    for t, index in enumerate(one.index.tolist()):
        names = [f"{words.objects[o]} {one.objects[t, o]:.0%}" for o in one.listed[t].nonzero()[0]]
        lines.append(f"Frame {index}: {', '.join(names) or 'nothing'}")
    return "\n".join(lines)


def _asked(case: Case, test: Clips) -> dict[str, Any]:
    return {"prompt": scene_text(case.seen, test.vocabulary), "truth": scene_text(case.future, test.vocabulary)}


def load_model(folder: Path) -> TwoStage:
    """The model that ``fit_stage`` wrote; raises BadInput when it is not there."""
    if not (folder / "model").is_dir():
        raise BadInput(f"'{folder}' holds no model")
    return TwoStage.load(folder / "model")
