"""Credit: pure functions from rewards to advantages and losses, on NumPy arrays and torch tensors alike (array API).

``Batch`` and ``Shaper`` say how such functions are put on a trainer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from array_api_compat import array_namespace

from backcast.core.vitals import Vital

Convention = Literal["center", "std_pop", "std_sample", "loo"]
Aggregation = Literal["token_mean_microbatch", "token_mean_global", "seq_mean", "constant"]
Difficulty = Literal["all-false", "hard", "medium", "easy", "all-true"]


def group_advantages(rewards: Any, convention: Convention = "center", eps: float = 0.0) -> Any:
    """Advantages within each group; same shape (groups, G), type and device as ``rewards``.

    ``center``: reward minus the group's mean (Dr. GRPO, Liu et al. 2025). ``std_pop`` and ``std_sample``: that, over
    the group's standard deviation with divisor G or G - 1, plus ``eps`` (GRPO, Shao et al. 2024). ``loo``: reward minus
    the mean of the *other* members (RLOO, Ahmadian et al. 2024). A flat group gives exact zeros in every convention:
    rounding noise divided by itself would be a gradient out of nothing.
    """
    xp = array_namespace(rewards)
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must have shape (groups, G) with G >= 2, found {tuple(rewards.shape)}")
    size = rewards.shape[1]
    centred = rewards - xp.mean(rewards, axis=1, keepdims=True)
    flat = xp.max(rewards, axis=1, keepdims=True) == xp.min(rewards, axis=1, keepdims=True)
    if convention == "center":
        advantages = centred
    elif convention == "loo":
        advantages = centred * (size / (size - 1))
    elif convention in ("std_pop", "std_sample"):
        divisor = size if convention == "std_pop" else size - 1
        spread = xp.sqrt(xp.sum(centred * centred, axis=1, keepdims=True) / divisor)
        advantages = centred / xp.where(flat, xp.ones_like(spread), spread + eps)
    else:
        raise ValueError(f"unknown convention '{convention}'; known: center, std_pop, std_sample, loo")
    return xp.where(flat, xp.zeros_like(advantages), advantages)


def planning_credit(advantages: Any, planning: Any, valid: Any, alpha: float = 0.2) -> Any:
    """HICRA: advantages (B, T) in which every planning token gets ``A + alpha |A|`` (2509.03646, section 4).

    ``advantages`` has shape (B,) or (B, T), the masks (B, T) are boolean. Good rollouts credit their plan by a factor
    1 + alpha, bad ones blame it by 1 - alpha only; zero stays zero. Tokens outside ``valid`` get 0.
    """
    xp = array_namespace(advantages)
    wide = advantages[:, None] if advantages.ndim == 1 else advantages
    wide = xp.where(valid, wide, xp.zeros_like(wide))
    return xp.where(planning & valid, wide + alpha * xp.abs(wide), wide)


def clipped_loss(logp: Any, old: Any, advantages: Any, low: float = 0.2, high: float = 0.2) -> Any:
    """The loss of each token, (B, T): ``-min(r A, clip(r, 1 - low, 1 + high) A)`` with ``r = exp(logp - old)``.

    PPO's clipped surrogate (Schulman et al. 2017); ``high`` above ``low`` is DAPO's clip-higher. The log-probabilities
    have shape (B, T), the advantages (B,) or (B, T). The reference that trainers are tested against.
    """
    xp = array_namespace(logp)
    wide = advantages[:, None] if advantages.ndim == 1 else advantages
    ratio = xp.exp(logp - old)
    return -xp.minimum(ratio * wide, xp.clip(ratio, 1 - low, 1 + high) * wide)


def aggregate(loss: Any, mask: Any, how: Aggregation = "token_mean_global", size: float | None = None) -> Any:
    """One number from the losses of tokens; ``loss`` and ``mask`` have shape (B, T).

    ``token_mean_microbatch``: mean over the tokens at hand, with 1e-4 added to the count (VL-Rethinker's code).
    ``token_mean_global``: the sum over ``size``, the tokens of the whole batch over all micro-batches (DAPO; default:
    the tokens at hand). ``seq_mean``: mean per sequence, then over sequences (GRPO); an empty sequence counts as 0.
    ``constant``: the sum over B times ``size``, the largest length allowed (Dr. GRPO; default: T).
    """
    xp = array_namespace(loss)
    weights = xp.astype(mask, loss.dtype)
    total, count = xp.sum(loss * weights), xp.sum(weights)
    if how == "token_mean_microbatch":
        return total / (count + 1e-4)
    if how == "token_mean_global":
        return total / (count if size is None else size)
    if how == "seq_mean":
        lengths = xp.sum(weights, axis=1)
        return xp.mean(xp.sum(loss * weights, axis=1) / xp.where(lengths > 0, lengths, xp.ones_like(lengths)))
    if how == "constant":
        return total / (loss.shape[0] * (loss.shape[1] if size is None else size))
    raise ValueError(
        f"unknown aggregation '{how}'; known: token_mean_microbatch, token_mean_global, seq_mean, constant"
    )


def replay_probabilities(advantages: Any, alpha: float = 1.0) -> Any:
    """Selective sample replay: ``|A_j|^alpha / sum_k |A_k|^alpha``, shape (n,) (2504.08837, section 3.2).

    ``alpha`` 0 is uniform over what teaches anything. A zero advantage is never drawn; if all are zero, so is the
    whole result: nothing can be drawn.
    """
    if alpha < 0:
        raise ValueError(f"alpha must be at least 0, found {alpha}")
    xp = array_namespace(advantages)
    size = xp.abs(advantages)
    weights = xp.where(size > 0, size**alpha, xp.zeros_like(size))
    total = xp.sum(weights)
    return weights / xp.where(total > 0, total, xp.ones_like(total))


def effective_chance(p: float, size: int) -> float:
    """The chance that a group of ``size`` attempts, each right with chance ``p``, is mixed: ``1 - p^G - (1-p)^G``."""
    return 1 - p**size - (1 - p) ** size


def expected_effective_chance(right: int, tried: int, size: int) -> float:
    """``effective_chance`` averaged over what p may be after ``right`` of ``tried`` attempts (uniform prior)."""
    return 1 - _beta_moment(right + 1, tried - right + 1, size) - _beta_moment(tried - right + 1, right + 1, size)


def _beta_moment(a: int, b: int, power: int) -> float:
    return math.prod((a + i) / (a + b + i) for i in range(power))


def difficulty(mean_score: float) -> Difficulty:
    """The bucket of a group by its mean score, with the bounds of VL-Rethinker's code (1/8, 3/8, 6/8, 1)."""
    if mean_score < 1 / 8:
        return "all-false"
    if mean_score < 3 / 8:
        return "hard"
    if mean_score < 6 / 8:
        return "medium"
    return "easy" if mean_score < 1 else "all-true"


@dataclass(frozen=True)
class Batch:
    """A finished generation batch on its way to the loss: one row per attempt, this process's rows only."""

    data: Mapping[str, Any]
    """Row-first tensors, or lists with one entry a row (multimodal fields), by the trainer's names: ``prompt_ids`` and
    ``prompt_mask`` (B, P, padded left); ``completion_ids``, ``completion_mask``, ``old_per_token_logps`` (B, T, padded
    right); ``advantages`` (B,) or (B, T); the flag ``replayed`` (B,)."""
    rewards: Any
    """(B,) the rewards of the rows that were generated, that the advantages came from; NaN: cannot be scored."""
    step: int
    """Optimiser steps taken when the batch was generated."""
    group: int
    """Attempts at one prompt; consecutive rows of the generated batch."""
    pad_id: int = 0
    entropies: Any = None
    """(B, T) token entropies in nats of the generated rows, where a shaper asked for them; else None."""


class Shaper(Protocol):
    """Turns a finished batch into the batch that is trained on; shapers compose in their order."""

    name: str
    replays: bool
    """True if the result may hold rows that an earlier policy wrote: the trainer then stores log-probabilities."""
    entropies: bool
    """True if ``Batch.entropies`` is needed."""
    acted: int
    opportunities: int
    """Batches that this shaper changed, and batches that it could have changed."""

    def attach(self, tokenizer: Any, rank: int) -> None:
        """Called once by the trainer, with this process's number; raises BadInput if the two do not go together."""

    def observe(self, batch: Batch) -> None:
        """Sees the batch as it was generated, before any shaper acts: the place for measurements."""

    def __call__(self, batch: Batch) -> Batch:
        """The batch with other advantages, or other rows."""

    def metrics(self) -> dict[str, float]:
        """Numbers about the last batch, for the log; what was not measured is absent."""

    def vitals(self) -> list[Vital]:
        """Vital signs over all batches so far."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-equal continuation needs: buffers, random state, counts."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a ``state_dict`` back."""
