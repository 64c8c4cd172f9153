"""The policy network: a gated graph network over sparse candidates, one forward pass an instance (2502.08340, 4.2).

Two sets of features. "repaired": candidates are the nearest by distance and by direction together, the depot is a
candidate of every customer, no node is its own, angles come as sine and cosine, and edges carry distance and cosine.
"paper": candidates by direction only, radius and angle as they are, and both edge channels the cosine, as released.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import nn

from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.routing.attention import Attention, AttentionShape
from backcast.routing.problems.instance import Instance
from backcast.routing.process import Board, vehicles_for

Features = Literal["repaired", "paper"]
WIDEST = 4096
"""The largest number of a stored architecture that is believed."""


@dataclass(frozen=True)
class Shape:
    """The architecture; a stored policy is only loaded into its own."""

    layers: int = 3
    """The paper has 12."""
    width: int = 32
    """The paper has 48."""
    near: int = 20
    """Candidates by distance, and as many by direction; the paper has 100 or 200 by direction."""
    features: Features = "repaired"


class Graphs(NamedTuple):
    """Instances laid end to end: nodes of all in one list."""

    nodes: torch.Tensor
    """(M, F)."""
    edges: torch.Tensor
    """(M, K, E)."""
    near: torch.Tensor
    """(M, K) indices into the list; padded ones point at the node itself."""
    valid: torch.Tensor
    """(M, K) False for padding."""
    offsets: list[int]
    """Where each instance begins, and the end."""


def candidates(instance: Instance, shape: Shape) -> np.ndarray:
    """(N + 1, K) int32 candidates, -1 padded; column 0 of a customer's row is the depot (in both variants: without it
    routes could only close when nothing else is open)."""
    coords = instance.coords
    if coords is None:
        raise BadInput(f"{instance.id}: the policy needs coordinates")
    n, width = instance.size + 1, min(shape.near, max(0, instance.size - 1))
    by_place = _nearest(coords[1:], width)
    away = coords[1:] - coords[0]
    radius = np.maximum(np.sqrt((away**2).sum(1, keepdims=True)), 1e-12)
    by_direction = _nearest(away / radius, width)
    lists = [by_place, by_direction] if shape.features == "repaired" else [by_direction]
    joined = np.concatenate(lists, axis=1) + 1
    joined.sort(axis=1)
    if joined.shape[1]:
        joined[:, 1:][joined[:, 1:] == joined[:, :-1]] = n  # the second of two equal ones is padding
    joined.sort(axis=1)
    joined[joined == n] = -1
    near = np.full((n, joined.shape[1] + 1), -1, np.int32)
    near[1:, 0] = 0
    near[1:, 1:] = joined
    closest = np.argsort(radius[:, 0], kind="stable")[: joined.shape[1]] + 1
    near[0, 1 : 1 + len(closest)] = closest
    return near


def _nearest(points: np.ndarray, width: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    from backcast.routing.search.ground import without_self

    if width == 0:
        return np.zeros((len(points), 0), np.int64)
    return without_self(cKDTree(points).query(points, k=width + 1)[1])


def make_board(instance: Instance, shape: "AnyShape", most: int | None = None) -> Board:
    """The decision process of an instance with the graph network's candidates (attention chooses its own by place)."""
    if instance.coords is None:
        raise BadInput(f"{instance.id}: the policy needs coordinates")
    near = candidates(instance, shape) if isinstance(shape, Shape) else np.zeros((instance.size + 1, 1), np.int32)
    limit = vehicles_for(instance) if most is None else most
    return Board(np.ascontiguousarray(instance.coords), instance.demands, int(instance.capacity), near, limit)


