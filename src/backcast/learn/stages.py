"""Stages of a run that trains on verifiable questions: where a model starts, and what a method makes of it."""

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.problem import Score
from backcast.core.progress import Progress
from backcast.core.run import Curve, Gap, StageResult, View
from backcast.core.stats import wilson
from backcast.core.trace import Trace, TraceLog
from backcast.core.vitals import Vital
from backcast.learn import ranks
from backcast.learn.questions import WORLD, Asked, correct
from backcast.learn.seeing import answers, opened, sees
from backcast.lm.base import Completion, Prompt, Sampling

METRIC = "1 - accuracy, held out"
Measure = Callable[[Path, Path, Sequence[Any], "Training"], list[bool]]
"""Which held-out questions a model answers right, from (stage folder, model, questions, settings); it also writes the
answers as ``traces.jsonl`` of the stage folder."""

SMALL = 50_000_000
"""Weights up to which activations are kept: reading everything a second time would cost a third of a step."""


@dataclass(frozen=True)
class Training:
    """How one method is trained; the defaults fit the small world on one core."""

    steps: int = 40
    """Optimiser steps."""
    prompts: int = 16
    """Prompts a step."""
    group: int = 8
    """Answers to each prompt (8 in the VL-Rethinker paper; HICRA's does not say)."""
    micro: int = 128
    """Answers in one backward pass; the rest of a step is accumulated."""
    learning_rate: float = 3e-4
    """Constant. 1e-6 is VL-Rethinker's for 7 to 72 billion parameters."""
    clip_high: float = 0.28
    """How far an importance ratio may rise above 1; down it is 0.2 (DAPO's 0.2 and 0.28, ours for HICRA, whose paper
    says clip-higher without a value; VL-Rethinker's code: 0.2 and 0.35)."""
    longest: int = 24
    """Most tokens in an answer."""
    lora: int = 0
    """Rank of a LoRA adapter on all linear layers; 0 trains every weight."""
    heldout: float = 0.2
    """Share of questions held out for measuring."""
    measured: int = 400
    """Most held-out questions used."""
    save_every: int = 20
    """Steps between checkpoints, which a killed run goes on from."""
    warm: int = 600
    """Steps of the small world's warm-up, after which about 40 % of its answers are right."""
    seed: int = 0
    """Of data order, sampling and every part."""

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(f"group must be at least 2, found {self.group}: one answer has nothing to compare with")
        counts = ("steps", "prompts", "micro", "longest", "save_every", "measured", "warm")
        if min(getattr(self, name) for name in counts) < 1:
            raise ValueError("steps, prompts, micro, longest, save-every, measured and warm must be at least 1")
        if not 0 < self.heldout < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                "heldout must lie between 0 and 1 and learning-rate be above 0, "
                f"found {self.heldout} and {self.learning_rate}"
            )
        if min(self.lora, self.seed, self.clip_high) < 0:
            raise ValueError(
                f"lora, seed and clip-high must be at least 0, found {self.lora}, {self.seed} and {self.clip_high}"
            )
        if self.prompts * self.group % min(self.micro, self.prompts * self.group):
            raise ValueError(f"micro must divide prompts x group = {self.prompts * self.group}, found {self.micro}")


def start(folder: Path, model: str, held: Sequence[Asked], training: Training) -> StageResult:
    """The model to begin with, measured; ``world`` is made and warmed up here, anything else is resolved."""
    from backcast.learn import world
    from backcast.lm.models import resolve

    made = folder / "model"
    if model == WORLD and not (made / "tokenizer.json").exists():
        world.warm_start(made, training.seed, training.warm)
    home = made if model == WORLD else resolve(model)
    measured = measure(folder, home, held, training)
    share = wilson(sum(measured), len(measured))
    room = Vital(
        "start/accuracy",
        share.value,
        0.02,
        0.95,
        "Accuracy before training; near 0 or 1 there is nothing to learn from.",
    )
    gap = Gap("start", METRIC, None, *_missed(share), n=share.n)
    return StageResult(
        gaps=[gap],
        vitals=[room],
        views=[View("answer", f"{folder.name}/traces.jsonl")],
        outputs={"model": str(home), "accuracy": share.value},
    )


