"""Pixel Reasoner (2505.15966): warm start on put-together traces, curiosity-driven GRPO with tools, and a judgement."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backcast.core.errors import BadInput
from backcast.core.params import bounded
from backcast.core.run import Plan, Run, Stage, StageResult
from backcast.learn.sft.settings import SFTSettings
from backcast.learn.stages import Training, check_size
from backcast.recipes.estimate import Work, check, memory
from backcast.vision.beginner.settings import SCENES, Eye, Point
from backcast.vision.curiosity import Curiosity
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.problems.scenes import Scenes

if TYPE_CHECKING:
    from backcast.vision.stages import Lessons

FILES, MODELS = ("problems",), ("model", "writer")
GENERATED = "scenes"
"""Instead of a file or a model: generated scenes, and a small model that is made here."""
WARM = SFTSettings(learning_rate=1e-3, epochs=4.0, batch=16, device_batch=16, warmup=0.03, dtype="float32", samples=0)
"""For the small model; the paper's are a rate of 1e-6, a batch of 128 and 10 % of warm-up, the authors' 5 epochs."""
TRAIN = Training(
    steps=30,
    prompts=8,
    group=8,
    micro=64,
    learning_rate=1e-5,
    clip_high=0.35,
    longest=400,
    measured=200,
    save_every=5,
)
"""8 answers a question and clipping at 0.2 and 0.35 are the authors'; the rest is ours, for the small model."""


@dataclass(frozen=True)
class Settings:
    """Pixel Reasoner: look before you answer."""

    problems: str = GENERATED
    """JSON Lines of {id?, prompt, answer, kind?, image or images or video, box?, moments?}, as the docs page says;
    "scenes": generated scenes. Traces are made from those with a box (videos: moments)."""
    model: str = GENERATED
    """A vision-language model of Qwen's family: folder or hub id; "scenes": a small model, made here."""
    writer: str | None = None
    """Writes the two analyses of each trace: a vision-language model or a server (the paper: GPT-4o); none: by rule."""
    mistakes: bool = True
    """Traces with mistakes that get corrected, in the paper's shares; without: its ablation."""
    frozen: bool = True
    """The warm start leaves the vision tower as it is (the authors' script)."""
    control: bool = True
    """Train without curiosity first, from the same warm start: the paper's ablation, and the baseline."""
    scenes: Scenes = field(default_factory=lambda: SCENES)
    """How scenes are generated (problems = "scenes")."""
    count: int = 2_000
    """Scenes that are generated to learn from; a share of as many again is held out (problems = "scenes")."""
    eye: Eye = field(default_factory=Eye)
    """How the small model's eye is taught (model = "scenes")."""
    point: Point = field(default_factory=Point)
    """How the small model is taught where to look before the warm start (model = "scenes")."""
    warm: SFTSettings = field(default_factory=lambda: WARM)
    """The warm start."""
    curiosity: Curiosity = field(default_factory=Curiosity)
    """The reward; the paper's constants."""
    train: Training = field(default_factory=lambda: TRAIN)
    """GRPO, with curiosity and without; its held-out share is what everything is measured on."""
    reply_tokens: int = 2_048
    """Most tokens of one reply (paper); a small model's are 48."""

    def __post_init__(self) -> None:
        bounded(self, "count", 8)
        bounded(self, "reply_tokens", 1)
        if self.train.lora:
            raise ValueError(f"train.lora is not for models that look yet, found {self.train.lora}; set it to 0")
        if self.warm.method != "full":
            raise ValueError(f"warm.method must be 'full' for models that look, found '{self.warm.method}'")


def plan(settings: Settings) -> list[Plan]:
    """What the stages are expected to take; raises BadInput for inputs that cannot be used."""
    small = settings.model == GENERATED
    if small and settings.problems != GENERATED:
        raise BadInput("the small model knows generated scenes alone; give --model, or leave --problems out")
    learn, held = problems(settings)
    check_size(len(learn), settings.train)
    if not any(problem.box is not None or problem.moments for problem in learn):
        from backcast.vision.problems.readers import NO_PLACES

        raise BadInput(NO_PLACES)
    if not small:
        check(settings.model)
    training, rows = settings.train, settings.train.steps * settings.train.prompts * settings.train.group
    measured = min(len(held), training.measured)
    learnt = settings.warm.epochs * len(learn)
    if small:
        times = [
            settings.eye.steps * settings.eye.batch * 0.006
            + settings.point.steps * settings.point.batch * 0.03
            + measured * 0.05,
            learnt * 0.02,
            rows * 0.05,
            measured * 0.25,
        ]
        room, work = 1.5, 1.5
    else:
        tokens = training.longest
        each = [
            Work(scored=measured * 600),
            Work(trained=learnt * 1500),
            Work(sampled=rows * tokens * 0.5, trained=rows * tokens),
            Work(scored=measured * 3000),
        ]
        times = [one.seconds(settings.model) for one in each]
        room, work = memory(settings.model), memory(settings.model, True)
    lines = [
        Plan(
            "start", "small model made, its eye taught" if small else f"{measured} held-out questions", times[0], room
        ),
        Plan("traces", f"from {len(learn)} questions", len(learn) * 0.02, room),
        Plan("warm", f"{settings.warm.epochs:g} epochs of traces", times[1], work),
    ]
    names = ["plain", "curious"] if settings.control else ["curious"]
    lines += [Plan(name, f"{rows} conversations", times[2], work) for name in names]
    return [*lines, Plan("judge", f"{measured} questions asked five ways", times[3], room)]