def gather(boards: Sequence[Board], shape: Shape) -> Graphs:
    """The boards as one list of nodes with features; distances are scaled by the farthest customer of each."""
    width = max(board.near.shape[1] for board in boards)
    nodes, edges, near, valid, offsets = [], [], [], [], [0]
    for board in boards:
        n = len(board.demand)
        own = np.full((n, width), -1, np.int64)
        own[:, : board.near.shape[1]] = board.near
        away = board.xy - board.xy[0]
        radius = np.sqrt((away**2).sum(1))
        scale = max(float(radius.max()), 1e-12)
        safe = np.maximum(radius, 1e-12)
        to = np.where(own < 0, np.arange(n)[:, None], own)
        cosine = (away[:, None] * away[to]).sum(-1) / (safe[:, None] * safe[to])
        distance = np.sqrt(((board.xy[:, None] - board.xy[to]) ** 2).sum(-1)) / scale
        angle, load = np.arctan2(away[:, 1], away[:, 0]), board.demand / board.capacity
        if shape.features == "repaired":
            depot = (np.arange(n) == 0).astype(float)
            nodes.append(np.stack([load, radius / scale, np.sin(angle), np.cos(angle), depot], 1))
            edges.append(_polar_edges(away, safe, to, cosine, distance))
        else:
            nodes.append(np.stack([load, radius, angle], 1))
            edges.append(np.stack([cosine, cosine], 2))
        near.append(to + offsets[-1])
        valid.append(own >= 0)
        offsets.append(offsets[-1] + n)
    return Graphs(
        torch.tensor(np.concatenate(nodes), dtype=torch.float32),
        torch.tensor(np.concatenate(edges), dtype=torch.float32),
        torch.tensor(np.concatenate(near)),
        torch.tensor(np.concatenate(valid)),
        offsets,
    )