def train(
    folder: Path,
    begin: Path,
    questions: tuple[Sequence[Asked], Sequence[Asked]],
    training: Training,
    parts: Callable[[], Mapping[str, Any]],
    baseline: float | None,
    measured: Measure | None = None,
) -> StageResult:
    """Trains a model with ``parts`` (given to GroupTrainer), saves it in ``folder/model`` and measures it.

    A killed training goes on from its last checkpoint. ``baseline`` is the accuracy that the gap is set against. Among
    the parts may be ``reward_funcs``, which read the columns of the questions' rows (by default: right or not), and
    ``config``, further values of ``GRPOConfig``. ``measured`` takes the place of ``measure``. BadInput for too few
    questions for one step.
    """
    learn, held = questions
    check_size(len(learn), training)
    log, vitals = ranks.together(lambda: _fit(folder, begin, learn, training, parts))
    gc.collect()
    rights = (measured or measure)(folder, folder / "model", held, training)
    share = wilson(sum(rights), len(rights))
    method = folder.name.split("-", 1)[1]
    return StageResult(
        gaps=[Gap(method, METRIC, None if baseline is None else 1 - baseline, *_missed(share), n=share.n)],
        vitals=vitals,
        curves=curves(log, method),
        views=[View("answer", f"{folder.name}/traces.jsonl")],
        lineage=[
            f"{method}: {training.steps} steps of {training.prompts} x {training.group} answers from {begin.name}"
        ],
        outputs={"model": str(folder / "model"), "accuracy": share.value},
    )


