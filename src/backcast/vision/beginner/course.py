"""A course of lessons for a small model: steps of AdamW that a killed run goes on from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backcast.core.progress import Progress


@dataclass(frozen=True)
class Course:
    """What is learnt, how fast and how long."""

    label: str
    modules: Mapping[str, Any]
    """What is trained or holds state, by name."""
    steps: int
    learning_rate: float
    """Highest; it rises over a twentieth of the steps and falls to a fiftieth over the last quarter."""
    save_every: int

    def run(self, kept: Path, lesson: Callable[[int], tuple[torch.Tensor, dict[str, float]]]) -> list[dict[str, float]]:
        """Takes all steps; one row a step: its loss and what ``lesson`` told beside it.

        ``lesson(step)`` must depend on the step's number alone. ``kept`` is the checkpoint's file.
        """
        weights = [weight for part in self.modules.values() for weight in part.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, self.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, self.steps))
        objects: dict[str, Any] = {**self.modules, "optimizer": optimizer, "schedule": schedule}
        log = list[dict[str, float]]()
        if kept.exists():
            state = torch.load(kept, weights_only=True)
            log = state.pop("log")
            for name, value in state.items():
                objects[name].load_state_dict(value)
        with Progress(self.label, self.steps) as bar:
            bar.advance(len(log))
            for step in range(len(log), self.steps):
                value, told = lesson(step)
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                schedule.step()
                log.append({"loss": float(value.detach()), **told})
                bar.advance(1, loss=f"{log[-1]['loss']:.2f}")
                if (step + 1) % self.save_every == 0:
                    state = {name: thing.state_dict() for name, thing in objects.items()}
                    torch.save({**state, "log": log}, kept.with_suffix(".part"))
                    kept.with_suffix(".part").replace(kept)
        return log


def rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: rises over a twentieth, stays, falls to a fiftieth over the last quarter."""
    return min(1.0, (step + 1) / max(1, steps // 20), max(0.02, (steps - step) / max(1, steps / 4)))


def points(log: list[dict[str, float]], name: str) -> list[list[float]]:
    """A curve of about a hundred points: (step, mean of ``name`` since the last)."""
    span = max(1, len(log) // 100)
    found = []
    for start in range(0, len(log) - span + 1, span):
        values = [row[name] for row in log[start : start + span] if name in row]
        if values:
            found.append([float(start + span), sum(values) / len(values)])
    return found
