"""Policies at work: decoding partitions, log-probabilities with a gradient, routes from a policy, pairs by a policy."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from backcast.core.errors import BadInput
from backcast.routing.attention import Attention, decoded_by_attention
from backcast.routing.nets import AnyPolicy, Graphs, gather, make_board
from backcast.routing.problems.instance import Instance
from backcast.routing.process import Board, Replay, decode, routes_of_actions
from backcast.routing.search.ground import make_ground
from backcast.routing.search.layout import Ground
from backcast.routing.search.tour import polish_all
from backcast.routing.start import split_flat

PASSES = 20


def polished(ground: Ground, routes: list[list[int]]) -> tuple[list[list[int]], float]:
    """The routes as shorter round trips by 2-opt and Or-opt (the paper's node permutation), and their cost."""
    if not routes:
        return [], 0.0
    flat = np.concatenate([np.asarray(route, np.int64) for route in routes])
    lengths = np.array([len(route) for route in routes], np.int64)
    total = float(polish_all(ground, flat, lengths, PASSES).sum())
    return split_flat(flat, lengths), total


def weights_of(scores: torch.Tensor, starts: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What the process draws by: exponentials of the policy's log-weights (which have a floor), 0 for padding."""
    with torch.no_grad():
        return torch.exp(scores.double()).numpy(), torch.exp(starts.double()).numpy()


def log_probabilities(replays: Sequence[Replay], scores: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Log-probability of each whole sequence of one instance under the policy's logits: (G,), with gradient."""
    owner = np.repeat(np.arange(len(replays)), [len(one.rows) for one in replays])
    first = np.repeat(np.arange(len(replays)), [len(one.starts) for one in replays])
    total = torch.tensor([one.fixed for one in replays], dtype=scores.dtype)
    rows = torch.from_numpy(np.concatenate([one.rows for one in replays]))
    picks = torch.from_numpy(np.concatenate([one.picks for one in replays]))
    masks = torch.from_numpy(np.concatenate([one.masks for one in replays]))
    total = total.index_add(0, torch.from_numpy(owner), _chosen(scores[:, : masks.shape[1]][rows], masks, picks))
    masks = torch.from_numpy(np.concatenate([one.start_masks for one in replays]))
    picks = torch.from_numpy(np.concatenate([one.starts for one in replays]))
    return total.index_add(0, torch.from_numpy(first), _chosen(starts[None].expand(len(picks), -1), masks, picks))


def _chosen(logits: torch.Tensor, masks: torch.Tensor, picks: torch.Tensor) -> torch.Tensor:
    """The log-probability of each row's pick among what its mask leaves open."""
    open_only = logits.masked_fill(~masks, float("-inf"))
    return torch.log_softmax(open_only, dim=1).gather(1, picks[:, None]).squeeze(1)


def decoded(policy: AnyPolicy, boards: Sequence[Board], samples: int = 0, seed: int = 0) -> list[list[np.ndarray]]:
    """Actions of every board: one greedy episode, or so many sampled ones."""
    if isinstance(policy, Attention):
        return decoded_by_attention(policy, boards, samples, seed)
    policy.eval()
    with torch.no_grad():
        graphs = gather(boards, policy.shape)
        scores, starts = policy(graphs)
    return episodes(graphs, scores, starts, boards, samples, seed)


def episodes(
    graphs: Graphs, scores: torch.Tensor, starts: torch.Tensor, boards: Sequence[Board], samples: int, seed: int
) -> list[list[np.ndarray]]:
    """Actions of every board from logits that are there: greedy, or so many samples."""
    state = np.array([(seed + 1) * 0x9E3779B97F4A7C15 % 2**64], np.uint64)
    found = []
    for k, board in enumerate(boards):
        a, b = graphs.offsets[k], graphs.offsets[k + 1]
        rows, first = weights_of(scores[a:b, : board.near.shape[1]], starts[a:b])
        found.append([decode(board, rows, first, samples == 0, state)[0] for _ in range(max(1, samples))])
    return found


_TURNS = "1 0 0 1, 0 1 1 0, -1 0 0 1, 1 0 0 -1, -1 0 0 -1, 0 -1 1 0, 0 1 -1 0, 0 -1 -1 0"
TURNS = [np.array(turn.split(), float).reshape(2, 2) for turn in _TURNS.split(",")]
"""The symmetries of a square, as matrices; the first changes nothing."""


def policy_routes(
    policy: AnyPolicy, instance: Instance, samples: int = 0, seed: int = 0, copies: int = 1
) -> list[list[int]]:
    """A partition by the policy, each cluster as a short round trip; of several samples, and of up to eight turned and
    mirrored ``copies`` of the instance, which the policy reads one by one, the best."""
    if not 1 <= copies <= len(TURNS):
        raise BadInput(f"{copies} copies; there are 1 to {len(TURNS)}")
    if instance.size == 0:
        return []
    ground, tried = make_ground(instance, 0), []
    for turn in TURNS[:copies]:
        turned = instance if instance.coords is None else replace(instance, coords=instance.coords @ turn)
        (tries,) = decoded(policy, [make_board(turned, policy.shape)], samples, seed)
        tried += [polished(ground, routes_of_actions(actions)) for actions in tries]
    return min(tried, key=lambda pair: pair[1])[0]


def policy_groups(
    policy: AnyPolicy, groups: Sequence[tuple[Instance, list[list[int]]]], samples: int = 0, seed: int = 0
) -> list[list[list[int]]]:
    """New routes for groups of routes, all in one forward pass: greedy, or the best of so many samples."""
    boards = [make_board(instance, policy.shape, len(routes)) for instance, routes in groups]
    found = []
    for (instance, _), tries in zip(groups, decoded(policy, boards, samples, seed), strict=True):
        ground = make_ground(instance, 0)
        tried = [polished(ground, routes_of_actions(actions)) for actions in tries]
        found.append(min(tried, key=lambda pair: pair[1])[0])
    return found