def _polar_edges(
    away: np.ndarray, radius: np.ndarray, to: np.ndarray, cosine: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """What a customer sees of its candidates (n, K, 6): cosine and sine of the turn about the depot; how far outward,
    sideways and in all they lie, in units of about ten usual gaps; whether one is the depot.

    Without the signed ones no weights can tell clockwise from counter-clockwise, and no policy can sweep.
    """
    outward = away / radius[:, None]
    step = away[to] - away[:, None]
    along = (outward[:, None] * step).sum(-1)
    across = outward[:, None, 0] * step[..., 1] - outward[:, None, 1] * step[..., 0]
    sine = across / radius[to]
    unit = np.sqrt(len(away)) / 10 / max(float(radius.max()), 1e-12)
    gap = distance * np.sqrt(len(away)) / 10
    return np.stack([cosine, sine, along * unit, across * unit, gap, (to == 0).astype(float)], 2)


class _Layer(nn.Module):
    """h' = h + SiLU(BN(A h + mean_j sigmoid(e_ij) (B h)_j)); e' = e + SiLU(BN(E e_ij + (C h)_i + (D h)_j))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.node = nn.Linear(width, 4 * width)
        self.edge = nn.Linear(width, width)
        self.node_norm, self.edge_norm = nn.BatchNorm1d(width), nn.BatchNorm1d(width)

    def forward(self, h: torch.Tensor, e: torch.Tensor, graphs: Graphs) -> tuple[torch.Tensor, torch.Tensor]:
        a, b, c, d = self.node(h).chunk(4, dim=1)
        weight = torch.sigmoid(e) * graphs.valid[:, :, None]
        count = graphs.valid.sum(1, keepdim=True).clamp(min=1)
        mean = (weight * b[graphs.near]).sum(1) / count
        new_e = self.edge(e) + c[:, None] + d[graphs.near]
        normed = self.edge_norm(new_e.reshape(-1, new_e.shape[-1])).reshape(new_e.shape)
        silu = nn.functional.silu
        return h + silu(self.node_norm(a + mean)), e + silu(normed)


FLOOR = 1e-5
"""Added to every probability of a row, as in the released program."""


def floored(logits: torch.Tensor) -> torch.Tensor:
    """Log of softmax plus FLOOR, along the last dimension.

    A candidate that the masks leave alone may have been the least likely of its row by far. Without a floor its
    log-probability falls without end, and what is sampled (from weights in double precision) is no longer what the
    gradient is of: trained policies broke down after some fifty steps.
    """
    return torch.log(torch.softmax(logits, dim=-1) + FLOOR)


class Policy(nn.Module):
    """Scores of candidates and of first customers, from features; see ``forward``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        nodes, edges = (5, 6) if shape.features == "repaired" else (3, 2)
        width, silu = shape.width, nn.SiLU
        self.nodes, self.edges = nn.Linear(nodes, width), nn.Linear(edges, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(shape.layers))
        self.head = nn.Sequential(nn.Linear(width, width), silu(), nn.Linear(width, width), silu(), nn.Linear(width, 1))
        self.start = nn.Sequential(nn.Linear(width, width), silu(), nn.Linear(width, 1))

    def forward(self, graphs: Graphs) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-weights (M, K) of each node's candidates, -inf for padding, and (M,) of being a vehicle's first customer.

        Both are floored as ``floored`` says.
        """
        silu = nn.functional.silu
        h, e = silu(self.nodes(graphs.nodes)), silu(self.edges(graphs.edges))
        for layer in self.layers:
            h, e = layer(h, e, graphs)
        scores = floored(self.head(e).squeeze(-1).masked_fill(~graphs.valid, float("-inf")))
        starts = [floored(part) for part in self.start(h).squeeze(-1).split(np.diff(graphs.offsets).tolist())]
        return scores.masked_fill(~graphs.valid, float("-inf")), torch.cat(starts)


AnyShape = Shape | AttentionShape
AnyPolicy = Policy | Attention
KINDS: dict[type, str] = {Shape: "hlgp-policy", AttentionShape: "hlgp-attention"}


def network(shape: AnyShape) -> AnyPolicy:
    """The network of a shape."""
    return Policy(shape) if isinstance(shape, Shape) else Attention(shape)


def make_policy(shape: AnyShape, seed: int) -> AnyPolicy:
    """A policy with random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(shape)


def save_policy(policy: AnyPolicy, folder: Path, name: str) -> None:
    """Writes ``name.safetensors`` and ``name.json`` (the architecture)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(policy.state_dict(), str(folder / f"{name}.safetensors"))
    write_json(folder / f"{name}.json", {"kind": KINDS[type(policy.shape)], **asdict(policy.shape)})


def load_policy(folder: str | Path, name: str) -> AnyPolicy:
    """The policy ``name`` ("global" or "local") of a folder that ``route train`` wrote; raises BadInput for another."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder)
    settings, weights = path / f"{name}.json", path / f"{name}.safetensors"
    if not settings.is_file() or not weights.is_file():
        raise BadInput(f"'{folder}' holds no {name} policy ({name}.json, {name}.safetensors); train one: route train")
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(f"'{settings}' is no JSON ({error}); train the policy again: backcast route train") from None
    kind = found.pop("kind", None) if isinstance(found, dict) else None
    shape = next((shape for shape, name in KINDS.items() if name == kind), None)
    if shape is None or set(found) != {field.name for field in fields(shape)}:
        raise BadInput(f"'{settings}' describes no policy of this room; train one with backcast route train")
    policy = network(_checked(shape, found, settings))
    try:
        stored = load_file(str(weights))
    except (SafetensorError, OSError) as error:
        raise BadInput(f"'{weights}' is not whole ({error}); train the policy again: backcast route train") from None
    wanted = {key: list(value.shape) for key, value in policy.state_dict().items()}
    held = {key: list(value.shape) for key, value in stored.items()}
    for key in sorted(wanted.keys() | held.keys()):
        if wanted.get(key) != held.get(key):
            raise BadInput(
                f"'{weights}' is of another architecture than {name}.json says: '{key}' is {held.get(key, 'missing')}, "
                f"by {name}.json {wanted.get(key, 'not there')}; take both files of one training"
            )
    policy.load_state_dict(stored)
    policy.eval()
    return policy


def _checked(shape: type[AnyShape], found: dict[str, Any], settings: Path) -> AnyShape:
    """The shape of stored values; raises BadInput for one that no network can have."""
    for field in fields(shape):
        value = found[field.name]
        if isinstance(field.default, str):
            fine, wanted = value in get_args(Features), " or ".join(get_args(Features))
        else:
            fine, wanted = type(value) is int and 1 <= value <= WIDEST, f"a whole number from 1 to {WIDEST}"
        if not fine:
            raise BadInput(f"'{settings}': {field.name} '{value}' is not {wanted}; take the file of the training")
    return shape(**found)
