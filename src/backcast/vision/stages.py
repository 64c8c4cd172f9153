"""The stages of ``backcast run pixel``: the start, traces, warm start, reinforcement learning, judgement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.run import Curve, Gap, StageResult, Table, View
from backcast.core.stats import wilson
from backcast.core.vitals import Vital, must_act
from backcast.learn.sft.settings import SFTSettings
from backcast.learn.stages import METRIC, Training
from backcast.lm.base import Sampling
from backcast.lm.local_sight import LocalSight
from backcast.vision.attempts import PICTURED, look_trace, warm_trace, write
from backcast.vision.curiosity import Curiosity, CuriosityReward
from backcast.vision.looker.environment import environment
from backcast.vision.looker.loop import Ask, begin
from backcast.vision.looker.settings import LookSettings
from backcast.vision.problems import scenes
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.problems.readers import NO_PLACES
from backcast.vision.score import ARMS, Necessity, ask, necessity, scores
from backcast.vision.warmup.mix import Aim, Kind
from backcast.vision.warmup.traces import WarmTrace, Writer, synthesise

MARK = "<|image_pad|>"
"""The families whose tools' pictures TRL can put into a conversation have this mark (Qwen2-VL to Qwen3-VL)."""


@dataclass(frozen=True)
class Asked:
    """A problem as a training stage asks for it (``learn.questions.Asked``): the prompt as in a conversation."""

    problem: VisualProblem
    settings: LookSettings

    @property
    def id(self) -> str:
        """The problem's id."""
        return self.problem.id

    @property
    def prompt(self) -> str:
        """The question, and how to answer."""
        return self.problem.prompt

    @property
    def answer(self) -> str:
        """The right answer."""
        return self.problem.answer

    @property
    def images(self) -> tuple[Any, ...]:
        """What is shown at first."""
        return tuple(self._opened().turns[-1].pictures)

    def right(self, text: str) -> bool:
        """Whether a reply ends in the right answer."""
        return self.problem.right(text)

    def row(self, chat: bool) -> dict[str, Any]:
        """The row of a data set: the opening of the conversation, the images as shown and as they are."""
        if not chat:
            raise BadInput("looking needs a model with a chat template")
        look = self._opened()
        parts = look.turns[-1].parts
        content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
        return {
            "prompt": [{"role": "user", "content": content}],
            "images": [part for part in parts if not isinstance(part, str)],
            "originals": list(look.desk.media.images),
            "video": look.desk.media.video,
            "problem": self.id,
        }

    def _opened(self) -> Any:
        return begin(Ask(self.problem.media(self.settings.frames), self.problem.prompt, self.id), self.settings)


def open_looker(folder: Path) -> LocalSight:
    """The model of a folder, with a template that TRL knows tools and their pictures in.

    Qwen2.5-VL's own knows none; Qwen3-VL's writes the same marks and takes its place. Raises BadInput for a family
    that TRL cannot show a tool's picture to.
    """
    lm = LocalSight.open(folder, dtype="float32")
    if lm.processor.image_token != MARK:
        raise BadInput(
            f"'{folder}' is of a family whose tools' pictures TRL cannot show while training; give one of Qwen's "
            "(Qwen2-VL, Qwen2.5-VL, Qwen3-VL)"
        )
    if lm.results != "tool":
        lm.processor.chat_template = lm.tokenizer.chat_template = template()
        lm = LocalSight(lm.model, lm.processor, lm.name, lm.fingerprint)
    return lm


def template() -> str:
    """Qwen3-VL's chat template, in the words that TRL knows."""
    from importlib import resources

    return (resources.files("trl") / "chat_templates" / "qwen3_vl.jinja").read_text(encoding="utf-8")


def measurer(
    problems: Mapping[str, VisualProblem], settings: LookSettings
) -> Callable[[Path, Path, Sequence[Any], Training], list[bool]]:
    """``learn.stages.measure`` with tools: greedy conversations about the held-out problems."""

    def measured(folder: Path, model: Path, held: Sequence[Any], training: Training) -> list[bool]:
        asked = [problems[one.id] for one in held[: training.measured]]
        return measure(folder, open_looker(model), asked, settings)

    return measured


def measure(folder: Path, lm: LocalSight, held: Sequence[VisualProblem], settings: LookSettings) -> list[bool]:
    """Which problems a model answers right with its tools; its conversations become the stage's traces."""
    looks = ask(lm, held, settings, Sampling(0.0))
    values = scores(looks, held)
    rows = zip(looks, held, values, strict=True)
    write(folder / "traces.jsonl", [look_trace(*row, n < PICTURED) for n, row in enumerate(rows)])
    return [value >= 0.5 for value in values]


