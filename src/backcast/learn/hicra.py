"""HICRA (2509.03646): more credit for the tokens that plan. ``PlanningCredit`` for the trainer; the paper's metrics."""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch

from backcast.core.credit import Batch, planning_credit
from backcast.core.errors import BadInput
from backcast.core.vitals import Vital
from backcast.learn.grams import Match, Matcher, TokenText, cover, shipped, words

Target = Literal["planning", "execution", "entropy_long_correct"]
_REMEMBERED = 16384
_RELATIVE = ("semantic_entropy", "procedure_entropy", "planning_perplexity", "execution_perplexity")


class PlanningCredit:
    """Gives the tokens of strategic grams ``A + alpha |A|`` (section 4, equation 4; the paper uses alpha 0.2).

    ``grams``: phrases or what ``mine`` found, default our own list. ``target`` "execution" credits all other tokens
    instead, the control that must not help; "entropy_long_correct" credits high-entropy tokens (top 30 % of their row)
    of correct answers longer than their group's mean, which is what the authors' code is said to do. ``token_metrics``
    adds entropy and perplexity by class, at the price of a forward pass.

    Raises BadInput for an empty list, alpha outside [0, 1), an unknown target and a tokenizer without offsets.
    """

    name = "planning"
    replays = False

    def __init__(
        self,
        grams: Iterable[Any] | None = None,
        alpha: float = 0.2,
        *,
        target: Target = "planning",
        token_metrics: bool = False,
    ) -> None:
        if not 0 <= alpha < 1:
            raise BadInput(f"alpha must be in [0, 1), found {alpha}: from 1 on, blame would become credit")
        if target not in get_args(Target):
            raise BadInput(f"unknown target '{target}'; known: {', '.join(get_args(Target))}")
        self.matcher = Matcher(shipped() if grams is None else grams)
        self.alpha, self.target, self.token_metrics = alpha, target, token_metrics
        self.entropies = token_metrics or target == "entropy_long_correct"
        self.acted = self.opportunities = 0
        self._sums = {"tokens": 0, "planning": 0, "moved": 0.0, "credit": 0.0}
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._known: OrderedDict[tuple[int, ...], tuple[str, list[Match], np.ndarray]] = OrderedDict()

    def attach(self, tokenizer: Any, rank: int) -> None:  # noqa: ARG002
        """Takes the tokenizer; raises BadInput if it knows no offsets."""
        self._text = TokenText(tokenizer)

    def observe(self, batch: Batch) -> None:
        """Measures the generated rows: share of planning tokens, semantic entropy, and what ``token_metrics`` adds."""
        valid = batch.data["completion_mask"].bool().cpu()
        planning, found = self._masks(batch.data["completion_ids"], valid)
        sequences = [(text, matches) for text, matches, _ in found]
        self._last = {f"{self.name}/share": float(planning.sum() / valid.sum().clamp(min=1))}
        self._measured("semantic_entropy", semantic_entropy(match.gram for _, seen in sequences for match in seen))
        self._measured("procedure_entropy", procedure_entropy(sequences))
        self._sums["tokens"] += int(valid.sum())
        self._sums["planning"] += int(planning.sum())
        if self.token_metrics and batch.entropies is not None:
            logps = batch.data["old_per_token_logps"].float().cpu()
            measured = token_metrics(batch.entropies.float().cpu(), logps, planning, valid)
            for name, value in measured.items():
                self._measured(name, value)

    def _measured(self, name: str, value: float) -> None:
        """Logs a value; one that the paper plots against its start also as a ratio to the first that was above 0."""
        self._last[f"{self.name}/{name}"] = value
        if name not in _RELATIVE:
            return
        if name in self._first or value > 0:
            self._last[f"{self.name}/{name}_relative"] = value / self._first.setdefault(name, value)

    def __call__(self, batch: Batch) -> Batch:
        """The batch with advantages of shape (B, T)."""
        data = batch.data
        valid = data["completion_mask"].bool()
        advantages = data["advantages"]
        chosen = self._chosen(batch, valid)
        credited = planning_credit(advantages, chosen, valid, self.alpha)
        plain = planning_credit(advantages, chosen, valid, 0.0)
        moved, total = float((credited - plain).abs().sum()), float(plain.abs().sum())
        if self.alpha > 0:
            self.opportunities += total > 0
            self.acted += moved > 0
        self._sums["moved"] += moved
        self._sums["credit"] += total
        self._last[f"{self.name}/credit_moved"] = moved / total if total else 0.0
        return replace(batch, data={**data, "advantages": credited})

    def _chosen(self, batch: Batch, valid: torch.Tensor) -> torch.Tensor:
        if self.target == "entropy_long_correct":
            return self._entropy_long_correct(batch, valid)
        planning, _ = self._masks(batch.data["completion_ids"], valid.cpu())
        planning = planning.to(valid.device)
        return planning if self.target == "planning" else valid & ~planning

    def _entropy_long_correct(self, batch: Batch, valid: torch.Tensor) -> torch.Tensor:
        if batch.entropies is None:
            raise BadInput("target 'entropy_long_correct' compares rows within their group; use it without replay")
        if len(valid) % batch.group:
            raise BadInput(
                f"target 'entropy_long_correct' compares rows within their group of {batch.group}, but a process has "
                f"{len(valid)} of them; give each process whole groups (per_device_train_batch_size)"
            )
        lengths = valid.sum(1).float()
        long = lengths > lengths.view(-1, batch.group).mean(1).repeat_interleave(batch.group)
        known = batch.entropies.float().masked_fill(~valid, float("nan"))
        threshold = torch.nanquantile(known, 0.7, dim=1, keepdim=True)
        good = long & (batch.data["advantages"] > 0)
        chosen: torch.Tensor = valid & (known > threshold) & good[:, None]
        return chosen

    def _masks(self, ids: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        planning, found = np.zeros(tuple(valid.shape), dtype=bool), []
        for i, (row, length) in enumerate(zip(ids.tolist(), valid.sum(1).tolist(), strict=True)):
            known = self._row(tuple(row[:length]))
            if known[1]:
                planning[i, :length] = known[2]
            found.append(known)
        return torch.from_numpy(planning), found

    def _row(self, ids: tuple[int, ...]) -> tuple[str, list[Match], np.ndarray]:
        if ids not in self._known:
            text, offsets = self._text(ids)
            matches = self.matcher.find(text)
            self._known[ids] = text, matches, cover(text, matches, offsets)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[ids]

    def metrics(self) -> dict[str, float]:
        """Of the last batch: share, semantic and procedure entropy, credit moved, and ``token_metrics``."""
        return dict(self._last)

    def vitals(self) -> list[Vital]:
        """Share of planning tokens and of credit moved, over all batches."""
        sums = self._sums
        return [
            Vital(
                "planning/share",
                sums["planning"] / sums["tokens"] if sums["tokens"] else None,
                0.002,
                0.5,
                "Share of generated tokens inside a gram; near 0 the list does not fit the texts, near 1 it fits all.",
            ),
            Vital(
                "planning/credit_moved",
                sums["moved"] / sums["credit"] if sums["credit"] and self.alpha else None,
                1e-6,
                max(self.alpha, 1e-6),
                "Change of all credit by the transform, as a share of it; 0 means that HICRA does nothing.",
            ),
        ]

    def state_dict(self) -> dict[str, Any]:
        """Counts, and the first perplexities that later ones are relative to."""
        return {"counts": [self.acted, self.opportunities], "sums": dict(self._sums), "first": dict(self._first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a ``state_dict`` back."""
        self.acted, self.opportunities = state["counts"]
        self._sums, self._first = dict(state["sums"]), dict(state["first"])


def semantic_entropy(grams: Iterable[Hashable]) -> float:
    """Shannon entropy in nats of how often each gram occurs (section 3.2); 0.0 for none."""
    counts = np.array(list(Counter(grams).values()), dtype=float)
    if not len(counts):
        return 0.0
    shares = counts / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def conditional_entropy(pairs: Iterable[tuple[Hashable, Hashable]]) -> float:
    """H(Y | X) in nats of pairs (x, y); 0.0 for none."""
    after: dict[Hashable, list[Hashable]] = {}
    for x, y in pairs:
        after.setdefault(x, []).append(y)
    total = sum(map(len, after.values()))
    return sum(len(ys) / total * semantic_entropy(ys) for ys in after.values())


def procedure_entropy(sequences: Iterable[tuple[str, Sequence[Match]]], n: int = 3) -> float:
    """Conditional entropy in nats of the ``n`` words that follow a gram, given the gram (section 3.2; n is ours).

    Words up to the next gram count; where fewer than ``n`` are left there is no pair.
    """
    pairs = []
    for text, matches in sequences:
        ends = [*(match.start for match in matches[1:]), len(text)]
        for match, end in zip(matches, ends, strict=False):
            follow = tuple(word for word, _, _ in words(text[match.end : max(match.end, end)])[:n])
            if len(follow) == n:
                pairs.append((match.gram, follow))
    return conditional_entropy(pairs)


def token_metrics(
    entropies: torch.Tensor, logps: torch.Tensor, planning: torch.Tensor, valid: torch.Tensor, top: float = 0.3
) -> dict[str, float]:
    """Metrics of section 3 by class; all arguments (B, T). A class without tokens has no entry.

    ``planning_entropy``, ``execution_entropy``: mean token entropy in nats. ``planning_perplexity``,
    ``execution_perplexity``: exp of the mean negative log-probability of the policy's own tokens.
    ``planning_that_forks``: share of planning tokens that are in the ``top`` share of tokens by entropy;
    ``forks_that_plan``: share of those that are planning tokens.
    """
    execution = valid & ~planning
    found = {}
    for name, chosen in (("planning", planning & valid), ("execution", execution)):
        if chosen.any():
            found[f"{name}_entropy"] = float(entropies[chosen].mean())
            found[f"{name}_perplexity"] = float(torch.exp(-logps[chosen].mean()))
    if valid.any():
        forks = valid & (entropies >= torch.quantile(entropies[valid], 1 - top))
        if (planning & valid).any():
            found["planning_that_forks"] = float((forks & planning).sum() / (planning & valid).sum())
        found["forks_that_plan"] = float((forks & planning).sum() / forks.sum())
    return found
