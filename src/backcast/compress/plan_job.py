"""``backcast compress --plan``: measure, choose, pack, account for every byte of the folder, draw the choice."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from backcast.compress import shards
from backcast.compress.guard import VERSION
from backcast.compress.job import compress, finished_before, folder_bytes
from backcast.compress.layout import Layout
from backcast.compress.model import Layers, read_config
from backcast.compress.plan import AS_IT_IS, CANDIDATES, Budget, Choices, Measured, Plan, measure, parse_budget
from backcast.compress.sensitivity import PROBE, factors
from backcast.compress.shards import source_shards
from backcast.compress.stream import (
    VOCABULARY,
    Job,
    Planned,
    begin,
    find_targets,
    find_vocabulary,
    fingerprint,
    small_files,
)
from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import write_atomic

CARD = 4096
"""Room for what a card says besides the names of layers, and for the sample."""

FIGURES = 8192
"""Room for what the record of a job says besides its tensors: paths, figures, the sample again."""


@dataclass(frozen=True)
class Asked:
    """What a plan is asked for."""

    budget: str
    text: str | None = None
    """What layers are weighed on; None: every layer's relative error counts the same."""

    def record(self) -> dict[str, Any]:
        """What the plan depends on, besides the model."""
        sha256 = None if self.text is None else hashlib.sha256(self.text.encode()).hexdigest()
        return {"budget": self.budget, "text_sha256": sha256}


def compress_to(job: Job, asked: Asked, title: str) -> dict[str, Any]:
    """Compresses a model to a budget and returns the figures of ``compress``, with ``plan`` beside them.

    ``job.settings`` is ignored. A page with the plane of bits and error is written beside the folder, as
    ``<out>.plan.html``. Raises BadInput for a budget that is no size or below the minimum, which it states.
    """
    budget = parse_budget(asked.budget)
    job = replace(job, settings=Planned(asked.record(), {}))
    finished = finished_before(job)
    if finished is not None:
        return finished
    read_config(job.source)
    targets, layers = find_targets(job)
    work = begin(job)
    folder = work / _name(job)
    measured = measure(targets, folder, job.jobs)
    weighed = None if asked.text is None else factors(job.source, targets, asked.text, folder)
    rest = 0 if budget.bytes is None else _rest(job, layers, measured)
    choices = Choices(measured, weighed, {} if budget.bytes is None else {m.name: _told(m) for m in measured})
    try:
        plan = _best(budget, choices, rest, hint=bool(layers.vocabulary) and not job.embedding)
    except BadInput:
        (work / "job.json").unlink()  # so that the next command may ask for more; what was measured stays
        raise
    page = job.out.with_name(f"{job.out.name}.plan.html")
    write_atomic(page, draw(title, budget, choices, plan))
    told = {
        "budget": budget.text,
        "bits": plan.bits,
        "error": plan.solution.error,
        "gap": plan.solution.gap,
        "layers": {name: sum(pick == name for pick in plan.picks.values()) for name in choices.names},
        "weighed_on": "a text" if asked.text else "the weights alone",
        "report": str(page),
    }
    figures = compress(replace(job, settings=Planned(asked.record(), plan.layers)), title, {"plan": told})
    size = folder_bytes(job.out)
    if budget.bytes is not None and size > budget.bytes:
        raise WorkFailed(f"'{job.out}' has {size} bytes, more than the {budget.bytes} planned; report this")
    return figures


def _name(job: Job) -> str:
    """A folder for what does not depend on the budget: the model, the form of storage, the candidates."""
    seen = [VERSION, fingerprint(job.source), repr(CANDIDATES), repr(PROBE)]
    return f"measured-{hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]}"


def _best(budget: Budget, choices: Choices, rest: int, *, hint: bool) -> Plan:
    weights = sum(m.weights for m in choices.measured)
    most = budget.bytes - rest if budget.bytes is not None else int((budget.bits or 0) * weights / 8)
    plan = choices.best(most)
    if plan is not None and plan.layers:
        return plan
    if plan is not None:
        raise BadInput(
            f"the model fits {budget.text} as it is: nothing to compress; give less, or use the model itself"
        )
    if budget.bytes is not None:
        least = (
            f"{-(-(rest + choices.least) // 10_000) / 100:.2f}mb, of which {rest / 1e6:.2f}mb are layers not planned"
        )
    else:
        least = f"{8 * choices.least / weights + 0.0005:.3f}bits"
    more = " (--embedding packs the words too)" if hint and budget.bytes is not None else ""
    raise BadInput(f"--plan {budget.text} is below the least that this model can be: {least}; give that or more{more}")


