"""Selective sample replay (VL-Rethinker, 2504.08837): rows that teach nothing make way for ones that taught much.

``SampleReplay`` is the paper's algorithm, ``AuthorsReplay`` what the authors' code does, ``FilterFlat`` the filter that
the paper compares with. All are shapers for ``GroupTrainer``; put them before a shaper that changes advantages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from backcast.core.credit import Batch, replay_probabilities
from backcast.core.errors import BadInput
from backcast.core.vitals import Vital
from backcast.learn.rows import Row, pack, size, unpack


@dataclass(frozen=True)
class Kept:
    """A row in the buffer."""

    row: Row
    advantage: float
    born: int
    """Optimiser steps taken when it was generated."""
    bytes: int = field(init=False, compare=False)
    """Size of its tensors."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", size(self.row))


@dataclass
class _Sums:
    """Running sums over all batches, for the vital signs."""

    rows: int = 0
    drawn: int = 0
    old: int = 0
    age: float = 0.0
    skipped: int = 0


class _Redraw:
    """What the three have in common: which rows stay, which are drawn, and the books about it."""

    replays = True
    entropies = False
    name = "replay"

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.buffer: list[Kept] = []
        self.acted = self.opportunities = self.batches = 0
        self._sums = _Sums()
        self._last: dict[str, float] = {}

    def attach(self, tokenizer: Any, rank: int) -> None:  # noqa: ARG002
        """Gives every process its own stream of random numbers."""
        self.rng = np.random.default_rng([self.seed, rank])

    def observe(self, batch: Batch) -> None:
        """Replay measures only what it does."""

    def __call__(self, batch: Batch) -> Batch:
        """The batch with its flat rows replaced; unchanged when none is flat. Raises BadInput on (B, T) advantages.

        Unchanged too is a batch whose images TRL dropped because an answer was cut inside one (it then says
        ``num_images`` None): its image tokens have no features, so its rows cannot lie beside rows with images.
        """
        if batch.data["advantages"].ndim != 1:
            raise BadInput("replay needs one advantage a row, found one a token; put replay before the other shapers")
        if batch.data.get("num_images", ()) is None:
            return batch
        advantages = batch.data["advantages"].detach().cpu().numpy()
        # Without a token in the loss (TRL's ``mask_truncated_completions``) a row teaches nothing either.
        advantages = np.where(batch.data["completion_mask"].any(1).cpu().numpy(), advantages, 0)
        teach = keep(batch, [int(i) for i in np.flatnonzero(advantages)], advantages)
        stay, draws = self._choose(teach, len(advantages), batch.step)
        self.batches += 1
        # From the advantages alone: a buffer that never fills is a fault.
        self.opportunities += 0 < len(teach) < len(advantages)
        self._count(batch, stay, draws)
        if len(stay) == len(advantages) and not draws:
            return batch
        if not stay and not draws:
            skip = torch.ones(len(advantages), dtype=torch.bool, device=batch.data["advantages"].device)
            return replace(batch, data={**batch.data, "skip": skip})
        self.acted += bool(draws)
        return replace(batch, data=_rebuild(batch, stay, draws), entropies=None)

    def _choose(self, teach: list[Kept], count: int, step: int) -> tuple[list[Kept], list[Kept]]:
        """(rows that stay, rows drawn again) for a batch of ``count`` rows of which ``teach`` have an advantage."""
        raise NotImplementedError

    def _draw(self, pool: Sequence[Kept], weights: np.ndarray, count: int) -> list[Kept]:
        total = weights.sum()
        if count <= 0 or total <= 0:
            return []
        return [pool[j] for j in self.rng.choice(len(pool), size=count, p=weights / total)]

    def _count(self, batch: Batch, stay: list[Kept], draws: list[Kept]) -> None:
        ages = [batch.step - kept.born for kept in draws]
        rows = len(stay) + len(draws)
        sums = self._sums
        sums.rows, sums.drawn = sums.rows + rows, sums.drawn + len(draws)
        sums.old, sums.age = sums.old + sum(age > 0 for age in ages), sums.age + sum(ages)
        sums.skipped += rows == 0
        self._last = {
            f"{self.name}/share": len(draws) / max(rows, 1),
            f"{self.name}/buffer": float(len(self.buffer)),
            f"{self.name}/skipped": float(rows == 0),
        }
        if draws:
            self._last[f"{self.name}/age"] = sum(ages) / len(ages)

    @property
    def aged(self) -> bool:
        """Whether any row drawn so far was written by an earlier policy."""
        return self._sums.old > 0

    def metrics(self) -> dict[str, float]:
        """Of the last batch: share of rows drawn, their mean age in steps, rows in the buffer, batches skipped."""
        return dict(self._last)

    def vitals(self) -> list[Vital]:
        """Share of rows drawn, their mean age, and batches that had nothing to teach, over all batches."""
        sums, seen = self._sums, self.batches > 0
        return [
            Vital(
                f"{self.name}/share",
                sums.drawn / max(sums.rows, 1) if self.opportunities else None,
                1e-9,
                0.95,
                "Share of trained rows that were drawn again; 0 while groups are flat means that replay does nothing.",
            ),
            Vital(
                f"{self.name}/age",
                sums.age / sums.drawn if sums.drawn else None,
                0,
                None,
                "Mean age of drawn rows in optimiser steps; large ages mean that clipping discards most of them.",
            ),
            Vital(
                f"{self.name}/skipped",
                sums.skipped / self.batches if seen else None,
                0,
                0.5,
                "Share of batches with no group that teaches and nothing kept: no optimiser step was taken for them.",
            ),
        ]

    def state_dict(self) -> dict[str, Any]:
        """Buffer, random state and counts."""
        return {
            "buffer": [{"row": kept.row, "advantage": kept.advantage, "born": kept.born} for kept in self.buffer],
            "rng": self.rng.bit_generator.state,
            "counts": [self.acted, self.opportunities, self.batches],
            "sums": vars(self._sums).copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a ``state_dict`` back."""
        self.buffer = [Kept(**kept) for kept in state["buffer"]]
        self.rng.bit_generator.state = state["rng"]
        self.acted, self.opportunities, self.batches = state["counts"]
        self._sums = _Sums(**state["sums"])


_REPLAYED = torch.tensor(True)


def _rebuild(batch: Batch, stay: list[Kept], draws: list[Kept]) -> dict[str, Any]:
    current = [kept.row for kept in stay]
    marked = [{**kept.row, "replayed": _REPLAYED} for kept in draws]
    whole = {
        key: value
        for key, value in batch.data.items()
        if not isinstance(value, list) and getattr(value, "ndim", 0) == 0
    }
    return {**pack([*current, *marked], batch.pad_id, batch.data["advantages"].device), **whole}


class SampleReplay(_Redraw):
    """SSR as the paper has it (section 3.2): flat rows are replaced by draws from a buffer with chance ``~ |A|^alpha``.

    Per batch of N rows: those with a non-zero advantage stay and enter the buffer first, then N minus their number are
    drawn from it with replacement. Drawn rows keep the advantage and the log-probabilities they were written with, so
    the importance ratio and its clip see how far the policy has moved.

    ``episode``: batches after which the buffer is cleared. The paper clears it at each sync of the behaviour policy,
    16 optimiser steps of 512 rows; here the policy is synced at every batch, so the life in steps is what carries over.
    ``capacity`` rows, ``megabytes`` and ``max_age`` optimiser steps bound it further (ours); the oldest go first.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        episode: int | None = 16,
        capacity: int = 8192,
        max_age: int | None = None,
        megabytes: float = 2048,
        seed: int = 42,
    ) -> None:
        if alpha < 0 or capacity < 1 or (episode is not None and episode < 1):
            raise BadInput(
                f"replay needs alpha >= 0, capacity >= 1 and episode >= 1, found alpha={alpha}, capacity={capacity}, "
                f"episode={episode}"
            )
        if megabytes <= 0 or (max_age is not None and max_age < 0):
            raise BadInput(f"replay needs megabytes > 0 and max_age >= 0, found {megabytes} and {max_age}")
        super().__init__(seed)
        self.alpha, self.episode, self.capacity = alpha, episode, capacity
        self.max_age, self.megabytes = max_age, megabytes

    def _choose(self, teach: list[Kept], count: int, step: int) -> tuple[list[Kept], list[Kept]]:
        if self.episode is not None and self.batches % self.episode == 0:
            self.buffer = []
        if self.max_age is not None:
            self.buffer = [kept for kept in self.buffer if step - kept.born <= self.max_age]
        self.buffer = _bounded([*self.buffer, *teach], self.capacity, self.megabytes)
        weights = replay_probabilities(np.array([kept.advantage for kept in self.buffer]), self.alpha)
        return teach, self._draw(self.buffer, weights, count - len(teach))


