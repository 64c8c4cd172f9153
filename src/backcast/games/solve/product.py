"""The lifted decision process: game times the other players' automata, sparse, only what play can reach if asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton
from backcast.games.numbers import floats
from backcast.games.problems.game import StochasticGame

BUDGET = 3_000_000
"""Lifted states built without asking."""
WHOLE = 200_000
"""Up to this many lifted states all are built, reachable or not."""
CHUNK = 16_384


@dataclass(frozen=True, eq=False)
class Product:
    """What the learner faces when everybody else is an automaton: an ordinary sparse decision process."""

    game: StochasticGame
    player: int
    others: tuple[Automaton, ...]
    """The other players' automata, in seat order."""
    state: np.ndarray
    """Shape (N,): the game's state in each lifted state."""
    memory: np.ndarray
    """Shape (N, others): the node of each automaton."""
    transition: sp.csr_matrix
    """Shape (N * actions, N): row n * actions + a is the law of the next lifted state (entries may repeat a column)."""
    reward: np.ndarray
    """Shape (N, actions): the learner's expected payoff."""
    start: np.ndarray
    """Shape (N,): where play begins."""

    @property
    def size(self) -> int:
        """Number of lifted states N."""
        return len(self.state)

    @property
    def choices(self) -> int:
        """Number of the learner's actions."""
        return int(self.reward.shape[1])

    @cached_property
    def index(self) -> dict[tuple[int, ...], int]:
        """(game state, node, node, ...) -> lifted state."""
        keys = np.column_stack([self.state, self.memory]).tolist()
        return {tuple(key): n for n, key in enumerate(keys)}

    @cached_property
    def codes(self) -> np.ndarray:
        """Shape (N,), ascending: one integer per lifted state, its game state most significant."""
        code = self.state.astype(np.int64)
        for j, automaton in enumerate(self.others):
            code = code * automaton.nodes + self.memory[:, j]
        return code

    def label(self, n: int) -> str:
        """Returns a lifted state in words."""
        nodes = " & ".join(automaton.label(int(m)) for automaton, m in zip(self.others, self.memory[n], strict=True))
        states = self.game.states
        return f"{states[self.state[n]]}: {nodes}" if len(states) > 1 else nodes


def others_of(game: StochasticGame, player: int, opponents: Sequence[Automaton]) -> tuple[Automaton, ...]:
    """Returns the opponents in seat order; BadInput unless they fill exactly the other seats."""
    seats = [seat for seat in range(len(game.players)) if seat != player]
    given = sorted((automaton.check(game) for automaton in opponents), key=lambda automaton: automaton.player)
    if [automaton.player for automaton in given] != seats:
        raise BadInput(
            f"opponents fill seats {[a.player + 1 for a in given]}; player {player + 1} of '{game.name}' faces seats "
            f"{[seat + 1 for seat in seats]}: give one opponent for each"
        )
    return tuple(given)


def full_size(game: StochasticGame, others: Sequence[Automaton]) -> int:
    """Returns the number of lifted states when all are kept, reachable or not."""
    size = len(game.states)
    for automaton in others:
        size *= automaton.nodes
    return size


def product(
    game: StochasticGame,
    player: int,
    opponents: Sequence[Automaton],
    whole: bool | None = None,
    budget: int = BUDGET,
) -> Product:
    """Returns the learner's decision process against fixed automata.

    ``whole=None`` keeps every lifted state when there are at most 200 000, and else only those play can reach.
    Refuses, with the numbers, beyond ``budget`` lifted states.
    """
    others = others_of(game, player, opponents)
    size = full_size(game, others)
    whole = size <= WHOLE if whole is None else whole
    if whole and size > budget:
        raise BadInput(
            f"'{game.name}': {size} lifted states, more than the budget of {budget}; keep the reachable ones only"
        )
    steps = _Steps(game, player, others, [player])
    codes = np.arange(size, dtype=np.int64) if whole else _reached(steps, size, budget)
    place = _Places(codes, size)
    transition, reward = _assemble(steps, codes, place)
    state, memory = steps.decode(codes)
    start = _start(steps, place, len(codes))
    return Product(game, player, others, state, memory, transition, reward[:, :, 0], start)


@dataclass(frozen=True, eq=False)
class Chain:
    """What happens when every seat is an automaton: a Markov chain over what play can reach."""

    game: StochasticGame
    profile: tuple[Automaton, ...]
    state: np.ndarray
    memory: np.ndarray
    transition: sp.csr_matrix
    reward: np.ndarray
    """Shape (N, players): expected payoffs of the step."""
    start: np.ndarray
    joint_play: np.ndarray
    """Shape (N, joint): probability of every joint action."""