def start(folder: Path, model: Path, held: Sequence[VisualProblem], settings: LookSettings) -> StageResult:
    """The model before any training, measured with its tools."""
    rights = measure(folder, open_looker(model), held, settings)
    share = wilson(sum(rights), len(rights))
    return StageResult(
        gaps=[gap("start", None, share)],
        views=[View("look", f"{folder.name}/traces.jsonl")],
        outputs={"model": str(model), "accuracy": share.value},
    )


def gap(stage: str, baseline: float | None, share: Any) -> Gap:
    """One row of the gap table: 1 - accuracy with tools."""
    value, low, high = (None if x is None else 1 - x for x in (share.value, share.high, share.low))
    return Gap(stage, METRIC, None if baseline is None else 1 - baseline, value, low, high, n=share.n)


@dataclass(frozen=True)
class Lessons:
    """What warm-start traces are made from, the same whenever they are made."""

    problems: Sequence[VisualProblem]
    settings: LookSettings
    seed: int
    mixes: Mapping[str, Mapping[Kind, float]] | None
    aim: Aim | None
    writer: Writer | None = None

    def make(self) -> tuple[list[WarmTrace], list[str]]:
        """(traces, notes). Raises BadInput if not one problem says where its answer is to be seen."""
        traces, notes = synthesise(
            self.problems, self.writer, self.settings, self.seed, self.mixes, self.aim, scenes.plain
        )
        if not traces:
            raise BadInput(NO_PLACES)
        return traces, notes


def traces(folder: Path, lessons: Lessons, lm: LocalSight) -> StageResult:
    """The warm-start traces, with what is learnt of each, token by token."""
    made, notes = lessons.make()
    write(folder / "traces.jsonl", [warm_trace(one, lm, n < PICTURED) for n, one in enumerate(made)])
    kinds = sorted({one.kind for one in made})
    counts = [sum(one.kind == kind for one in made) for kind in kinds]
    return StageResult(
        tables=[
            Table(
                "Warm-start traces",
                ["kind", "traces", "share"],
                [[kind, count, count / len(made)] for kind, count in zip(kinds, counts, strict=True)],
                "; ".join(notes[:3]) + (f"; and {len(notes) - 3} more notes" if len(notes) > 3 else ""),
            )
        ],
        views=[View("warm", f"{folder.name}/traces.jsonl")],
        outputs={"traces": len(made), "notes": notes},
    )


def warm(
    folder: Path,
    model: Path,
    lessons: Lessons,
    held: Sequence[VisualProblem],
    settings: SFTSettings,
    frozen: bool,
    baseline: float | None,
) -> StageResult:
    """Supervised training on the traces, then measured with tools; goes on from its last checkpoint."""
    from backcast.core.progress import Progress
    from backcast.learn.sft import trainer as sft
    from backcast.vision.warmup.fit import trainer as warm_trainer

    lm, (made, _) = open_looker(model), lessons.make()
    if frozen:
        _tower(lm.model).requires_grad_(False)
    with sft.quiet(), Progress("warm start, steps", sft.steps(settings, len(made))) as progress:
        learner = warm_trainer(lm, made, settings, folder / "checkpoints")
        before = sft.norms(learner)
        sft.fit(learner, settings, progress)
        moved = sum(a != b for a, b in zip(before, sft.norms(learner), strict=True))
        must_act("warm start", moved, len(before))
    log = [[float(row["step"]), float(row["loss"])] for row in learner.state.log_history if "loss" in row]
    _tower(lm.model).requires_grad_(True)
    sft.save(learner, model, folder / "model", settings, model.name)
    lm.processor.save_pretrained(folder / "model")
    rights = measure(folder, open_looker(folder / "model"), held, lessons.settings)
    share = wilson(sum(rights), len(rights))
    return StageResult(
        gaps=[gap("warm", baseline, share)],
        curves=[Curve("Warm start", "step", "nats a token", {"loss": log})],
        views=[View("look", f"{folder.name}/traces.jsonl")],
        lineage=[f"warm: {len(made)} traces, {settings.epochs:g} epochs, from {model.parent.name}"],
        outputs={"model": str(folder / "model"), "accuracy": share.value},
    )


