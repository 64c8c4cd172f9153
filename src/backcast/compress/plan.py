"""``--plan``: a method and a number of bits for every layer, so that the folder fits a budget and the error is least.

Each layer is stored once by every candidate and its squared error taken. How much a layer's error matters to the model
is unknown without data, so by default every layer's error counts relative to its own weights; to first order the loss
rises linearly in these relative errors (Malinovskii et al., arXiv 2411.17525). With a text each layer's factor is
measured (``sensitivity``).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from backcast.compress import rtn, shards, splitquant, wgm
from backcast.compress.knapsack import Solution, cheapest, solve
from backcast.compress.layout import Floats, Layout, decode
from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.core.parallel import pmap

Settings = rtn.RTN | wgm.WGM | splitquant.SplitQuant

CANDIDATES: dict[str, Settings] = {
    **{f"wgm {bits}": wgm.preset("ours", bits) for bits in (2, 3, 4, 5, 6)},
    "splitquant 4": splitquant.SplitQuant(4, masked=True),
    "rtn 8": rtn.RTN(8, "row"),
}
"""What a layer can be stored as; besides, it can be left as it is."""

AS_IT_IS = "as it is"

SAMPLE = 1 << 17
"""Weights of a layer whose error is measured: all of a smaller one, evenly spaced rows of a larger one."""

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}


@dataclass(frozen=True)
class Budget:
    """How large the result may be: bytes of the whole folder, or stored bits per weight of the layers planned."""

    text: str
    bytes: int | None = None
    bits: float | None = None


def parse_budget(text: str) -> Budget:
    """``2.0gb``, ``120mb`` (powers of ten, whole folder) or ``4.5bits`` (per planned weight); BadInput otherwise."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(b|kb|mb|gb|bits?)\s*", text.lower())
    if not found or float(found[1]) <= 0:
        raise BadInput(f"--plan '{text}' is no size; write it like 2.0gb, 120mb or 4.5bits")
    if found[2].startswith("bit"):
        return Budget(text, bits=float(found[1]))
    return Budget(text, bytes=int(float(found[1]) * _UNITS[found[2]]))


@dataclass(frozen=True)
class Measured:
    """One layer: how each candidate would store it, and how wrong that is."""

    name: str
    weights: int
    before: int
    """Bytes as it is."""
    plain: Mapping[str, Mapping[str, Any]]
    """The layouts, as plain values."""
    errors: Mapping[str, float]
    """Squared error relative to the squares of the weights."""

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """By candidate."""
        return {name: Layout(**values) for name, values in self.plain.items()}

    def bytes(self, candidate: str) -> int:
        """Of the stored tensors."""
        return self.before if candidate == AS_IT_IS else self.layouts[candidate].bytes()

    def error(self, candidate: str) -> float:
        """Relative squared error; 0 as it is."""
        return 0.0 if candidate == AS_IT_IS else self.errors[candidate]


@dataclass(frozen=True)
class Look:
    """One layer to be measured, and where its figures are kept."""

    entry: shards.Entry
    folder: Path


def measure(entries: Sequence[shards.Entry], folder: Path, jobs: int) -> list[Measured]:
    """Stores every layer by every candidate; what was measured before a kill is read, not measured again."""
    return pmap(_measure, [Look(entry, folder) for entry in entries], jobs=jobs, label="measuring layers")


def _measure(look: Look) -> Measured:
    from backcast.compress.stream import encode

    path = look.folder / f"{look.entry.name}.json"
    if path.exists():
        return Measured(**json.loads(path.read_text()))
    entry = look.entry
    part = sample(shards.as_float32(shards.read(entry), entry))
    plain, errors = {}, {}
    square = float(np.square(part, dtype=np.float64).sum())
    for name, settings in CANDIDATES.items():
        encoded = encode(part, settings, entry.name)
        plain[name] = _whole(encoded.layout, entry.shape, settings).to_dict()
        wrong = float(np.square(decode(encoded) - part, dtype=np.float64).sum())
        errors[name] = wrong / square if square else 0.0
    found = Measured(entry.name, prod(entry.shape), entry.size, plain, errors)
    write_json(path, asdict(found))
    return found


def sample(weights: Floats) -> Floats:
    """The weights (rows, ...) as a matrix, thinned to evenly spaced rows when there are more than ``SAMPLE``."""
    matrix = weights.reshape(len(weights), -1)
    rows = max(SAMPLE // matrix.shape[1], 1)
    if len(matrix) <= rows:
        return matrix
    return np.ascontiguousarray(matrix[np.arange(rows) * len(matrix) // rows])


def _whole(layout: Layout, shape: tuple[int, ...], settings: Settings) -> Layout:
    """The layout of the whole matrix, from that of its sample; never smaller than what will be stored."""
    if layout.rows == shape[0] or not isinstance(settings, wgm.WGM) or not layout.kept:
        return replace(layout, rows=shape[0])
    kept = max(round(settings.protect * prod(shape)), layout.kept)
    return replace(layout, rows=shape[0], kept=kept, kept_bits=32)  # a weight that was not seen may need all its bits


@dataclass(frozen=True)
class Plan:
    """What was chosen for every layer, and how good that is known to be."""

    picks: Mapping[str, str]
    """Candidate by tensor name."""
    solution: Solution
    weights: int
    stored: int
    """Bytes of all planned layers as chosen."""

    @property
    def bits(self) -> float:
        """Stored bits per planned weight."""
        return 8 * self.stored / self.weights

    @property
    def layers(self) -> dict[str, Settings]:
        """The settings of every layer that is packed."""
        return {name: CANDIDATES[pick] for name, pick in self.picks.items() if pick != AS_IT_IS}


class Choices:
    """All layers with all candidates: what the knapsack is asked about."""

    def __init__(
        self, measured: Sequence[Measured], factors: Mapping[str, float] | None, extra: Mapping[str, Mapping[str, int]]
    ) -> None:
        self.measured = measured
        self.names = [AS_IT_IS, *CANDIDATES]
        self._factors, self._extra = factors, extra
        self.items = [[(self._cost(m, name), self.weighted(m, name)) for name in self.names] for m in measured]

    def _cost(self, layer: Measured, name: str) -> int:
        return layer.bytes(name) + self._extra.get(layer.name, {}).get(name, 0)

    def weighted(self, layer: Measured, name: str) -> float:
        """A layer's relative error times its factor: what is added up over layers."""
        return layer.error(name) * (1.0 if self._factors is None else self._factors[layer.name])

    @property
    def least(self) -> int:
        """Bytes of the smallest choice."""
        return cheapest(self.items)

    def best(self, budget: int) -> Plan | None:
        """The plan of least error within the budget; None if nothing fits."""
        found = solve(self.items, budget)
        if found is None:
            return None
        picks = {m.name: self.names[pick] for m, pick in zip(self.measured, found.picks, strict=True)}
        weights = sum(m.weights for m in self.measured)
        return Plan(picks, found, weights, sum(m.bytes(picks[m.name]) for m in self.measured))

    def uniform(self, name: str) -> tuple[float, float]:
        """(bits per weight, error) of every layer stored by one candidate."""
        bits = 8 * sum(m.bytes(name) for m in self.measured) / sum(m.weights for m in self.measured)
        return bits, sum(self.weighted(m, name) for m in self.measured)
