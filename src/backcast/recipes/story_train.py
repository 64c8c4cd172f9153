"""The stages of the story that make a model: the warm start, GRPO with replay and planning credit, packing."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backcast.core.errors import BadInput, InertMethod
from backcast.core.files import write_atomic
from backcast.core.problem import read_jsonl
from backcast.core.run import Plan, Run, StageResult, Table
from backcast.core.vitals import Vital
from backcast.learn.questions import Question, load
from backcast.learn.ranks import share
from backcast.lm.chat import join_thinking
from backcast.recipes import reer
from backcast.recipes.estimate import Work, memory, parameters
from backcast.recipes.packing import PACK_SECONDS, REFERENCE

if TYPE_CHECKING:
    from backcast.recipes.story import Settings


def problems_file(named: str) -> Path:
    """The file of problems that a setting names: a path, or the bundled one."""
    if named == reer.BUNDLED:
        return Path(str(resources.files("backcast.data"))) / "problems" / "problems.jsonl"
    return Path(named)


def problems(settings: "Settings") -> tuple[list[Question], list[Question]]:
    """(to learn from, held out). Raises BadInput for a file that cannot be used, and for problems with images."""
    path = problems_file(settings.problems)
    shown = {turns[0]["content"] for turns in worked(path)}
    sides = load(str(path), settings.grpo.heldout, settings.grpo.seed)
    learn, held = ([question for question in side if question.prompt not in shown] for side in sides)
    if any(question.images for question in (*learn, *held)):
        raise BadInput(f"{path}: the story's model reads text only; problems with images go to backcast run rethinker")
    if len(learn) < settings.grpo.prompts:
        raise BadInput(
            f"{path}: {len(learn)} problems to learn from, but a step takes {settings.grpo.prompts} different ones; "
            "lower --grpo.prompts (and --grpo.micro), or give more problems"
        )
    return learn, held[: settings.grpo.measured]


def worked(path: Path) -> list[list[dict[str, str]]]:
    """The worked problems of a file as conversations: those whose column ``worked`` holds the thinking to the answer.

    The warm start learns from them the form in which problems are answered; they are neither trained on nor judged by
    their answers afterwards. Raises BadInput naming the line.
    """
    found = []
    for number, record in read_jsonl(path):
        thinking = record.get("worked")
        if thinking is None:
            continue
        if not isinstance(thinking, str) or not thinking.strip():
            raise BadInput(f"{path}, line {number}: 'worked' must be a text, found {thinking!r}; leave it out")
        reply = join_thinking(thinking, f"The answer is {record.get('answer')}.")
        found.append([{"role": "user", "content": str(record.get("prompt"))}, {"role": "assistant", "content": reply}])
    return found


def plan_sft(settings: "Settings", rows: int) -> Plan:
    """What the warm start is expected to take."""
    share(settings.sft.batch // settings.sft.device_batch, "sft.batch / sft.device_batch")
    how, short = settings.sft, len(worked(problems_file(settings.problems)))
    work = Work(trained=(rows * 650 + short * 80) * how.epochs, sampled=how.samples * how.sample_tokens)
    room = memory(settings.model, True)
    return Plan("sft", f"{rows} traces, {short} worked problems, {how.method}", work.seconds(settings.model), room)


def plan_grpo(settings: "Settings", learn: Sequence[Question]) -> Plan:
    """What GRPO is expected to take."""
    how = settings.grpo
    share(how.prompts * how.group, "grpo.prompts x grpo.group")
    rows = how.steps * how.prompts * how.group
    asked = sum(len(question.prompt) for question in learn) / len(learn) / 4.3 + 30
    work = Work(sampled=rows * how.longest * 0.6, scored=2 * rows * asked, trained=rows * (asked + how.longest))
    what = f"{how.steps} steps, {rows} answers to {len(learn)} problems"
    return Plan("grpo", what, work.seconds(settings.model), memory(settings.model, True))


def plan_compress(settings: "Settings") -> Plan:
    """What packing is expected to take."""
    seconds = PACK_SECONDS * parameters(settings.model) / REFERENCE / 2
    return Plan("compress", f"{settings.bits} bits a weight, reloaded and compared", seconds, memory(settings.model))


def sft(run: Run, dataset: Path, settings: "Settings") -> Path:
    """The stage ``sft``: a warm start on the found reasoning and the worked problems; returns the model's folder."""
    rows_file, path = dataset / "train.jsonl", problems_file(settings.problems)

    def work(folder: Path) -> StageResult:
        from backcast.learn.sft import Card, train

        rows = [row for _, row in read_jsonl(rows_file)]
        kept = len(rows) - settings.validation
        if kept < 1:
            raise BadInput(
                f"{len(rows)} items were kept by the search, of which --validation takes {settings.validation}"
            )
        data = f"{kept} traces of {Path(settings.pairs).name} (REER)"
        short = [{"messages": turns} for turns in worked(path)]
        also = [f"{len(short)} worked problems of {path.name}"] if short else []
        card = Card("A warm start on found reasoning", settings.model, data=[data, *also])
        found = train([*rows[:kept], *short], settings.model, folder / "model", settings.sft, rows[kept:], card)
        return replace(found, gaps=[replace(gap, stage="sft") for gap in found.gaps])

    mark = {"sft": settings.sft.__dict__, "validation": settings.validation, "model": reer.model_mark(settings.model)}
    return run.stage("sft", work, mark, [rows_file, path]).folder / "model"


