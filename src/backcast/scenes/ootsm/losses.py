"""What stage 1 and stage 2 minimise, as functions of logits, targets and spans recorded with the target."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from backcast.scenes.problems.vocabulary import Vocabulary


def horizon_weights(ahead: Tensor, last: Tensor, beta: float, first: int = 1) -> Tensor:
    """w = 1 up to ``first`` frames ahead, then (1 - beta) + beta (1 + cos(pi (h - first) / (H - first))) / 2.

    ``ahead``: h of every target, any shape; ``last``: H of its sample, broadcastable. All ones for beta = 0. This is
    what the paper's weighting is meant to be; the released code's version weighs nothing (docs/methods/ootsm.md).
    """
    share = (ahead - first).clamp(min=0) / (last - first).clamp(min=1)
    return torch.where(ahead <= first, 1.0, (1 - beta) + beta * 0.5 * (1 + torch.cos(torch.pi * share)))


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """sum(w l) / sum(w); padded targets have weight 0."""
    return (losses * weights).sum() / weights.sum().clamp(min=1e-9)


def listing_loss(logits: Tensor, present: Tensor, allowed: Tensor, weights: Tensor) -> Tensor:
    """Stage 1: logits and truth (B, Q, O), ``allowed`` (O,) objects that may be listed, weights (B, Q)."""
    each = binary_cross_entropy_with_logits(logits, present, reduction="none")[..., allowed].mean(-1)
    return weighted_mean(each, weights)


def labelling_loss(logits: Tensor, held: Tensor, weights: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Stage 2: logits and truth (B, Q, R), weights (B, Q): cross-entropy in one-of groups, inclusion in the others."""
    total = torch.zeros(weights.shape)
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        part, truth = logits[..., ids], held[..., ids]
        if group.arity == "one" and not group.allow_empty:
            flat = cross_entropy(part.reshape(-1, part.shape[-1]), truth.argmax(-1).reshape(-1), reduction="none")
            total = total + flat.reshape(weights.shape)
        else:
            total = total + binary_cross_entropy_with_logits(part, truth, reduction="none").sum(-1)
    return weighted_mean(total / len(vocabulary.predicates), weights)


def probabilities(logits: Tensor, vocabulary: Vocabulary) -> Tensor:
    """(..., R) probabilities: a one-of group sums to 1, labels of the others are included independently."""
    parts = []
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        part = logits[..., ids]
        one = group.arity == "one" and not group.allow_empty
        parts.append(part.softmax(-1) if one else part.sigmoid())
    return torch.cat(parts, -1)


def transition_prior(predicted: Tensor, observed: Tensor) -> Tensor:
    """Mean KL of observed from predicted P(holds next | holds now), each row weighted by how often it is observed.

    Both (..., 2, 2): soft counts by whether a predicate holds in one frame and in the next. 0 where the two agree.
    """
    p = observed / observed.sum(-1, keepdim=True)
    q = predicted / predicted.sum(-1, keepdim=True).clamp(min=1e-9)
    rows = observed.sum(-1) / observed.sum((-1, -2)).unsqueeze(-1)
    kl = (p * (p.clamp(min=1e-9).log() - q.clamp(min=1e-9).log())).sum(-1)
    return (rows * kl).sum(-1).mean()


def soft_transitions(now: Tensor, following: Tensor, weights: Tensor) -> Tensor:
    """(R, 2, 2) soft counts of adjacent frames: probabilities now and next (N, R), weights (N,)."""
    first = torch.stack([1 - now, now], -1)
    second = torch.stack([1 - following, following], -1)
    return torch.einsum("nra,nrb,n->rab", first, second, weights)
