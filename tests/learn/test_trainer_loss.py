"""The loss that moves the weights, beside the reference formulas of ``core.credit`` and a forward pass of our own."""

import pytest
import torch

from backcast.core.credit import aggregate, clipped_loss, group_advantages
from backcast.learn.grams import TokenText
from backcast.learn.hicra import PlanningCredit
from backcast.learn.replay import SampleReplay
from backcast.learn.rethink import ForcedRethink
from backcast.learn.trainer import GroupTrainer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LOW, HIGH = 0.2, 0.28


def half_flat(prompts, completions, **_):
    """Even prompts are always right; of odd ones the first of four."""
    return [1.0 if int(prompt.split()[1][0]) % 2 == 0 else float(i % 4 == 0) for i, prompt in enumerate(prompts)]


class Beside(GroupTrainer):
    """Keeps, for every loss, what the reference says to the same rows and weights."""

    how = None
    pairs = ()

    def _compute_loss(self, model, inputs):
        with torch.no_grad():
            reference = self.reference(model, inputs)
        loss = super()._compute_loss(model, inputs)
        self.pairs = [*self.pairs, (loss.item(), float(reference))]
        return loss

    def reference(self, model, inputs):
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        width = inputs["completion_ids"].shape[1]
        logits = model(input_ids=ids, attention_mask=seen).logits[:, -width - 1 : -1].double() / self.temperature
        logp = logits.log_softmax(-1).gather(2, inputs["completion_ids"][..., None])[..., 0]
        ratios = (logp - inputs["old_per_token_logps"]).exp()[inputs["completion_mask"].bool()]
        self.moved = max(self.moved, float(ratios.max()), float(1 / ratios.min()))
        loss = clipped_loss(logp, inputs["old_per_token_logps"].double(), self.credit(inputs).double(), LOW, HIGH)
        size = self.max_completion_length if self.how == "constant" else None
        return aggregate(loss, inputs["completion_mask"], self.how, size)

    moved = 0.0

    def credit(self, inputs):
        """1.2 times the credit and 0.8 times the blame of tokens that spell a lone letter, token by token."""
        text_of = TokenText(self.processing_class)
        base = torch.where(inputs["advantages"].gt(0).any(1), 0.75, -0.25)
        rows = []
        for ids, mask, advantage in zip(inputs["completion_ids"], inputs["completion_mask"], base, strict=True):
            text, spans = text_of(ids[: int(mask.sum())].tolist())
            lone = [
                any(text[i].lower() in LETTERS and alone(text, i) for i in range(start, end)) for start, end in spans
            ]
            row = [advantage * ((1.2 if advantage > 0 else 0.8) if hit else 1.0) for hit in lone]
            rows.append(torch.tensor([*row, *[0.0] * (len(ids) - len(row))]))
        return torch.stack(rows)


def alone(text, i):
    """No letter, digit or underscore (nor an apostrophe that binds two of them) on either side."""
    before, after = text[:i], text[i + 1 :]

    def part(char):
        return char.isalnum() or char == "_"

    left = before[-1:] and (part(before[-1]) or (before[-1] in "'’" and before[-2:-1] and part(before[-2])))
    right = after[:1] and (part(after[0]) or (after[0] in "'’" and after[1:2] and part(after[1])))
    return not left and not right


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("grpo", "seq_mean"),
        ("bnpo", "token_mean_microbatch"),
        ("dapo", "token_mean_global"),
        ("dr_grpo", "constant"),
    ],
)
def test_the_loss_is_the_reference_on_the_rows_that_are_trained_on(make_trainer, kind, how):
    """Replayed rows with the log-probabilities they were written with, clipped; planning tokens their own credit."""
    assert group_advantages(torch.tensor([[1.0, 0, 0, 0]])).tolist() == [[0.75, -0.25, -0.25, -0.25]]
    replay, credit = SampleReplay(), PlanningCredit(list(LETTERS))
    parts = {"shapers": [replay, credit], "advantage": "center"}
    values = {"loss_type": kind, "epsilon": LOW, "epsilon_high": HIGH, "max_steps": 5}
    trainer = make_trainer(half_flat, trainer=Beside, parts=parts, **values)
    trainer.how = how
    trainer.train()
    assert replay.acted
    assert credit.acted
    assert trainer.moved > 1 + HIGH  # so the clip is in use
    assert len(trainer.pairs) == 5
    for loss, reference in trainer.pairs:
        assert loss == pytest.approx(reference, rel=2e-4, abs=2e-6)


def test_stitched_rows_carry_the_log_probabilities_of_the_policy_that_wrote_them(make_trainer):
    """U13 by a forward pass of our own: before the first step every ratio is 1, triggers and second parts included."""

    def wants_doubt(completions, **_):
        return [float("Wait" in text) for text in completions]

    parts = {"rethink": ForcedRethink(share=1.0, imitate=0.0), "shapers": [PlanningCredit(list(LETTERS))]}
    values = {"max_steps": 1, "max_completion_length": 48}
    trainer = make_trainer(wants_doubt, trainer=Beside, parts={**parts, "advantage": "center"}, **values)
    trainer.how = "token_mean_global"
    trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 300, 3))
    trainer.train()
    assert trainer.rethink.acted
    assert trainer.moved == pytest.approx(1, abs=1e-4)