def grpo(run: Run, begin: Path, settings: "Settings") -> Path:
    """The stage ``grpo`` on the problems; returns the run's folder ``model``.

    Groups that teach nothing make way for replayed rows (SSR), planning tokens get more credit (HICRA).
    """
    path = problems_file(settings.problems)

    def work(folder: Path) -> StageResult:
        from backcast.learn.stages import train
        from backcast.report.card import Card, card

        questions = problems(settings)
        try:
            found = train(folder, begin, questions, settings.grpo, lambda: _parts(settings), None, _later)
        except InertMethod as error:
            raise InertMethod(f"{error} (planning: --planning 0, where no answer plans)") from None
        data = [f"{len(questions[0])} verifiable problems of {path.name}"]
        about = Card("Taught by verifiable problems (GRPO, SSR, HICRA)", settings.model, data=data)
        lineage = [*run.stages[-2].result.lineage, *found.lineage]
        write_atomic(folder / "model" / "README.md", card(replace(about, lineage=lineage)))
        place = _put(folder / "model", run.folder / "model")
        return replace(found, gaps=(), views=(), outputs={"model": str(place)})

    names = ("grpo", "replay", "planning", "temperature")
    mark = {name: str(getattr(settings, name)) for name in names}
    run.stage("grpo", work, {**mark, "model": reer.model_mark(str(begin))[1:]}, [path])
    return run.folder / "model"


def _parts(settings: "Settings") -> dict[str, Any]:
    from backcast.learn.hicra import PlanningCredit
    from backcast.learn.replay import SampleReplay

    shapers = [SampleReplay(settings.replay, seed=settings.grpo.seed), PlanningCredit(alpha=settings.planning)]
    return {"shapers": shapers, "config": {"temperature": settings.temperature}}


def _later(*_: Any) -> list[bool]:
    """The judgement that follows measures the model, on several answers a problem."""
    return []


def compress(run: Run, model: Path, settings: "Settings") -> Path:
    """The stage ``compress``: the trained model packed, reloaded and compared; returns the run's folder ``packed``."""

    def work(folder: Path) -> StageResult:
        from backcast.compress.job import compress
        from backcast.compress.stream import Job
        from backcast.compress.wgm import preset

        job = Job(model, folder / "model", preset("ours", settings.bits), jobs=settings.jobs, embedding=True)
        figures = compress(job, settings.model)
        place = _put(folder / "model", run.folder / "packed")
        before, after = (figures[key] / 1e6 for key in ("bytes_before", "bytes_after"))
        rows = [["trained", before, None], ["packed", after, figures["true_bits"]]]
        note = "true bits: of the packed weights, scales included"
        return StageResult(
            vitals=[
                Vital(
                    "reload difference",
                    figures["reload_max_difference"],
                    0.0,
                    None,
                    "largest difference of logits between the packed kernels and plain decoding",
                )
            ],
            tables=[Table("Sizes", ["model", "folder, MB", "true bits a weight"], rows, note)],
            lineage=[
                f"{model.name} -> {place.name}: {figures['true_bits']:.2f} true bits a weight (WGM), "
                f"{before:.1f} MB -> {after:.1f} MB",
                f"{place.name} is the file to serve: backcast serve {place}",
            ],
            outputs={**figures, "out": str(place)},
        )

    run.stage("compress", work, {"bits": settings.bits, "model": reer.model_mark(str(model))[1:]})
    return run.folder / "packed"


def _put(made: Path, place: Path) -> Path:
    # The run's models are plain folders at the top; an older one has been set aside with its stage's settings.
    if place.exists():
        shutil.rmtree(place)
    os.replace(made, place)
    return place