def _fit(
    folder: Path,
    begin: Path,
    learn: Sequence[Asked],
    training: Training,
    parts: Callable[[], Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[Vital]]:
    """Trains and saves; the log and the vital signs. All processes do this at once, where there are several."""
    from backcast.learn.keeper import complete
    from backcast.learn.sft.trainer import quiet

    with quiet():
        trainer = _trainer(folder / "trainer", begin, learn, training, {"reward_funcs": correct, **parts()})
        found = filter(complete, (folder / "trainer").glob("checkpoint-*"))
        saved = sorted(found, key=lambda path: int(path.name.split("-")[1]))
        with Progress(folder.name, training.steps) as bar:
            trainer.add_callback(_shown(trainer, bar))
            trainer.train(resume_from_checkpoint=str(saved[-1]) if saved else None)
        if ranks.first():
            _save(trainer, folder / "model", training)
        return trainer.state.log_history, trainer.vitals()


def _missed(share: Any) -> tuple[float | None, float | None, float | None]:
    return tuple(None if x is None else 1 - x for x in (share.value, share.high, share.low))  # type: ignore[return-value]


def _trainer(out: Path, begin: Path, learn: Sequence[Asked], training: Training, parts: Mapping[str, Any]) -> Any:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    from backcast.learn.trainer import GroupTrainer, GRPOConfig

    model, tokenizer, more = opened(begin) if sees(learn) else _text_model(begin)
    rows = ranks.share(training.prompts * training.group, "prompts x group")
    micro = min(training.micro, rows)
    if rows % micro:
        raise BadInput(f"micro {micro} does not divide the {rows} answers of a process; lower --train.micro")
    values: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // micro,
        "num_generations": training.group,
        "max_completion_length": training.longest,
        "max_steps": training.steps,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant",
        "epsilon_high": training.clip_high,
        "loss_type": "dapo",
        "beta": 0.0,
        "seed": training.seed,
        "logging_steps": 1,
        "save_steps": training.save_every,
        "save_total_limit": 2,
        "activation_checkpointing": sum(weight.numel() for weight in model.parameters()) > SMALL,
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,
        "use_cpu": ranks.on_cpu(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": sees(learn),  # a text may come without a picture
    }
    if training.lora:
        from peft import LoraConfig

        adapter = LoraConfig(r=training.lora, lora_alpha=2 * training.lora, target_modules="all-linear")
        parts = {**parts, "peft_config": adapter}
    parts = dict(parts)
    values |= parts.pop("config", {})
    if more:
        values["generation_kwargs"] = {**more, **values.get("generation_kwargs", {})}
    trainer = GroupTrainer(
        model,
        args=GRPOConfig(**values),
        train_dataset=Dataset.from_list([question.row(bool(tokenizer.chat_template)) for question in learn]),
        processing_class=tokenizer,
        advantage="center",
        **parts,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to the result
    return trainer


def _text_model(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), {}


def _shown(trainer: Any, bar: Progress) -> Any:
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        """Our own progress on stderr."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            reward = trainer.state.log_history[-1].get("reward") if trainer.state.log_history else None
            bar.advance(state.global_step - bar.done, **({} if reward is None else {"reward": f"{reward:.2f}"}))

    return Bar()


def _save(trainer: Any, folder: Path, training: Training) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    whole = model.merge_and_unload() if training.lora else model
    whole.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)


def measure(folder: Path, model: Path, held: Sequence[Asked], training: Training) -> list[bool]:
    """For each held-out question whether one sampled answer is right; the answers become the stage's traces."""
    asked = list(held[: training.measured])
    sampling = Sampling(max_tokens=training.longest, seed=training.seed)
    drawn = answers(model, asked, sampling) if sees(asked) else _text_answers(model, asked, sampling)
    (folder / "traces.jsonl").unlink(missing_ok=True)
    log, rights = TraceLog(folder / "traces.jsonl"), []
    traces = []
    for number, (question, found) in enumerate(zip(asked, drawn, strict=True)):
        rights.append(question.right(found.text))
        score = Score(float(rights[-1]), reference=1.0)
        data = {"prompt": question.prompt, "answer": question.answer, "finished": found.finished}
        traces.append(Trace(f"{question.id}#{number}", question.id, "answer", found.text, score, data))
    log.append(traces)
    return rights


def _text_answers(model: Path, asked: Sequence[Asked], sampling: Sampling) -> list[Completion]:
    from backcast.lm.local import LocalLM

    lm = LocalLM(model)
    chat = bool(lm.tokenizer.chat_template)
    prompts = [Prompt((("user", q.prompt),)) if chat else Prompt((), q.prompt) for q in asked]
    return [drawn[0] for drawn in lm.sample(prompts, 1, sampling)]


def curves(log: Sequence[Mapping[str, Any]], method: str) -> list[Curve]:
    """The curves of a training log that the papers plot; those without points are left out."""

    def series(names: Mapping[str, str]) -> dict[str, list[list[float]]]:
        found = {
            label: [[float(x["step"]), float(x[key])] for x in log if x.get(key) is not None]
            for key, label in names.items()
        }
        return {label: points for label, points in found.items() if points}

    wanted = {
        ("Reward", "mean reward"): {"reward": "reward"},
        ("What groups teach", "share of groups"): {
            "frac_effective": "effective",
            "frac_all_correct": "all right",
            "frac_all_wrong": "all wrong",
        },
        ("Planning", "nats"): {
            "planning/semantic_entropy": "semantic entropy of grams",
            "planning/procedure_entropy": "entropy of what follows a gram",
            "planning/planning_entropy": "token entropy, planning",
            "planning/execution_entropy": "token entropy, execution",
        },
        ("Against the start", "of the first step"): {
            "planning/semantic_entropy_relative": "semantic entropy",
            "planning/procedure_entropy_relative": "entropy of what follows a gram",
            "planning/planning_perplexity_relative": "perplexity, planning",
            "planning/execution_perplexity_relative": "perplexity, execution",
        },
        ("Replay", "share of rows"): {"replay/share": "drawn again", "filter/share": "repeated by the filter"},
        ("Age of replayed rows", "steps"): {"replay/age": "mean"},
        ("Importance ratio of replayed tokens", "ratio"): {
            "replay/ratio_mean": "mean",
            "replay/ratio_max": "largest",
        },
        ("Rethinking", "share"): {
            "rethink/spontaneous": "spontaneous doubts",
            "rethink/accepted": "second looks accepted",
            "rethink/to_right": "turned right",
            "rethink/to_wrong": "spoilt",
        },
    }
    made = [(title, unit, series(names)) for (title, unit), names in wanted.items()]
    return [Curve(f"{title} ({method})", "step", unit, found) for title, unit, found in made if found]


def check_size(count: int, training: Training) -> None:
    """Raises BadInput when ``count`` questions are too few for the prompts of one step."""
    if count < training.prompts:
        raise BadInput(
            f"{count} questions to learn from, but a step takes {training.prompts} different ones; lower "
            "--train.prompts (and --train.micro), or give more questions"
        )


def check_model(model: str, problems: str) -> None:
    """Raises BadInput when the small world's model is asked other questions, or its questions another model."""
    if (model == WORLD) != (problems == WORLD):
        raise BadInput(
            f"model '{model}' and problems '{problems}' do not go together: the small world is both or neither"
        )