def keep(batch: Batch, index: Sequence[int], advantages: np.ndarray) -> list[Kept]:
    """The rows ``index`` of a batch, ready for a buffer."""
    rows = unpack(batch.data, index)
    return [Kept(row, float(advantages[i]), batch.step) for row, i in zip(rows, index, strict=True)]


def _bounded(buffer: list[Kept], capacity: int, megabytes: float) -> list[Kept]:
    buffer = buffer[-capacity:]
    limit, total = megabytes * 2**20, 0.0
    for newest, kept in enumerate(reversed(buffer)):
        total += kept.bytes
        if total > limit:
            return buffer[len(buffer) - max(newest, 1) :]  # one row at least: the batch needs something to draw
    return buffer


class FilterFlat(_Redraw):
    """The filter baseline: flat rows are replaced by uniform repeats of this batch's other rows; nothing is kept."""

    name = "filter"

    def __init__(self, seed: int = 42) -> None:
        super().__init__(seed)

    def _choose(self, teach: list[Kept], count: int, step: int) -> tuple[list[Kept], list[Kept]]:  # noqa: ARG002
        self.buffer = teach
        return teach, self._draw(teach, np.ones(len(teach)), count - len(teach))


class AuthorsReplay(_Redraw):
    """What the authors' repository did while its replay was on (commits d28aca4 to 19b42c2); not the paper's algorithm.

    Half as many rows come out as go in. A first-in-first-out store of that size, never cleared, takes the rows that
    teach; ``min(half, effective)`` rows are drawn with replacement from this batch's, with chance ``~ |A|``, the rest
    from the store with chance ``~ |A| + 1e-4`` after whole copies of it while the need is larger than the store.
    """

    name = "authors_replay"

    def __init__(self, seed: int = 42) -> None:
        super().__init__(seed)

    def _choose(self, teach: list[Kept], count: int, step: int) -> tuple[list[Kept], list[Kept]]:  # noqa: ARG002
        half = count // 2
        self.buffer = (self.buffer + teach)[-half:] if half else []
        draws = self._draw(teach, _sizes(teach), min(half, len(teach)))
        need = half - len(draws)
        while self.buffer and need > len(self.buffer):
            draws += self.buffer
            need -= len(self.buffer)
        return [], draws + self._draw(self.buffer, _sizes(self.buffer) + 1e-4, need)


def _sizes(rows: Sequence[Kept]) -> np.ndarray:
    return np.array([abs(kept.advantage) for kept in rows])
