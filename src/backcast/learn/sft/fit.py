"""Supervised training as one function: rows and a model folder in, one plain model folder out."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backcast.core import params, stats
from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.core.progress import Progress
from backcast.core.run import Curve, Gap, StageResult
from backcast.core.text import repetition
from backcast.core.vitals import Vital, must_act
from backcast.learn import ranks
from backcast.learn.sft import rows as chat_rows
from backcast.learn.sft.settings import SFTSettings
from backcast.lm.base import Message, Prompt, Sampling
from backcast.lm.chat import THINK_CLOSE, THINK_OPEN
from backcast.lm.models import content_hash, load, resolve, weight_files
from backcast.report.card import Card as Card
from backcast.report.card import card as render_card
from backcast.report.card import licence_of

Rows = Sequence[Mapping[str, Any]] | Path | str
RECORD = "training.json"
"""Beside the trained weights: what they were trained from and with, and the result."""
CHECKED = 64
"""Rows whose trained tokens are decoded and compared with the row."""
METRIC = "NLL of held-out thinking and answer, nats/token"


def train(
    rows: Rows,
    model: Path | str,
    out: Path | str,
    settings: SFTSettings | None = None,
    held_out: Rows = (),
    card: Card | None = None,
) -> StageResult:
    """Trains ``model`` (folder or alias) on chat rows and leaves one Hugging Face folder at ``out``.

    ``out`` holds the weights (an adapter merged in), tokenizer, chat template, generation config, model card and
    ``training.json``; it is whole or absent. Until then the work lies in ``.NAME.training`` beside it; killed at any
    point, the same call goes on from the last checkpoint there. Called again after it is done, it returns the stored
    result. ``outputs``: model, rows, truncated, dropped, held_out_before, held_out_after (NLL of each held-out row).

    Raises BadInput for unusable rows, model or settings, and when ``out`` or unfinished work there was begun with other
    rows, model or settings; InertMethod if training moved no weight.
    """
    settings, out = settings or SFTSettings(), Path(out)
    job = _Job(
        chat_rows.read_rows(rows),
        chat_rows.read_rows(held_out),
        resolve(str(model)),
        settings,
        card or Card(out.name, base_model=str(model) if not Path(model).exists() else None),
    )
    if not job.train:
        raise BadInput("no rows to train on; give at least one conversation")
    mark = job.mark()
    work = out.with_name(f".{out.name}.training")
    if not _finished(out, mark):
        _begin(work, mark)
        fitted = _read(work / "fitted.json") or ranks.together(lambda: _fit(job, work))
        result = _result(job, fitted, _answers(job, work / "model"), str(out))
        _write_about(work / "model", job, mark, result)
        os.replace(work / "model", out)
    shutil.rmtree(work, ignore_errors=True)
    return StageResult.from_dict(_read(out / RECORD)["result"])


@dataclass(frozen=True)
class _Job:
    train: list[list[Message]]
    held_out: list[list[Message]]
    base: Path
    settings: SFTSettings
    card: Card

    def mark(self) -> str:
        """Identifies everything the result follows from."""
        weights = {file.name: content_hash(file) for file in weight_files(self.base)}
        record = [self.train, self.held_out, weights, params.to_dict(self.settings), asdict(self.card)]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _finished(out: Path, mark: str) -> bool:
    if out.exists() and _read(out / RECORD).get("mark") != mark:
        raise BadInput(f"'{out}' exists and was not made from these rows, model and settings; name a new folder")
    return out.exists()


def _begin(work: Path, mark: str) -> None:
    begun = _read(work / "begun.json").get("mark")
    if begun not in (None, mark):
        raise BadInput(
            f"'{work}' holds an unfinished training of other rows, model or settings; remove it, or name a new folder"
        )
    write_json(work / "begun.json", {"mark": mark})


def _fit(job: _Job, work: Path) -> dict[str, Any]:
    """Trains and saves ``work/model``; returns what was measured on the way, which is also in ``work/fitted.json``."""
    from backcast.learn.sft import trainer as trl

    tokenizer = _tokenizer(job.base)
    lengths = chat_rows.lengths(job.train, tokenizer)
    with trl.quiet(), Progress("training, steps", trl.steps(job.settings, len(job.train))) as progress:
        trainer = trl.make_trainer(job.train, job.held_out, job.base, tokenizer, job.settings, work / "checkpoints")
        _check_trained(job, lengths, trainer)
        before = _read(work / "before.json") or {"rows": trl.held_out_nll(trainer)}
        if ranks.first():
            write_json(work / "before.json", before)
        start = trl.norms(trainer)
        trl.fit(trainer, job.settings, progress)
        moved = sum(a != b for a, b in zip(start, trl.norms(trainer), strict=True))
        must_act("supervised training", moved, len(start))
        fitted = {
            "truncated": sum(length > job.settings.max_length for length in lengths),
            "dropped": len(job.train) - len(trainer.train_dataset),
            "before": before["rows"],
            "after": trl.held_out_nll(trainer),
            "loss": [[entry["step"], entry["loss"]] for entry in trainer.state.log_history if "loss" in entry],
            "held_out": [[e["step"], e[trl.HELD_OUT]] for e in trainer.state.log_history if trl.HELD_OUT in e],
        }
        if ranks.first():
            shutil.rmtree(work / "model", ignore_errors=True)
            trl.save(trainer, job.base, work / "model", job.settings, job.card.base_model or job.base.name)
            _tokenizer(job.base).save_pretrained(work / "model")
    if ranks.first():
        write_json(work / "fitted.json", fitted)
    return fitted


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise BadInput(f"'{folder}' has no chat template; give an instruct model, or put chat_template.jinja there")
    return tokenizer


def _check_trained(job: _Job, lengths: Sequence[int], trainer: Any) -> None:
    # Rows cannot be told apart once some are dropped, and a cut row has lost its end: both are reported instead.
    if len(trainer.train_dataset) < len(job.train):
        return
    for turns, length, row in zip(job.train[:CHECKED], lengths, trainer.train_dataset, strict=False):
        if length <= job.settings.max_length:
            chat_rows.check_trained(turns, chat_rows.trained_text(trainer.processing_class, row["labels"]))


def _answers(job: _Job, folder: Path) -> list[str]:
    """What the saved model answers to the first held-out prompts (without any, to those it was trained on)."""
    settings = job.settings
    conversations = (job.held_out or job.train)[: settings.samples]
    if not conversations:
        return []
    device = None if settings.device == "auto" else settings.device
    prompts = [Prompt.of(turns[:-1]) for turns in conversations]
    sampling = Sampling(temperature=0.7, max_tokens=settings.sample_tokens, seed=settings.seed)
    from backcast.learn.sft.trainer import quiet

    with quiet():
        return [drawn[0].text for drawn in load(str(folder), device=device).sample(prompts, 1, sampling)]


def _result(job: _Job, fitted: dict[str, Any], answers: Sequence[str], out: str) -> StageResult:
    before, after = fitted["before"], fitted["after"]
    held_out = [[0, _mean(before)], *fitted["held_out"]] if after else []
    series = {"train": fitted["loss"], **({"held-out": held_out} if held_out else {})}
    gaps = []
    if after:
        change = stats.paired(after, before, job.settings.seed)
        gaps.append(Gap("learn", METRIC, _mean(before), _mean(after), change.low, change.high, change.n, paired=True))
    outputs = {
        "model": out,
        "rows": len(job.train),
        "truncated": fitted["truncated"],
        "dropped": fitted["dropped"],
        "held_out_before": before,
        "held_out_after": after,
    }
    vitals = _vitals(fitted, answers, len(job.train))
    lineage = [f"{job.card.base_model or job.base.name} + {len(job.train)} conversations -> {job.card.title}"]
    curve = Curve("supervised training", "step", "NLL, nats per token", series)
    return StageResult(gaps=gaps, vitals=vitals, curves=[curve], lineage=lineage, outputs=outputs)


def _vitals(fitted: dict[str, Any], answers: Sequence[str], rows: int) -> list[Vital]:
    last = [loss for _, loss in fitted["loss"][-max(1, len(fitted["loss"]) // 5) :]]
    opened = [text.lstrip().startswith(THINK_OPEN) for text in answers]
    closed = [start and THINK_CLOSE in text for start, text in zip(opened, answers, strict=True)]
    untouched = _mean(fitted["before"])
    return [
        Vital("train NLL", _mean(last), None, None, "nats per token over the last fifth of the steps"),
        Vital(
            "held-out NLL",
            _mean(fitted["after"]),
            None,
            untouched,
            "nats per token; above the untouched model's it has learnt the rows by heart",
        ),
        Vital("thinking opened", _mean(opened), 0.9, None, "share of sampled answers that begin with <think>"),
        Vital("thinking closed", _mean(closed), 0.7, None, "share of sampled answers that open and close the block"),
        Vital(
            "repetition",
            _mean([repetition(text) for text in answers]),
            None,
            0.3,
            "share of an answer's words inside its commonest trigram; high means it goes in circles",
        ),
        Vital(
            "truncated rows",
            fitted["truncated"] / rows,
            None,
            0.05,
            "share of rows longer than max_length, whose end was cut; raise max_length",
        ),
    ]


def _write_about(folder: Path, job: _Job, mark: str, result: StageResult) -> None:
    settings = params.to_dict(job.settings)
    about = replace(
        job.card,
        base_model=job.card.base_model or job.base.name,
        licence=job.card.licence or licence_of(job.base),
        gaps=result.gaps,
        figures={
            "rows": len(job.train),
            **{v.name: "not measured" if v.value is None else f"{v.value:.3f}" for v in result.vitals},
        },
        settings=settings,
        lineage=[*job.card.lineage, *result.lineage, *_SAID],
        tags=("sft", "trl"),
    )
    (folder / "README.md").write_text(render_card(about), encoding="utf-8")
    write_json(folder / RECORD, {"mark": mark, "settings": settings, "result": result.to_dict()})


_SAID = (
    "trained with TRL's SFTTrainer on the last assistant turn only: `<think>` ... `</think>`, a blank line, the answer",
    "NLL is the mean negative log-probability in nats per token of that turn, averaged over rows",
    "to load: `AutoModelForCausalLM.from_pretrained(folder)`",
)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if len(values) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record