def problems(settings: Settings) -> tuple[list[VisualProblem], list[VisualProblem]]:
    """(to learn from, held out)."""
    from backcast.vision.problems.scenes import generate

    training = settings.train
    if settings.problems == GENERATED:
        held = max(1, round(settings.count * training.heldout))
        return generate(settings.count, settings.scenes, training.seed), generate(
            min(held, training.measured), settings.scenes, -1 - training.seed
        )
    from backcast.vision.problems.readers import read_problems, split

    return split(read_problems(settings.problems), training.heldout, training.seed)


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """``start``, ``traces``, ``warm``, ``plain`` (control), ``curious`` and ``judge``."""
    from backcast.vision import stages

    learn, held = problems(settings)
    held = held[: settings.train.measured]
    look, files = _looking(settings), _files(settings, [*learn, *held])
    first = _start(run, settings, held, files)
    begun = Path(first.result.outputs["model"])
    lessons = _lessons(settings, learn, look)
    marks = [settings.writer, settings.mistakes, settings.scenes, settings.count, settings.train.seed, look]
    run.stage(
        "traces", lambda folder: stages.traces(folder, lessons, stages.open_looker(begun)), marks, [begun, *files]
    )
    start = first.result.outputs["accuracy"]
    warm = run.stage(
        "warm",
        lambda folder: stages.warm(folder, begun, lessons, held, settings.warm, settings.frozen, start),
        [marks, settings.warm, settings.frozen, settings.train.heldout, settings.train.measured, start],
        [begun, *files],
    )
    accuracies = {"start": start, "warm": warm.result.outputs["accuracy"]}
    baseline = accuracies["warm"]
    from_warm = Path(warm.result.outputs["model"])
    for name in ["plain", "curious"] if settings.control else ["curious"]:
        curiosity = settings.curiosity if name == "curious" else None
        what = stages.Reinforced(learn, held, look, settings.train, curiosity)
        stage = run.stage(
            name,
            lambda folder, what=what, against=baseline: stages.reinforce(folder, from_warm, what, against),  # type: ignore[misc]
            [marks, settings.train, curiosity, baseline],
            [from_warm, *files],
        )
        baseline = accuracies[name] = stage.result.outputs["accuracy"]
    model = Path(stage.result.outputs["model"])
    judged = run.stage("judge", lambda folder: stages.judge(folder, model, held, look), [marks], [model, *files])
    return {"accuracy": accuracies, "necessity": judged.result.outputs["necessity"], "model": str(model)}


def _start(run: Run, settings: Settings, held: list[VisualProblem], files: list[Path]) -> Stage:
    """The stage ``start``: the model before training, made here if it is the small one, measured with its tools."""
    from backcast.recipes.reer import model_mark

    look = _looking(settings)
    mark: list[Any] = [look, settings.train.heldout, settings.train.measured, settings.train.seed]

    def work(folder: Path) -> StageResult:
        from backcast.lm.models import resolve
        from backcast.vision import stages

        if settings.model != GENERATED:
            return stages.start(folder, resolve(settings.model), held, look)
        from backcast.vision.beginner.begin import begin_small

        return begin_small(folder, settings.scenes, (settings.eye, settings.point), held, settings.train.seed)

    small = settings.model == GENERATED
    mark += [settings.scenes, settings.eye, settings.point, settings.count] if small else [model_mark(settings.model)]
    return run.stage("start", work, mark, files)


def _looking(settings: Settings) -> Any:
    from dataclasses import replace

    from backcast.vision.beginner.begin import looking
    from backcast.vision.looker.settings import PRESETS

    if settings.model == GENERATED:
        return looking()
    return replace(PRESETS["strict"], reply_tokens=settings.reply_tokens)


def _lessons(settings: Settings, learn: list[VisualProblem], look: Any) -> "Lessons":
    from backcast.vision.beginner.settings import AIM
    from backcast.vision.stages import Lessons
    from backcast.vision.warmup.mix import IMAGE, UNCORRECTED, VIDEO, untooled
    from backcast.vision.warmup.traces import ModelWriter

    small = settings.model == GENERATED
    image = IMAGE if settings.mistakes else UNCORRECTED
    video = VIDEO if settings.mistakes else {**VIDEO, "single-pass": 1.0, "reselect": 0.0}
    mixes = {"image": untooled(image) if small else image, "video": video}
    writer = None
    if settings.writer:
        from backcast.lm.sight import load

        writer = ModelWriter(load(settings.writer))
    return Lessons(learn, look, settings.train.seed, mixes, AIM if small else None, writer)


def _files(settings: Settings, used: list[VisualProblem]) -> list[Path]:
    if settings.problems == GENERATED:
        return []
    return [Path(settings.problems), *dict.fromkeys(file for problem in used for file in problem.files)]
