"""``backcast scene score``: how good forecasts are, beside the count models, never without them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Score:
    """How good forecasts are: recall in every mode, objects, novelty, calibration, by horizon, beside the count
    models."""

    clips: Positional[Path]
    """A clips file (see 'backcast scene convert')."""
    model: str
    """persistence, markov, markov+appearance or knn, the folder of a fit, the file of a forecast, or a language model
    as it comes (smollm2, a folder, an endpoint)."""
    beside: tuple[str, ...] = ()
    """More models in the same tables: a language model as it comes beside its fit, say."""
    horizon: float = 0.5
    """Observed share of each clip."""
    compat: Literal["none", "ootsm-with", "scenesayer-with"] = "none"
    """Also rank as a published evaluator does: their two "with constraint" numbers are different metrics."""
    train: Path | None = None
    """Clips to fit count models on; default: the split 'train', else folds of the clips themselves."""
    k: tuple[int, ...] = (10, 20, 50)
    """Recall at these places."""
    threshold: float = 0.5
    """Joint probability from which a triplet counts as forecast (mode multi, F1s)."""
    seen: Path | None = None
    """Also forecast from these graphs of the same clips, captured or detected, and compare with the clean ones."""
    seconds: bool = False
    """Horizon bins in seconds instead of frames."""
    seed: int = 0
    """Of the bootstrap."""


PAIRED = ("with R@10", "no R@10", "no mR@10", "object f1", "novel f1")


def score(options: Score) -> dict[str, Any]:
    """Answers ``backcast scene score``: figures, baselines, and paired differences with intervals over clips."""
    from backcast.scenes.problems import read_clips
    from backcast.scenes.score import MODES, Rules, by_horizon, interval, short_and_long, summary, sweep, tally
    from backcast.scenes.trial import COUNTS, forecaster, put

    _check(options)
    clips = read_clips(options.clips)
    train = read_clips(options.train) if options.train else None
    stored = Path(options.model).is_file()
    asked = [name for name in (*options.beside, options.model) if not Path(name).is_file()]
    fits = {**COUNTS, **{name: forecaster(name, clips) for name in asked}}
    trial = put(clips, options.horizon, fits, train)
    answers = dict(trial.answers)
    if stored:
        answers[options.model] = _stored(options.model, clips, trial.asked)
    compat = () if options.compat == "none" else (options.compat,)
    rules = Rules(tuple(sorted({*options.k})), MODES + compat, options.threshold)
    found = {name: tally(made, trial.asked, clips.vocabulary, rules, options.seconds) for name, made in answers.items()}
    own = found[options.model]
    summaries = {name: summary(one.total(), one) for name, one in found.items()}
    paired = [name for name in PAIRED if "@" not in name or 10 in rules.ks]
    captured = None
    if options.seen is not None:
        if stored:
            raise BadInput("--seen needs a model that forecasts, not the file of a forecast; name the model")
        captured = _captured(options, put(clips, options.horizon, fits, train, read_clips(options.seen)), found, paired)
    return {
        "captured": captured,
        "sweep": sweep(answers[options.model], trial.asked, clips.vocabulary, rules),
        "model": options.model,
        "videos": len(trial.asked),
        "skipped": trial.skipped,
        "parse_failures": own.failures,
        "fitted_on": trial.fitted_on,
        "horizon": options.horizon,
        "threshold": options.threshold,
        "compat": None if options.compat == "none" else options.compat,
        **summaries[options.model],
        "horizons": by_horizon(own, options.seconds),
        "short_and_long": {name: short_and_long(one, options.seconds) for name, one in found.items()},
        "intervals": {name: _bounds(interval(own, name, seed=options.seed)) for name in paired},
        "baselines": {name: line for name, line in summaries.items() if name in COUNTS or name in options.beside},
        "differences": {
            name: {metric: _bounds(interval(own, metric, other, options.seed)) for metric in paired}
            for name, other in found.items()
            if name != options.model
        },
    }


def _captured(options: Score, trial: Any, clean: dict[str, Any], paired: list[str]) -> dict[str, Any]:
    """Every model's figures when it is shown the captured graphs, and the paired differences to the clean ones."""
    from backcast.scenes.score import interval, summary, tally

    first = next(iter(clean.values()))
    found = {
        name: tally(made, trial.asked, first.vocabulary, first.rules, options.seconds)
        for name, made in trial.answers.items()
    }
    return {
        "seen": str(options.seen),
        "models": {name: summary(one.total(), one) for name, one in found.items()},
        "differences": {
            name: {metric: _bounds(interval(one, metric, clean[name], options.seed)) for metric in paired}
            for name, one in found.items()
        },
    }