def chain_of(game: StochasticGame, profile: Sequence[Automaton], whole: bool = False, budget: int = BUDGET) -> Chain:
    """Returns the chain of a profile, one automaton per seat, over the reachable lifted states (all with ``whole``)."""
    everyone = tuple(sorted((automaton.check(game) for automaton in profile), key=lambda automaton: automaton.player))
    if [automaton.player for automaton in everyone] != list(range(len(game.players))):
        raise BadInput(f"profile: seats {[a.player + 1 for a in everyone]} are filled; give one strategy for each seat")
    steps = _Steps(game, None, everyone, range(len(game.players)))
    size = full_size(game, everyone)
    if whole and size > budget:
        raise BadInput(
            f"'{game.name}': {size} lifted states, more than the budget of {budget}; keep the reachable ones only"
        )
    codes = np.arange(size, dtype=np.int64) if whole else _reached(steps, size, budget)
    place = _Places(codes, size)
    transition, reward = _assemble(steps, codes, place)
    state, memory = steps.decode(codes)
    row, joint, chance = steps.replies(state, memory)
    joint_play = np.zeros((len(codes), game.joint))
    joint_play[row, joint] = chance
    start = _start(steps, place, len(codes))
    return Chain(game, everyone, state, memory, transition, reward[:, 0], start, joint_play)


def _start(steps: "_Steps", place: "_Places", size: int) -> np.ndarray:
    begins = np.flatnonzero(floats(steps.game.start) > 0)
    start = np.zeros(size)
    start[place(steps.encode(begins, steps.first(len(begins))))] = floats(steps.game.start)[begins]
    return start


class _Places:
    """Code of a lifted state -> its number."""

    def __init__(self, codes: np.ndarray, size: int):
        self.whole = len(codes) == size
        self.codes = codes

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        return codes if self.whole else np.searchsorted(self.codes, codes)


