"""How many groups still teach: the books that a trainer keeps about its groups, and their vital signs."""

from collections.abc import Mapping
from typing import Any

import torch

from backcast.core.credit import Convention, group_advantages
from backcast.core.vitals import Vital


def flat_groups(grouped: torch.Tensor) -> torch.Tensor:
    """(groups,) whether all scored rewards of a group (groups, G) are equal; NaN stands for "cannot be scored"."""
    low, high = grouped.nan_to_num(nan=torch.inf), grouped.nan_to_num(nan=-torch.inf)
    flat: torch.Tensor = high.amax(1) <= low.amin(1)
    return flat


def scored_advantages(grouped: torch.Tensor, convention: Convention, eps: float) -> torch.Tensor:
    """``core.credit.group_advantages`` of (groups, G) among the scored attempts; those that are NaN get 0."""
    scored = ~torch.isnan(grouped)
    if bool(scored.all()):
        whole: torch.Tensor = group_advantages(grouped, convention, eps)
        return whole
    found = torch.zeros_like(grouped)
    for group, (rewards, known) in enumerate(zip(grouped, scored, strict=True)):
        if int(known.sum()) > 1:
            found[group, known] = group_advantages(rewards[known][None], convention, eps)[0]
    return found


class GroupSums:
    """Counts of groups by what they can teach, and the importance ratios of replayed rows, over a whole training."""

    def __init__(self) -> None:
        self.groups = self.effective = self.right = self.wrong = 0
        self.first: float | None = None
        """Share of effective groups in the first batch."""
        self.last: float | None = None
        self.ratios = 0
        self.ratio_sum = self.ratio_shift = 0.0

    def add(self, rewards: Any, scores: Any, size: int) -> dict[str, float]:
        """Counts a batch; returns its shares ``frac_effective``, ``frac_all_correct`` and ``frac_all_wrong``.

        A group is effective when its ``rewards`` (n,) differ, all correct or all wrong by ``scores`` (n,) above zero.
        """
        grouped, right = rewards.view(-1, size), scores.view(-1, size) > 0
        effective = ~flat_groups(grouped)
        counts = [int(effective.sum()), int(right.all(1).sum()), int((~right.any(1)).sum())]
        self.groups += len(grouped)
        self.effective, self.right, self.wrong = (
            self.effective + counts[0],
            self.right + counts[1],
            self.wrong + counts[2],
        )
        shares = [count / len(grouped) for count in counts]
        self.first = shares[0] if self.first is None else self.first
        self.last = shares[0]
        return dict(zip(("frac_effective", "frac_all_correct", "frac_all_wrong"), shares, strict=True))

    def ratio(self, ratio: Any) -> None:
        """Counts the importance ratios (n,) of replayed tokens."""
        self.ratios += len(ratio)
        self.ratio_sum += float(ratio.sum())
        self.ratio_shift += float((ratio - 1).abs().sum())

    def vitals(self, replay: bool, aged: bool = True) -> list[Vital]:
        """Shares of groups over the whole training, and with ``replay`` the mean ratio of replayed tokens.

        Unless some replayed row was ``aged``, written by an earlier policy, a ratio of exactly 1 is in order.
        """
        count, ratios = max(self.groups, 1), max(self.ratios, 1)
        known = self.groups > 0
        shares = [
            Vital(
                "groups/effective",
                self.effective / count if known else None,
                0.1,
                None,
                "Share of groups with different rewards; the others have no advantage and teach nothing by themselves.",
            ),
            Vital(
                "groups/all_correct", self.right / count if known else None, 0, 0.9, "Share solved by every attempt."
            ),
            Vital("groups/all_wrong", self.wrong / count if known else None, 0, 0.9, "Share solved by no attempt."),
        ]
        replayed = [
            Vital(
                "replay/ratio",
                self.ratio_sum / ratios if self.ratios else None,
                0.5,
                2.0,
                "Mean importance ratio of replayed tokens; far from 1, the policy has left the rows behind.",
            ),
            Vital(
                "replay/ratio_shift",
                self.ratio_shift / ratios if self.ratios else None,
                1e-9 if aged else 0,
                0.5,
                "Mean distance of that ratio from 1; exactly 0 while rows have an age means that they are taken for "
                "fresh ones.",
            ),
        ]
        return [*shares, *(replayed if replay else [])]

    def state_dict(self) -> dict[str, Any]:
        """Everything counted."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a ``state_dict`` back."""
        vars(self).update(state)
