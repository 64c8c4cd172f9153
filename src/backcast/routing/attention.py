"""The attention policy of HLGP's supervised variant (arXiv 2502.08340, 5; the network is BQ-NCO's, arXiv 2301.03313).

Autoregressive: at every step the customers not served yet form a smaller problem of their own, with the current node as
its start and the depot as its end. A transformer without positions reads it and gives every customer two logits: go
there directly, or by way of the depot with a fresh vehicle. Residuals are scaled by learned scalars that begin at 0
(ReZero, arXiv 2003.04887) instead of being normalised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from backcast.core.errors import BadInput
from backcast.routing.process import Board

START, DEPOT = 0, 1
"""Places of the current node and of the depot among a state's tokens; customers follow."""
DIRECT, VIA = 0, 1
"""Columns of the logits: straight on, or by way of the depot."""


@dataclass(frozen=True)
class AttentionShape:
    """The architecture; a stored policy is only loaded into its own."""

    layers: int = 3
    """The paper has 9."""
    width: int = 64
    """The paper has 192."""
    heads: int = 4
    """The paper has 12."""
    hidden: int = 128
    """Width of the feed-forward part; the paper has 512."""
    near: int = 40
    """Unserved customers nearest to the current node that a state holds; the paper has 250 or 400."""


class State(NamedTuple):
    """One step's problem."""

    nodes: np.ndarray
    """(T,): the current node, the depot, then the nearest unserved customers."""
    features: np.ndarray
    """(T, 4) float32: x, y in the box of the state, demand and room in units of the capacity."""
    open: np.ndarray
    """(T, 2) bool: which of the two ways to each customer is open."""


def boxed(xy: np.ndarray) -> np.ndarray:
    """Places moved and scaled so that their box's longer side is [0, 1] and lies along x."""
    low, extent = xy.min(0), np.ptp(xy, axis=0)
    moved: np.ndarray = (xy - low) / max(float(extent.max()), 1e-12)
    return moved if extent[0] >= extent[1] else moved[:, ::-1]


class Episode:
    """A partition under construction: the process's states and masks (section 3 of the paper), without a network."""

    def __init__(self, board: Board, near: int) -> None:
        self.board, self.near = board, near
        self.left = np.ones(len(board.demand), bool)
        self.left[0] = False
        self.at, self.room, self.departed = 0, board.capacity, 1
        self.unserved = int(board.demand.sum())
        self.actions: list[int] = []

    @property
    def ended(self) -> bool:
        """Whether every customer is served."""
        return not bool(self.left.any())

    def state(self) -> State:
        """The nearest unserved customers, and which ways are open: by load, and the depot's by the fleet mask."""
        board, at = self.board, self.at
        customers = np.flatnonzero(self.left)
        gaps = ((board.xy[customers] - board.xy[at]) ** 2).sum(1)
        fits = board.demand[customers] <= self.room
        order = np.argsort(gaps, kind="stable")[: self.near]
        closed = at == 0 or self.unserved > (board.most - self.departed) * board.capacity
        if not fits.any():
            closed = False
        elif closed and not fits[order].any():  # what fits lies farther off: it alone is open
            order[-1] = np.flatnonzero(fits)[np.argmin(gaps[fits])]
        nodes = np.concatenate([[at, 0], customers[order]])
        open_ways = np.zeros((len(nodes), 2), bool)
        open_ways[2:, DIRECT] = fits[order]
        open_ways[2:, VIA] = not closed
        load = board.demand[nodes] / board.capacity
        load[:2] = 0.0
        room = np.full(len(nodes), self.room / board.capacity)
        features = np.column_stack([boxed(board.xy[nodes]), load, room]).astype(np.float32)
        return State(nodes, features, open_ways)

    def go(self, customer: int, way: int) -> None:
        """Serves a customer next, by one of the two ways."""
        board = self.board
        if way == VIA:
            self.actions.append(0)
            self.room, self.departed = board.capacity, self.departed + 1
        if not self.left[customer] or board.demand[customer] > self.room:
            raise BadInput(f"the sequence goes to {customer}, which is served or does not fit; check the routes")
        self.actions.append(customer)
        self.left[customer] = False
        self.room -= int(board.demand[customer])
        self.unserved -= int(board.demand[customer])
        self.at = customer