def _tower(model: Any) -> Any:
    """The part of a vision-language model that sees."""
    inner = model.model
    return inner.visual if hasattr(inner, "visual") else inner.vision_model


@dataclass(frozen=True)
class Reinforced:
    """What a stage of reinforcement learning needs besides the model."""

    learn: Sequence[VisualProblem]
    held: Sequence[VisualProblem]
    settings: LookSettings
    training: Training
    curiosity: Curiosity | None
    """None: right or wrong alone, the paper's ablation."""


def reinforce(folder: Path, model: Path, what: Reinforced, baseline: float | None) -> StageResult:
    """GRPO with tools, with curiosity or without; goes on from its last checkpoint.

    Raises InertMethod if a bonus was due and was never paid.
    """
    from backcast.learn.stages import train

    problems = {problem.id: problem for problem in (*what.learn, *what.held)}

    def correct(completions: Sequence[Any], problem: Sequence[str], **_: Any) -> list[float]:
        from backcast.learn.rewards import content

        return [float(problems[id].right(content(one))) for one, id in zip(completions, problem, strict=True)]

    settings, training = what.settings, what.training
    # Without curiosity the same counts are kept, and nothing is paid: alpha and beta are 0.
    curiosity = CuriosityReward(correct, training.group, what.curiosity or Curiosity(alpha=0.0, beta=0.0))
    parts = {
        "reward_funcs": curiosity,
        "environment_factory": environment(settings),
        "config": {
            "max_tool_calling_iterations": settings.calls + 1,
            "generation_kwargs": {"max_new_tokens": settings.reply_tokens},
        },
    }
    sets = tuple([Asked(one, settings) for one in some] for some in (what.learn, what.held))
    found = train(folder, model, sets, training, lambda: parts, baseline, measurer(problems, settings))  # type: ignore[arg-type]
    if what.curiosity:
        must_act("curiosity", curiosity.sums.due - curiosity.sums.unpaid, curiosity.sums.due)
    # Without curiosity nothing is to be paid, so that nothing unpaid is no alarm.
    vitals = [vital for vital in found.vitals if what.curiosity or vital.name != "curiosity/unpaid"]
    return replace(found, vitals=vitals, views=[View("look", f"{folder.name}/traces.jsonl")])


def judge(folder: Path, model: Path, held: Sequence[VisualProblem], settings: LookSettings) -> StageResult:
    """Tools on, off, and bringing a random part, grey, or the right part: is it the looking?"""
    lm = open_looker(model)
    table = necessity(lm, held, settings, Sampling(0.0))
    rows = zip(table.looks, held, scores(table.looks, held), strict=True)
    write(folder / "traces.jsonl", [look_trace(*row, n < PICTURED) for n, row in enumerate(rows)])
    return StageResult(
        gaps=_gaps(table),
        vitals=_vitals(table),
        tables=[_table(table)],
        views=[View("look", f"{folder.name}/traces.jsonl")],
        outputs={"necessity": table.rows()},
    )


def _gaps(table: Necessity) -> list[Gap]:
    on, off = table.arms[0].score, table.arms[1].score
    baseline, value, low, high = (None if x is None else 1 - x for x in (off.value, on.value, on.high, on.low))
    return [Gap("judge", "1 - accuracy, tools on against off", baseline, value, low, high, n=on.n)]


def _vitals(table: Necessity) -> list[Vital]:
    arms = dict(zip(ARMS, table.arms, strict=True))
    on, random_part = arms["on"], arms["random"]
    return [
        Vital(
            "judge/looked", on.looked, 0.05, None, "Share of conversations with a call; near 0 the tools are given up."
        ),
        Vital("judge/errors", on.errors, 0, 0.5, "Share of calls that failed."),
        Vital(
            "judge/random",
            random_part.against_on.value,
            0.0,
            None,
            "Accuracy that is lost when the tools bring a random part; at 0 the model does not need what it asks for.",
        ),
    ]


def _table(table: Necessity) -> Table:
    rows = [
        [
            arm.name,
            arm.score.value,
            arm.score.low,
            arm.score.high,
            arm.looked,
            arm.calls,
            arm.errors,
            arm.without_answer,
        ]
        for arm in table.arms
    ]
    columns = ["tools", "accuracy", "low", "high", "looked", "calls", "failed calls", "no answer"]
    note = (
        "The same problems, greedy. on: as they are; off: none; random, blank, oracle: what a call brings is replaced."
    )
    return Table("Is it the looking?", columns, rows, note)
