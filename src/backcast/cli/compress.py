"""``backcast compress``: a model folder in fewer bits, honestly counted."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backcast.cli import tables
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Options:
    """WGM, SplitQuant or round to nearest: pack a model, reload it, compare, count the true bits."""

    model: Annotated[str, tyro.conf.Positional]
    """Alias, folder, .gguf or hub id."""
    out: Path
    """The packed model's folder; the same command again goes on from where it stopped."""
    method: Literal["wgm", "splitquant", "rtn"] = "wgm"
    """wgm: groups of magnitudes; splitquant: three clusters with a grid each; rtn: round to nearest, the baseline."""
    plan: str | None = None
    """Whole folder (2.0gb, 120mb) or bits per weight (4.5bits): the best mix of methods, layer by layer."""
    text: Path | None = None
    """With --plan: weigh layers by what their errors do to predictions of this text (default: no data is used)."""
    bits: int = 4
    """Per code, 1 to 8. What is really stored per weight is printed as true bits."""
    preset: Literal["ours", "table", "exact", "paper", "v3"] = "ours"
    """wgm only. ours: levels chosen by codes together, block scales; table: by each code alone, multiplies faster;
    exact: one optimal codebook a tensor; paper, v3: as published."""
    scope: Literal["tensor", "group", "row", "block"] | None = None
    """What shares scales: the tensor, several rows, a row, a block of a row (default: the method's own)."""
    block: int | None = None
    """Weights per block, or with --scope group rows per group (default 64)."""
    solver: Literal["exact", "greedy", "window", "refined"] | None = None
    """wgm only: how magnitudes are grouped (default: the preset's)."""
    window: int | None = None
    """wgm only: of windowed merging (default 64)."""
    lam: float | None = None
    """wgm only: regulariser (default: the preset's); raw values ruin blocks."""
    normalise: bool = False
    """wgm only: lam is t in [0, 1] of the scale-free regulariser."""
    weigh: float | None = None
    """wgm with the exact solver: a weight's error counts |w| to this power (default 0: all alike)."""
    protect: float | None = None
    """wgm only: share of the weights kept exactly (default: the preset's)."""
    clusters: Literal["tensor", "row"] = "tensor"
    """splitquant only: what is clustered together (a convolution's kernels always each by itself, as in V1)."""
    masked: bool = False
    """splitquant only: grids that span their own cluster, without reaching to zero."""
    form: Literal["compact", "sparse", "planes"] = "compact"
    """splitquant only: id and code per weight; sparse: the outer clusters' weights as positions, a little smaller;
    planes: three of them, as published (three times the bits)."""
    embedding: bool = False
    """Pack the input embedding and the output head too, in 8 bits a weight (they dominate small models)."""
    include: tuple[str, ...] = ()
    """Patterns of layer names to compress, such as '*.mlp.*' (default: every linear and convolution layer)."""
    exclude: tuple[str, ...] = ()
    """Patterns of layer names to leave as they are."""
    jobs: int = 1
    """Tensors packed at a time, in processes; the result does not depend on it."""
    check: Literal["auto", "model", "layers"] = "auto"
    """The result is loaded again: the whole model, or one layer at a time; auto takes the second if memory is short."""


def main(options: Options) -> dict[str, Any]:
    """Packs the model and returns the figures."""
    from backcast.compress.job import compress
    from backcast.compress.stream import Job

    if options.jobs < 1:
        raise BadInput(f"--jobs must be at least 1, found {options.jobs}")
    if options.plan is not None:
        return _planned(options)
    if options.text is not None:
        raise BadInput("--text belongs to --plan; leave it out")
    settings = _tried(method_settings(options))
    job = Job(
        _folder(options.model), options.out, settings, options.include, options.exclude, options.jobs, options.check
    )
    job = replace(job, embedding=options.embedding)
    return compress(job, options.model)


def _folder(model: str) -> Path:
    """The model's folder; one whose model reads no text (vision, sound) needs no tokenizer here."""
    import json

    from backcast.lm.models import resolve, weight_files

    path = Path(model).expanduser()
    if path.is_dir() and (path / "config.json").is_file() and weight_files(path):
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            named = json.loads((path / "config.json").read_text()).get("architectures") or ["ForCausalLM"]
            if not any(name.endswith("ForCausalLM") for name in named):
                return path
    return resolve(model)