class _Layer(nn.Module):
    """x' = x + a Attention(x); x'' = x' + b W2 relu(W1 x'), with a and b learned from 0."""

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv, self.mix = nn.Linear(shape.width, 3 * shape.width, bias=False), nn.Linear(shape.width, shape.width)
        self.wide, self.narrow = nn.Linear(shape.width, shape.hidden), nn.Linear(shape.hidden, shape.width)
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None, :])
        x = x + self.a * self.mix(seen.transpose(1, 2).flatten(2))
        rest: torch.Tensor = x + self.b * self.narrow(torch.relu(self.wide(x)))
        return rest


class Attention(nn.Module):
    """Logits of the two ways to every customer of a state; see ``forward``."""

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        if shape.width % shape.heads:
            raise BadInput(f"width {shape.width} does not divide into {shape.heads} heads; choose others")
        self.shape = shape
        self.embed = nn.Linear(4, shape.width)
        self.tokens = nn.Parameter(torch.randn(2, shape.width) / shape.width**0.5)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.head = nn.Linear(shape.width, 2)

    def forward(self, features: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """(B, T, 2) logits from (B, T, 4) features; ``valid`` (B, T) is False for padding. The first two tokens are the
        current node and the depot, marked by vectors of their own."""
        x = self.embed(features)
        x = torch.cat([x[:, :2] + self.tokens, x[:, 2:]], dim=1)
        for layer in self.layers:
            x = layer(x, valid)
        logits: torch.Tensor = self.head(x)
        return logits


def log_probabilities_of(policy: Attention, states: Sequence[State]) -> torch.Tensor:
    """(B, 2 T) log-probabilities of the ways in each state, way by way of each token; -inf where closed."""
    width = max(len(state.nodes) for state in states)
    features = np.zeros((len(states), width, 4), np.float32)
    valid, ways = np.zeros((len(states), width), bool), np.zeros((len(states), width, 2), bool)
    for k, state in enumerate(states):
        size = len(state.nodes)
        features[k, :size], valid[k, :size], ways[k, :size] = state.features, True, state.open
    logits = policy(torch.from_numpy(features), torch.from_numpy(valid))
    closed = logits.masked_fill(~torch.from_numpy(ways), float("-inf"))
    return torch.log_softmax(closed.flatten(1), dim=1)


def decoded_by_attention(
    policy: Attention, boards: Sequence[Board], samples: int = 0, seed: int = 0
) -> list[list[np.ndarray]]:
    """Actions of every board: one greedy episode, or so many sampled ones; all episodes advance side by side."""
    policy.eval()
    rng = np.random.default_rng([seed, 77])
    tries = max(1, samples)
    episodes = [Episode(board, policy.shape.near) for board in boards for _ in range(tries)]
    going = [one for one in episodes if not one.ended]
    while going:
        states = [one.state() for one in going]
        with torch.no_grad():
            logs = log_probabilities_of(policy, states).numpy()
        if samples:
            logs = logs + rng.gumbel(size=logs.shape)  # the largest is a sample (Gumbel 1954)
        for one, state, pick in zip(going, states, logs.argmax(axis=1).tolist(), strict=True):
            one.go(int(state.nodes[pick // 2]), pick % 2)
        going = [one for one in going if not one.ended]
    actions = [np.array(one.actions, np.int64) for one in episodes]
    return [actions[k * tries : (k + 1) * tries] for k in range(len(boards))]


def followed(board: Board, near: int, routes: Sequence[Sequence[int]]) -> tuple[list[State], list[int], int]:
    """The states along routes, the way taken in each (an index into its ways), and how many steps took none: their
    customer is not among the nearest, or the fleet mask closes the depot; these have no probability and are left out.
    """
    episode, states, taken, off = Episode(board, near), list[State](), list[int](), 0
    for r, route in enumerate(routes):
        for k, customer in enumerate(route):
            way, state = VIA if r and not k else DIRECT, episode.state()
            place = np.flatnonzero(state.nodes[2:] == customer)
            if len(place) and state.open[2 + place[0], way]:
                states.append(state)
                taken.append(2 * (2 + int(place[0])) + way)
            else:
                off += 1
            episode.go(customer, way)
    return states, taken, off
