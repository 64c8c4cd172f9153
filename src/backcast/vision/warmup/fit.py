"""Supervised training on warm-start traces, through the trainer of ``learn.sft``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from backcast.core.errors import BadInput
from backcast.learn.sft.settings import SFTSettings
from backcast.lm.local_sight import LocalSight
from backcast.vision.warmup.masks import IGNORED, Masked, Rule, mask
from backcast.vision.warmup.traces import WarmTrace

PAPER = SFTSettings(learning_rate=1e-6, epochs=5.0, batch=128, warmup=0.1)
"""Batch, rate and warm-up of the paper, epochs of the authors' script (2505.15966, appendix; its batch is 16)."""


def trainer(
    lm: LocalSight,
    traces: Sequence[WarmTrace],
    settings: SFTSettings,
    checkpoints: Path,
    rule: Rule = "right",
) -> Any:
    """TRL's SFTTrainer on the traces, masked by ``rule``; ``train()`` trains ``lm.model`` in place.

    Raises BadInput for no traces, for one longer than ``settings.max_length`` (cutting would lose its answer), and for
    a template that cannot be masked.
    """
    if not traces:
        raise BadInput("no traces to learn from; every problem needs its box or its moments")
    masked = [mask(lm, trace.turns, trace.right, trace.tools, rule) for trace in traces]
    longest = max(range(len(masked)), key=lambda number: len(masked[number].ids))
    if len(masked[longest].ids) > settings.max_length:
        raise BadInput(
            f"the trace of '{traces[longest].problem.id}' has {len(masked[longest].ids)} tokens, more than max_length "
            f"{settings.max_length}; raise it, or show smaller pictures"
        )
    from backcast.learn.sft.trainer import masked_trainer

    pictures = [[picture for turn in trace.turns for picture in turn.pictures] for trace in traces]

    def collate(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        return batch(lm, [masked[row] for row in rows], [pictures[row] for row in rows])

    lm.model.train()
    return masked_trainer(lm.model, lm.processor, len(traces), collate, settings, checkpoints)


def batch(lm: LocalSight, masked: Sequence[Masked], pictures: Sequence[Sequence[Any]]) -> dict[str, torch.Tensor]:
    """Inputs of several conversations, padded on the left, with their labels."""
    found = lm.encode([one.text for one in masked], pictures)
    width = found["input_ids"].shape[1]
    labels = torch.full((len(masked), width), IGNORED, device=found["input_ids"].device)
    for row, one in enumerate(masked):
        labels[row, width - len(one.labels) :] = torch.tensor(one.labels, device=labels.device)
    return {**found, "labels": labels}