def _check(options: Score) -> None:
    if not 0 < options.threshold <= 1:
        raise BadInput(f"--threshold {options.threshold}: give a probability above 0, at most 1")
    stored = [name for name in options.beside if Path(name).is_file()]
    if stored:
        raise BadInput(f"--beside {stored[0]}: the file of a forecast; name it as --model, or a model that forecasts")
    if options.model in options.beside:
        raise BadInput(f"--beside {options.model}: that is --model; name other models")
    if not options.k or min(options.k) < 1:
        raise BadInput(f"--k {' '.join(map(str, options.k))}: give whole numbers from 1 on")


def _stored(path: str, clips: Any, asked: list[Any]) -> list[Any]:
    from backcast.scenes.forecast import read_forecasts

    words, made = read_forecasts(path)
    if words != clips.vocabulary:
        raise BadInput(f"{path}: its vocabulary is not that of the clips; forecast these clips")
    by_id = {one.id: one for one in made}
    missing = [case.id for case in asked if case.id not in by_id]
    if missing:
        raise BadInput(
            f"{path}: no forecast of clip '{missing[0]}' ({len(missing)} of {len(asked)} missing); "
            "forecast all clips at the same --horizon"
        )
    return [by_id[case.id] for case in asked]


def _bounds(found: Any) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def show_score(result: dict[str, Any]) -> None:
    """Prints population, the table of modes beside the baselines, sets, calibration, horizons, differences."""
    from rich.table import Table

    out = tables.console()
    out.print(
        f"{result['videos']} clips scored, {result['skipped']} skipped (no future frame), {result['frames']} frames, "
        f"{result['parse_failures']} parse failures; {result['horizon']:g} of each clip observed; "
        f"counts fitted on {result['fitted_on']}"
    )
    rows = {**{name: line for name, line in result["baselines"].items() if name != result["model"]}}
    rows[result["model"]] = result
    table = Table("recall, %", box=None, title="Ranked triplets", title_justify="left", title_style="bold")
    keys = [key for key in next(iter(result["modes"].values())) if not key.startswith("hR")]
    for key in ("mode", *keys):
        table.add_column(key, justify="right")
    for mode in result["modes"]:
        for name, line in rows.items():
            table.add_row(name, mode, *(percent(line["modes"][mode][key]) for key in keys))
    out.print(table)
    _show_short_and_long(out, result, rows)
    _show_sets(out, rows)
    _show_horizons(out, result)
    _show_differences(out, result)
    _show_captured(out, result, rows)
    _show_sweep(out, result)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; a dash when it could not be measured."""
    return "-" if value is None else f"{100 * value:.1f}"


def _show_sets(out: Any, rows: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        "", box=None, title="Sets, and honesty of the probabilities", title_justify="left", title_style="bold"
    )
    for name in ("objects P", "R", "F1", "appear P", "R", "triplets F1", "novel P", "R", "F1", "ECE", "Brier"):
        table.add_column(name, justify="right")
    for name, line in rows.items():
        cells = [line["objects"][key] for key in ("precision", "recall", "f1")]
        cells += [line["appearance"][key] for key in ("precision", "recall")]
        cells += [line["triplets"]["f1"], *(line["novel"][key] for key in ("precision", "recall", "f1"))]
        calibration = [f"{value:.3f}" if value is not None else "-" for value in line["calibration"].values()]
        table.add_row(name, *map(percent, cells), *calibration)
    out.print(table)


def _show_short_and_long(out: Any, result: dict[str, Any], rows: dict[str, Any]) -> None:
    """Recall of every model, near and far, without constraint."""
    from rich.table import Table

    for part, about in result["short_and_long"][result["model"]].items():
        title = f"{part[0].upper()}{part[1:]} ({about['frames']} frames), no constraint"
        table = Table("recall, %", box=None, title=title, title_justify="left", title_style="bold")
        keys = sorted((key for key in about["modes"]["no"] if not key.startswith("hR")), key=lambda key: key[0] != "R")
        for key in keys:
            table.add_column(key, justify="right")
        for name in rows:
            line = result["short_and_long"][name][part]["modes"]["no"]
            table.add_row(name, *(percent(line[key]) for key in keys))
        out.print(table)


def _show_horizons(out: Any, result: dict[str, Any]) -> None:
    from rich.table import Table

    mode = "no"
    k = next(iter(result["modes"][mode])).partition("@")[2]
    table = Table(
        "frames ahead", box=None, title=f"{result['model']} by horizon", title_justify="left", title_style="bold"
    )
    for name in ("frames", f"with R@{k}", f"no R@{k}", "objects F1", "novel F1"):
        table.add_column(name, justify="right")
    for line in result["horizons"]:
        cells = [line["modes"][which][f"R@{k}"] for which in ("with", mode)]
        cells += [line["objects"]["f1"], line["novel"]["f1"]]
        table.add_row(line["horizon"], str(line["frames"]), *map(percent, cells))
    out.print(table)


def _show_differences(out: Any, result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        "minus",
        box=None,
        title=f"{result['model']}, paired over clips, points",
        title_justify="left",
        title_style="bold",
    )
    names = list(result["intervals"])
    for name in names:
        table.add_column(name, justify="right")
    for other, found in result["differences"].items():
        table.add_row(other, *(_bounded(found[name]) for name in names))
    out.print(table)


def _show_sweep(out: Any, result: dict[str, Any]) -> None:
    from rich.table import Table

    title = f"{result['model']}, listing every object of at least a chance"
    table = Table("chance", box=None, title=title, title_justify="left", title_style="bold")
    names = [name for name in result["sweep"][0] if name != "threshold"]
    for name in names:
        table.add_column(name, justify="right")
    for line in result["sweep"]:
        table.add_row(f"{line['threshold']:g}", *(percent(line[name]) for name in names))
    out.print(table)


def _bounded(one: dict[str, float | None]) -> str:
    """A difference in points with its interval."""
    value, low, high = one["value"], one["low"], one["high"]
    if value is None:
        return "-"
    return f"{100 * value:+.1f}" + ("" if low is None or high is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]")


def _show_captured(out: Any, result: dict[str, Any], clean: dict[str, Any]) -> None:
    from rich.table import Table

    if result["captured"] is None:
        return
    found = result["captured"]
    # A title of the table would be folded in the middle of the path.
    out.print(f"Shown {found['seen']} in place of the clean graphs", soft_wrap=True, markup=False)
    table = Table("", box=None)
    names = list(result["intervals"])
    for name in ("graphs", *names):
        table.add_column(name, justify="right")
    for model, line in clean.items():
        shown = found["models"][model]
        table.add_row(model, "clean", *(percent(_figure(line, name)) for name in names))
        table.add_row("", "captured", *(percent(_figure(shown, name)) for name in names))
        cells = [found["differences"][model][name] for name in names]
        bounds = [
            "-" if one["low"] is None else f"[{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]" for one in cells
        ]
        table.add_row("", "difference", *bounds)
    out.print(table)


def _figure(line: dict[str, Any], name: str) -> float | None:
    """A paired metric by its name, from a summary."""
    first, rest = name.split(" ")
    part = line["modes"][first] if "@" in rest else line[{"object": "objects"}.get(first, first)]
    found: float | None = part[rest]
    return found