def _tried(settings: Any) -> Any:
    """The settings, tried on a few numbers: what cannot work is refused before a folder is begun."""
    import numpy as np

    from backcast.compress.stream import encode

    encode(np.linspace(-1, 1, 256, dtype=np.float32).reshape(2, 128), settings, "a trial")
    return settings


def _planned(options: Options) -> dict[str, Any]:
    from backcast.compress import plan_job
    from backcast.compress.score import read_text
    from backcast.compress.stream import Job, Planned

    free = ("model", "out", "plan", "text", "include", "exclude", "jobs", "check", "embedding")
    for name, field in Options.__dataclass_fields__.items():
        if name not in free and getattr(options, name) != field.default:
            raise BadInput(f"--plan chooses methods and bits itself; leave --{name} out")
    asked = plan_job.Asked(options.plan or "", None if options.text is None else read_text(options.text))
    nothing = Planned(asked.record(), {})
    job = Job(
        _folder(options.model), options.out, nothing, options.include, options.exclude, options.jobs, options.check
    )
    job = replace(job, embedding=options.embedding)
    return plan_job.compress_to(job, asked, options.model)


def show(result: dict[str, Any]) -> None:
    """Prints sizes, bits, error and the sample."""
    from rich.table import Table

    table = Table(box=None, show_header=False)
    rows = {
        "true bits per weight": f"{result['true_bits']:.3f} (advertised as {result['claimed_bits']:.3f})",
        "folder": f"{result['bytes_before'] / 1e6:,.1f} MB -> {result['bytes_after'] / 1e6:,.1f} MB",
        "weights packed": f"{result['weights']:,}",
        "relative squared error": f"{result['relative_mse']:.6f}",
        "reloaded, routes differ by": f"{result['reload_max_difference']:.2g}",
        "time": f"{result['seconds']:.1f} s, {result['cpu_seconds']:.1f} CPU-s",
        "left as they were": ", ".join(result["untouched"]) or "no layer",
        "sample": result["sample"] or "none: checked layer by layer",
    }
    if plan := result.get("plan"):
        used = ", ".join(f"{count} {name}" for name, count in plan["layers"].items() if count)
        rows["layers stored as"] = used
        rows["no mix is better by"] = f"more than {100 * plan['gap']:.2g} % in error"
        rows["the choice as a picture"] = plan["report"]
    for name, value in rows.items():
        table.add_row(name, value)
    tables.console().print(table)


def method_settings(options: Options) -> Any:
    """The settings of the chosen method; raises BadInput for a flag that belongs to another."""
    from backcast.compress import rtn, splitquant, wgm

    own = {
        "wgm": {"preset", "solver", "window", "lam", "normalise", "weigh", "protect"},
        "splitquant": {"masked", "form", "clusters"},
        "rtn": set(),
    }
    defaults = {field: Options.__dataclass_fields__[field].default for fields in own.values() for field in fields}
    for method, fields in own.items():
        for field in fields:
            if method != options.method and getattr(options, field) != defaults[field]:
                raise BadInput(f"--{field} belongs to --method {method}, not to {options.method}; leave it out")
    given = {
        name: value
        for name in ("scope", "block", "solver", "window", "lam", "weigh", "protect")
        if (value := getattr(options, name, None)) is not None
    }
    if options.block is not None and options.block < 1:
        raise BadInput(f"--block must be at least 1, found {options.block}")
    if options.method == "wgm":
        settings = wgm.preset(options.preset, options.bits)
        if settings.shared and given.keys() & {"scope", "solver", "window", "lam"}:
            fixed = f"--preset {options.preset} has one scope and one solver"
            raise BadInput(f"{fixed}; add --preset exact, paper or v3 to change them")
        settings = replace(settings, normalise=options.normalise, **given)
        wgm.check_weighing(settings)
        return settings
    if not 1 <= options.bits <= 8:
        raise BadInput(f"bits: '{options.bits}' is outside 1..8")
    if options.method == "splitquant":
        base = splitquant.SplitQuant(options.bits, masked=options.masked, form=options.form, clusters=options.clusters)
        return replace(base, **given)
    return replace(rtn.RTN(options.bits), **given)