class _Steps:
    """All transitions out of a batch of lifted states, in row order."""

    def __init__(self, game: StochasticGame, player: int | None, others: tuple[Automaton, ...], paid: Sequence[int]):
        self.game, self.others, self.paid = game, others, paid
        self.actions = 1 if player is None else game.sizes[player]
        self.bases = [automaton.nodes for automaton in others]
        self.weights = [int(np.prod(game.sizes[seat + 1 :])) for seat in range(len(game.sizes))]
        self.own_weight = 0 if player is None else self.weights[player]
        self.lengths = np.diff(game.indptr)

    def first(self, count: int) -> list[np.ndarray]:
        """Start nodes, repeated."""
        return [np.full(count, automaton.start) for automaton in self.others]

    def encode(self, state: np.ndarray, memory: list[np.ndarray]) -> np.ndarray:
        """One integer per lifted state."""
        code = np.asarray(state, dtype=np.int64)
        for base, nodes in zip(self.bases, memory, strict=True):
            code = code * base + nodes
        return code

    def decode(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Game states (N,) and nodes (N, others) of codes."""
        rest = codes.copy()
        nodes = np.empty((len(codes), len(self.bases)), dtype=np.int32)
        for j in range(len(self.bases) - 1, -1, -1):
            rest, nodes[:, j] = np.divmod(rest, self.bases[j])
        return rest.astype(np.int32), nodes

    def replies(self, state: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the others may do: (row of the batch, joint code with the learner's digit 0, probability),
        row-sorted."""
        row = np.arange(len(state))
        code = np.zeros(len(state), dtype=np.int64)
        chance = np.ones(len(state))
        for j, automaton in enumerate(self.others):
            play = automaton.chances
            rows = play[0, memory[row, j]] if len(play) == 1 else play[state[row], memory[row, j]]
            entry, action = np.nonzero(rows)
            chance = chance[entry] * rows[entry, action]
            code = code[entry] + action * self.weights[automaton.player]
            row = row[entry]
        return row, code, chance

    def __call__(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Entries per row (batch * actions,), codes and probabilities of the successors, rewards (batch, actions,
        paid)."""
        state, memory = self.decode(codes)
        row, reply, chance = self.replies(state, memory)
        counts = np.bincount(row, minlength=len(codes))
        order, own = _repeat_rows(counts, self.actions)
        row, chance = row[order], chance[order]
        joint = reply[order] + own * self.own_weight
        kernel_row = state[row].astype(np.int64) * self.game.joint + joint
        flat, rows = row * self.actions + own, len(codes) * self.actions
        payoff = self.game.payoff.reshape(len(self.game.players), -1)
        pays = [np.bincount(flat, weights=chance * payoff[i, kernel_row], minlength=rows) for i in self.paid]
        reward = np.stack(pays, axis=1).reshape(len(codes), self.actions, len(pays))
        after = np.zeros(len(row), dtype=np.int64)
        for j, automaton in enumerate(self.others):
            layer = 0 if len(automaton.next) == 1 else state[row]
            after = after * self.bases[j] + automaton.next[layer, memory[row, j], joint]
        lengths = self.lengths[kernel_row]
        entry = ranges(self.game.indptr[kernel_row], lengths)
        reach = np.repeat(np.arange(len(row)), lengths)
        target = self.game.next_state[entry].astype(np.int64) * int(np.prod(self.bases, dtype=np.int64)) + after[reach]
        per_row = np.bincount(flat[reach], minlength=rows)
        return per_row, target, chance[reach] * self.game.kernel[entry], reward


def _repeat_rows(counts: np.ndarray, actions: int) -> tuple[np.ndarray, np.ndarray]:
    """Row-major order in which each row's block of entries is repeated once per own action."""
    begins = np.cumsum(counts) - counts
    blocks = np.repeat(counts, actions)
    order = ranges(np.repeat(begins, actions), blocks)
    own = np.repeat(np.tile(np.arange(actions), len(counts)), blocks)
    return order, own


def ranges(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns begin, begin + 1, ... (``lengths`` of them) for every row, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(begins - (ends - lengths), lengths))


def _reached(steps: _Steps, size: int, budget: int) -> np.ndarray:
    """Codes reachable from the start, sorted; breadth first, a layer at a time."""
    begins = np.flatnonzero(floats(steps.game.start) > 0)
    frontier = np.unique(steps.encode(begins, steps.first(len(begins))))
    found = frontier
    while len(frontier):
        new = [np.unique(steps(frontier[b : b + CHUNK])[1]) for b in range(0, len(frontier), CHUNK)]
        candidates = np.unique(np.concatenate(new))
        place = np.minimum(np.searchsorted(found, candidates), len(found) - 1)
        frontier = candidates[found[place] != candidates]
        found = np.union1d(found, frontier)
        if len(found) > budget:
            raise BadInput(
                f"'{steps.game.name}': more than {budget} lifted states are reachable (of {size} in all), "
                "beyond the budget of "
                f"{budget}; use smaller memories or minimise the automata"
            )
    return found


def _assemble(steps: _Steps, codes: np.ndarray, place: _Places) -> tuple[sp.csr_matrix, np.ndarray]:
    """The transition matrix without a sort: the entries come out row by row."""
    counts, columns, values, rewards = [], [], [], []
    size = len(codes)
    for begin in range(0, size, CHUNK):
        per_row, target, chance, reward = steps(codes[begin : begin + CHUNK])
        counts.append(per_row)
        columns.append(place(target).astype(np.int32))
        values.append(chance)
        rewards.append(reward)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    kind = np.int32 if indptr[-1] < 2**31 else np.int64
    matrix = sp.csr_matrix(
        (_joined(values), _joined(columns), indptr.astype(kind)), shape=(size * steps.actions, size), copy=False
    )
    return matrix, np.concatenate(rewards)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenation that lets go of each part as it is copied, so that the peak stays near one copy."""
    out = np.empty(sum(len(part) for part in parts), dtype=parts[0].dtype)
    at = 0
    while parts:
        part = parts.pop(0)
        out[at : at + len(part)] = part
        at += len(part)
    return out


def exact_rows(lifted: Product) -> tuple[list[list[dict[int, Any]]], list[list[Any]]]:
    """Returns the same process in fractions: rows[n][a] = {next: p}, rewards[n][a] (small processes only)."""
    from backcast.games.numbers import exact_array

    game, player = lifted.game, lifted.player
    payoff = exact_array(game.rewards[player])
    kernel = exact_array(game.probability)
    plays = [exact_array(automaton.play) for automaton in lifted.others]
    rows: list[list[dict[int, Any]]] = []
    rewards: list[list[Any]] = []
    for n in range(lifted.size):
        line: list[dict[int, Any]] = [{} for _ in range(lifted.choices)]
        pay: list[Any] = [0] * lifted.choices
        s, nodes = int(lifted.state[n]), lifted.memory[n].tolist()
        for joint, digits in enumerate(game.digits.tolist()):
            chance: Any = 1
            for automaton, play, m in zip(lifted.others, plays, nodes, strict=True):
                chance *= play[s % len(play), m, digits[automaton.player]]
            if chance == 0:
                continue
            own = digits[player]
            pay[own] += chance * payoff[s, joint]
            after = [int(t.next[s % len(t.next), m, joint]) for t, m in zip(lifted.others, nodes, strict=True)]
            for entry in range(game.indptr[s * game.joint + joint], game.indptr[s * game.joint + joint + 1]):
                target = lifted.index[(int(game.next_state[entry]), *after)]
                line[own][target] = line[own].get(target, 0) + chance * kernel[entry]
        rows.append(line)
        rewards.append(pay)
    return rows, rewards
