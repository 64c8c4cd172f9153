"""How both fits walk down their loss: AdamW, a short warm-up, a cosine, a bounded gradient."""

import numpy as np
import torch
from torch import Tensor, nn

from backcast.core.errors import WorkFailed

CLIP, DECAY = 0.5, 0.01


class Descent:
    """The optimiser of a module for ``steps`` steps from the rate ``rate``."""

    def __init__(self, module: nn.Module, rate: float, steps: int) -> None:
        self.module, warm = module, max(1, steps // 20)
        self.optimiser = torch.optim.AdamW(module.parameters(), rate, weight_decay=DECAY)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + np.cos(np.pi * s / steps)) + 0.02)
        )

    def step(self, loss: Tensor, what: str) -> None:
        """One step down; raises WorkFailed when the loss is no number."""
        if not torch.isfinite(loss):
            raise WorkFailed(f"{what}: the loss is {loss.item()}; lower --rate")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), CLIP)
        self.optimiser.step()
        self.schedule.step()
