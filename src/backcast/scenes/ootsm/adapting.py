"""Fitting a language model to both stages: an adapter (LoRA) for each, on weights that stay as they are."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.progress import Progress
from backcast.lm.base import Prompt
from backcast.lm.chat import render
from backcast.lm.local import LocalLM
from backcast.lm.models import content_hash, resolve
from backcast.scenes.counts import Markov
from backcast.scenes.forecast import cases
from backcast.scenes.ootsm.language import Language
from backcast.scenes.ootsm.losses import horizon_weights, weighted_mean
from backcast.scenes.ootsm.mixing import mix_weights
from backcast.scenes.ootsm.prompts import Asker
from backcast.scenes.ootsm.settings import Adapting
from backcast.scenes.problems.clip import Clip, Clips, Frame
from backcast.scenes.problems.split import folds
from backcast.scenes.render import END, labelling_text, listing_text

STAGES = ("listing", "labelling")
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Row:
    """One question and its answer; the header "Frame n: " belongs to the question."""

    prompt: Prompt
    header: str
    answer: str
    ahead: int
    last: int
    """Frames that the clip has after the cut."""


def draw_row(clip: Clip, asker: Asker, rng: np.random.Generator, stage: str) -> Row | None:
    """A question of one clip, cut anywhere, about any later frame; None where there is nothing to ask.

    Stage 2 asks about an object of that frame, seen before or not.
    """
    if len(clip.frames) < 2:
        return None
    end = int(rng.integers(0, len(clip.frames) - 1))
    seen, future = clip.frames[: end + 1], clip.frames[end + 1 :]
    ahead = int(rng.integers(1, len(future) + 1))
    frame = replace(future[ahead - 1], index=ahead)
    if stage == "listing":
        return _row(asker.listing(seen), listing_text([frame], asker.vocabulary), frame, len(future))
    if not frame.objects:
        return None
    thing = int(rng.choice(sorted(frame.objects)))
    text = labelling_text([frame], thing, asker.vocabulary)
    return _row(asker.labelling(seen, thing), text, frame, len(future))


def _row(prompt: Prompt, text: str, frame: Frame, last: int) -> Row:
    # One line, as the model is asked for one frame at a time; the line's end is the answer's.
    header, _, answer = text.removesuffix(END).partition(": ")
    return Row(prompt, f"{header}: ", answer, frame.index, last)


def adapt(model: str, clips: Clips, settings: Adapting, folder: Path) -> Language:
    """Fits an adapter for each stage on four fifths of the groups, and the mixture with counts on the rest.

    Writes the adapters into ``folder``. Raises BadInput for fewer than five groups or a model that does not load.
    """
    held_out = set(folds(clips.clips, 5, settings.seed)[0])
    train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(clips.clips) if i not in held_out))
    check, _ = cases([clips.clips[i] for i in sorted(held_out)], settings.fraction)
    if not check:
        raise BadInput("the held-out clips leave no future frame to choose mixing weights on; give longer clips")
    asker = Asker(clips.vocabulary, told=False)
    for stage in STAGES:
        _fit_stage(LocalLM(resolve(model), name=model), train.clips, asker, settings, folder / stage)
    lms = [adapted(model, folder / stage) for stage in STAGES]
    found = Language(asker, lms[0], lms[1], Markov.fit(train), known=tuple(clip.id for clip in clips.clips))
    check = check[: settings.held_out]
    made = [found.answers(case.id, case.seen, [frame.index for frame in case.future]) for case in check]
    return replace(found, mixture=mix_weights(made, check, clips.vocabulary))


def adapted(model: str, folder: Path) -> LocalLM:
    """The model with the adapter of ``folder`` merged into its weights, in memory only."""
    from peft import PeftModel

    lm = LocalLM(resolve(model), name=model)
    try:
        with _quiet():
            peft: Any = PeftModel.from_pretrained(lm.model, str(folder))
            peft.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadInput(f"'{folder}' holds no adapter of '{model}': {str(error).splitlines()[0][:200]}") from None
    lm.model.eval().requires_grad_(False)
    lm.fingerprint = hashlib.sha256((lm.fingerprint + content_hash(folder / ADAPTER)).encode()).hexdigest()[:32]
    return lm


def adapter_size(folder: Path) -> int:
    """Parameters of both adapters of a fit."""
    from safetensors import safe_open

    total = 0
    for stage in STAGES:
        with safe_open(str(folder / stage / ADAPTER), "pt") as file:
            total += sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    return total


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # PEFT uses names that transformers is about to rename; no user of ours can change it.
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _fit_stage(lm: LocalLM, clips: Sequence[Clip], asker: Asker, settings: Adapting, folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    stage = folder.name
    torch.manual_seed(settings.seed + STAGES.index(stage))
    rng = np.random.default_rng([settings.seed, STAGES.index(stage)])
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        r=settings.rank,
        lora_alpha=settings.rank,
        lora_dropout=settings.dropout,
    )
    with _quiet():
        model: Any = get_peft_model(lm.model, config)
    model.train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, settings.rate, weight_decay=0.0)
    warm = max(1, settings.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + np.cos(np.pi * s / settings.steps)) + 0.02)
    )
    with Progress(stage, settings.steps) as progress:
        for _ in range(settings.steps):
            loss = loss_of(model, lm, _rows(clips, asker, rng, stage, settings.batch), settings.beta)
            if not torch.isfinite(loss):
                raise WorkFailed(f"{stage}: the loss is {loss.item()}; lower --rate")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 0.5)
            optimiser.step()
            schedule.step()
            progress.advance(loss=f"{loss.item():.4f}")
    with _quiet():
        model.save_pretrained(str(folder))


def _rows(clips: Sequence[Clip], asker: Asker, rng: np.random.Generator, stage: str, count: int) -> list[Row]:
    found: list[Row] = []
    for _ in range(100 * count):
        row = draw_row(clips[int(rng.integers(len(clips)))], asker, rng, stage)
        found += [row] if row else []
        if len(found) == count:
            return found
    raise BadInput("hardly a training clip holds an object after its first frame; give longer clips")


def loss_of(model: Any, lm: LocalLM, rows: Sequence[Row], beta: float) -> torch.Tensor:
    """Weighted mean cross-entropy of the answers' tokens; each weighs by its row's recorded frames ahead."""
    tokens, weights = batch_of(lm, rows, beta)
    padded, real, scale = (
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        for rows in (tokens, [[1] * len(ids) for ids in tokens], weights)
    )
    # Prompts are many times as long as answers, and their logits, as many as the tokenizer has tokens, go unused.
    at = scale[:, 1:].any(0).nonzero()[:, 0]
    places = {"input_ids": padded.to(lm.device), "attention_mask": real.to(lm.device)}
    logits = model(**places, logits_to_keep=at.to(lm.device)).logits.float()
    each = cross_entropy(logits.transpose(1, 2), padded[:, at + 1].to(lm.device), reduction="none")
    return weighted_mean(each, scale[:, at + 1].to(lm.device))


def batch_of(lm: LocalLM, rows: Sequence[Row], beta: float) -> tuple[list[list[int]], list[list[float]]]:
    """Tokens of each row, and the weight of each token: 0 in the prompt, the horizon weight in the answer."""
    tokens, weights = [], []
    for row in rows:
        head = render(lm.tokenizer, row.prompt) + row.header
        coded = lm.tokenizer(head + row.answer, add_special_tokens=False, return_offsets_mapping=True)
        if len(coded.input_ids) > lm.context:
            raise BadInput(f"a question of {len(coded.input_ids)} tokens; '{lm.name}' reads {lm.context}")
        weight = float(horizon_weights(torch.tensor(float(row.ahead)), torch.tensor(float(row.last)), beta))
        tokens.append(list(coded.input_ids))
        weights.append([weight if end > max(len(head), start) else 0.0 for start, end in coded.offset_mapping])
    return tokens, weights