def _told(layer: Measured) -> dict[str, int]:
    """Bytes of text that each choice takes: in the header, in config.json, in the record, in the card. Upper bounds."""
    stays = len(layer.name)
    found = {AS_IT_IS: (stays + 100) + 2 * (stays + 100)}
    for name in CANDIDATES:
        found[name] = _text(layer.name, layer.layouts[name])
    return found


def _text(name: str, layout: Layout) -> int:
    base = name.removesuffix("weight")
    header = sum(len(_header(base + key, shape)) for key, (_, shape) in layout.shapes().items())
    return header + 2 * _indented(base, layout) + 500


def _header(name: str, shape: Sequence[int]) -> str:
    far = 10**13
    return json.dumps({name: {"dtype": "BF16", "shape": list(shape), "data_offsets": [far, far]}})


def _indented(name: str, layout: Layout) -> int:
    lines = json.dumps({name: layout.to_dict()}, indent=2)
    return len(lines) + 6 * (lines.count("\n") + 1)


def _rest(job: Job, layers: Layers, measured: Sequence[Measured]) -> int:
    """Bytes of everything in the folder that the plan has no say in."""
    planned = {layer.name for layer in measured}
    paths = source_shards(job.source)
    entries = [entry for path in paths for entry in shards.read_header(path)[0]]
    others = [entry for entry in entries if entry.name not in planned]
    about = sum(len(json.dumps(shards.read_header(path)[1])) + 64 for path in paths)
    packed = {entry.name for entry in find_vocabulary(job, layers)}
    tensors = sum(entry.size + len(_header(entry.name, entry.shape)) for entry in others if entry.name not in packed)
    for entry in others:
        if entry.name in packed:
            layout = Layout(entry.shape[0], entry.shape[1], "affine", VOCABULARY.bits, VOCABULARY.scope)
            tensors += layout.bytes() + _text(entry.name, layout)
    index = 0
    if len(paths) > 1:
        longest = max(len(path.name) for path in paths)
        # Up to eight stored tensors a layer, each with its line.
        index = sum((8 if entry.name in planned else 1) * (len(entry.name) + longest + 24) for entry in entries) + 256
    config = len((job.source / "config.json").read_bytes()) + 1024
    kept = 3 * sum(len(name) + len(why) + 16 for name, why in layers.untouched.items())
    kept += sum(len(name) + len(module) + 32 for name, module in layers.modules.items())
    small = sum(path.stat().st_size for path in small_files(job.source))
    return about + tensors + index + config + kept + small + CARD + FIGURES


def draw(title: str, budget: Budget, choices: Choices, plan: Plan) -> str:
    """The page: the plane of bits and error with every uniform choice, the best mixes, and the one chosen."""
    from backcast.report.plane import Plane, Point, page

    weights, many = sum(m.weights for m in choices.measured), len(CANDIDATES)
    costs = sum(m.before for m in choices.measured)
    uniform = [Point(name, *choices.uniform(name)) for name in CANDIDATES]
    low = choices.least
    mixes = []
    for step in range(25):
        found = choices.best(low + (costs - low) * step // 48)
        if found is not None:
            mixes.append((found.bits, found.solution.error))
    rows = [
        [m.name.removesuffix(".weight"), plan.picks[m.name], *_row(m, plan.picks[m.name])] for m in choices.measured
    ]
    return page(
        Plane(
            title=f"{title} in {budget.text}",
            note=f"{weights:,} weights in {len(rows)} layers, each measured by itself with {many} candidates.",
            x="stored bits per weight",
            y="error, summed over layers (relative, weighted)",
            points=uniform,
            front=sorted(set(mixes)),
            chosen=Point("this plan", plan.bits, plan.solution.error),
            columns=["layer", "stored as", "bits", "relative error"],
            rows=rows,
        )
    )


def _row(layer: Measured, pick: str) -> list[Any]:
    return [8 * layer.bytes(pick) / layer.weights, layer.error(pick)]
