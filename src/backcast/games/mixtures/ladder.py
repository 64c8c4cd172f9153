"""The ladder memory-0 <= memory-1 <= ... <= Bayes <= clairvoyant against a mixture."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.mixture import Mixture, induced
from backcast.games.memory.windows import Windows, check_size, k_memory
from backcast.games.mixtures.bayes import BayesValue, bayes_value
from backcast.games.numbers import check_discount, rational
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.evaluate import exact_values
from backcast.games.solve.mdp import linear_values, visits
from backcast.games.solve.product import Product, product
from backcast.games.solve.response import Response, best_response, place_words, simple

BRANCHES = 3_000
"""Bounds computed in one search before the best found is returned unproved."""
WORK = 500_000
"""The same, times lifted states: large games get fewer bounds."""
DENSE = 400
"""Up to this many lifted states linear algebra is dense."""


@dataclass(frozen=True, eq=False)
class MemoryValue:
    """The best pure K-memory strategy against a mixture."""

    memory: int
    value: float
    upper: float
    """Proved upper bound on every pure K-memory strategy; equals ``value`` when the search was complete."""
    exact: Fraction | None
    strategy: Automaton

    def policy(self) -> dict[str, str]:
        """Returns {window, own move first: action}, led by ``state: `` where there are several states."""
        automaton, windows = self.strategy, Windows.of(self.strategy)
        own, states = automaton.actions[automaton.player], automaton.states
        return {
            place_words(states, s, windows.text(w, automaton.player), windows.memory): own[int(row[w].argmax())]
            for s, row in enumerate(automaton.chances)
            for w in windows
        }

    @property
    def proven(self) -> bool:
        """Whether the search was complete."""
        return self.upper <= self.value + 1e-9 * max(1.0, abs(self.value))


@dataclass(frozen=True, eq=False)
class Ladder:
    """Everything a mixture is worth, from no memory to knowing the type."""

    memory: list[MemoryValue]
    bayes: BayesValue
    clairvoyant: float
    clairvoyant_exact: Fraction | None
    induced: float
    """Best response against the induced behavioural strategy: a different problem (theorem 3.3)."""
    replies: list[Response]


def ladder(
    game: StochasticGame, mixture: Mixture, player: int = 0, discount: Any = None, memory: int = 1, **options: Any
) -> Ladder:
    """Returns all rungs up to ``memory`` for a two-player game; ``options`` as in ``bayes_value``."""
    rate = check_discount(game.discount if discount is None else discount)
    check_size(game, memory)
    replies = [best_response(game, kind, player, rate) for kind in mixture.types]
    seen = sum(float(w) * reply.value for w, reply in zip(mixture.weights, replies, strict=True))
    exact = None
    if all(reply.exact is not None for reply in replies):
        pairs = zip(mixture.weights, replies, strict=True)
        exact = sum((rational(w) * reply.exact for w, reply in pairs if reply.exact is not None), Fraction(0))
    return Ladder(
        [best_memory(game, mixture, k, player, rate) for k in range(memory + 1)],
        bayes_value(game, mixture, player, rate, **options),
        seen,
        exact,
        best_response(game, induced(game, mixture), player, rate).value,
        replies,
    )


def best_memory(
    game: StochasticGame,
    mixture: Mixture,
    memory: int,
    player: int = 0,
    discount: Any = None,
    branches: int = BRANCHES,
    sees: str = "all",
) -> MemoryValue:
    """Returns the best pure K-memory strategy against a mixture in a two-player game.

    ``sees='all'``: windows of joint actions (definition 1.2; own moves can then serve as notes to oneself).
    ``sees='others'``: windows of the other's moves only. Branch and bound over cells (state, window): the bound lets a
    cell not yet decided act differently against each type; where moves change nothing that comes, every cell is
    decided by itself.
    """
    rate = check_discount(game.discount if discount is None else discount)
    search = _Search(game, mixture, memory, player, float(rate), sees)
    search.run(branches)
    strategy = search.strategy()
    exact = None
    if all(simple(lifted) for lifted in search.lifted) and strategy.nodes <= 70:
        parts = [exact_values(game, [strategy, kind], rate)[player] for kind in mixture.types]
        exact = sum((rational(w) * part for w, part in zip(mixture.weights, parts, strict=True)), Fraction(0))
    value = search.value if exact is None else float(exact)
    return MemoryValue(memory, value, max(value, search.upper), exact, strategy)


class _Search:
    """Branch and bound over the cells of a K-memory table, all types at once."""

    def __init__(self, game: StochasticGame, mixture: Mixture, memory: int, player: int, rate: float, sees: str):
        if sees not in ("all", "others"):
            raise BadInput(f"sees: '{sees}' is unknown; choose 'all' or 'others'")
        if sees == "all":
            check_size(game, memory)
        self.game, self.player, self.rate, self.actions = game, player, rate, game.sizes[player]
        self.weights = [float(w) for w in mixture.weights]
        self.named = Windows(game.actions if sees == "all" else (game.actions[1 - player],), memory)
        self.letters = np.arange(game.joint) if sees == "all" else game.digits[:, 1 - player].astype(np.int64)
        self.windows = len(self.named)
        self.cells = len(game.states) * self.windows
        self.lifted: list[Product] = []
        self.cell: list[np.ndarray] = []
        for kind in mixture.types:
            tracked, window = track(kind, self.named, self.letters)
            lifted = product(game, player, [tracked], whole=False)
            self.lifted.append(lifted)
            self.cell.append(lifted.state * self.windows + window[lifted.memory[:, 0]])
        self.best = np.zeros(self.cells, dtype=np.int64)
        self.value, self.upper = -np.inf, np.inf

    @cached_property
    def kernel(self) -> list[Any]:
        """Per type the kernel, shape (N * actions, N): dense where it is small, for then that is faster."""
        return [lifted.transition.toarray() if lifted.size <= DENSE else lifted.transition for lifted in self.lifted]

    def _parts(self) -> Any:
        """Everything about each type that counts: (weight, lifted process, kernel, cell of each lifted state)."""
        parts = zip(self.weights, self.lifted, self.kernel, self.cell, strict=True)
        return (part for part in parts if part[0] > 0)

    def _follow(self, kernel: Any, reward: np.ndarray, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
        """Values and action values of a policy, and its chain."""
        n = np.arange(len(reward))
        chain = kernel[n * self.actions + policy]
        if isinstance(chain, np.ndarray):
            value = np.linalg.solve(np.eye(len(reward)) - self.rate * chain, reward[n, policy])
        else:
            value = linear_values(chain, reward[n, policy], self.rate)
        return value, reward + self.rate * (kernel @ value).reshape(reward.shape), chain

    def _often(self, chain: Any, start: np.ndarray) -> np.ndarray:
        """Discounted visits of a chain."""
        if isinstance(chain, np.ndarray):
            return np.linalg.solve((np.eye(len(start)) - self.rate * chain).T, start)
        return visits(chain, start, self.rate)

    def strategy(self) -> Automaton:
        """The best table found."""
        play = np.eye(self.actions)[self.best.reshape(len(self.game.states), self.windows)]
        name = f"best memory-{self.named.memory}"
        if len(self.named.actions) == len(self.game.actions):
            return k_memory(self.game, self.player, self.named.memory, play, name)
        following = self.named.append(np.arange(self.windows)[None, :, None], self.letters[None, None, :])
        names = tuple(self.named.text(w) for w in self.named)
        return Automaton(
            self.player, self.game.actions, play, following.astype(np.int32), 0, name, names, states=self.game.states
        )

    def _uncontrolled(self) -> bool:
        """Whether the learner's moves change nothing that comes after."""
        for lifted in self.lifted:
            first = lifted.transition[:: self.actions]
            if any((first != lifted.transition[a :: self.actions]).nnz for a in range(1, self.actions)):
                return False
        return True

    def _cell_by_cell(self) -> None:
        """The optimum where moves change nothing: in every cell the best payoff, weighted by type and by visits."""
        wish = np.zeros((self.cells, self.actions))
        for weight, lifted, cell in zip(self.weights, self.lifted, self.cell, strict=True):
            often = visits(lifted.transition[:: self.actions], lifted.start, self.rate)
            np.add.at(wish, cell, weight * often[:, None] * lifted.reward)
        self.best, self.value = wish.argmax(axis=1), float(wish.max(axis=1).sum())
        self.upper = self.value

    def relaxed(self, fixed: np.ndarray) -> tuple[float, np.ndarray]:
        """Upper bound with the cells in ``fixed`` (action, or -1) decided, and each type's wishes, shape (cells,
        actions)."""
        total, wish = 0.0, np.zeros((self.cells, self.actions))
        for weight, lifted, kernel, cell in self._parts():
            n = np.arange(lifted.size)
            policy = np.where(fixed[cell] >= 0, fixed[cell], lifted.reward.argmax(axis=1))
            for _ in range(200):
                value, q, chain = self._follow(kernel, lifted.reward, policy)
                better = (fixed[cell] < 0) & (q.max(axis=1) > q[n, policy] + 1e-10 * max(1.0, abs(value).max()))
                if not better.any():
                    break
                policy = np.where(better, q.argmax(axis=1), policy)
            total += weight * float(lifted.start @ value)
            np.add.at(wish, (cell, policy), weight * self._often(chain, lifted.start))
        return total, wish

    def lean(self, table: np.ndarray) -> tuple[float, np.ndarray]:
        """Exact value of a complete table, and what each change of one cell would add to first order, shape (cells,
        actions)."""
        total, gain = 0.0, np.zeros((self.cells, self.actions))
        for weight, lifted, kernel, cell in self._parts():
            value, q, chain = self._follow(kernel, lifted.reward, table[cell])
            total += weight * float(lifted.start @ value)
            often = self._often(chain, lifted.start)
            np.add.at(gain, cell, weight * often[:, None] * (q - value[:, None]))
        return total, gain

    def score(self, policy: np.ndarray) -> float:
        """Exact value of a complete table."""
        return self.relaxed(policy)[0]

    def climb(self, policy: np.ndarray) -> None:
        """Changes cells while that helps, those that promise most first; keeps the best."""
        policy, value = self._uphill(policy)
        used = sorted(set(np.concatenate(self.cell).tolist()))
        improved = True
        while improved and len(used) * self.actions <= 400:
            improved = False
            for cell in used:
                for action in range(self.actions):
                    trial = policy.copy()
                    trial[cell] = action
                    if action != policy[cell] and (other := self.score(trial)) > value + 1e-10:
                        policy, value, improved = trial, other, True
        if value > self.value:
            self.best, self.value = policy, value

    def _uphill(self, policy: np.ndarray) -> tuple[np.ndarray, float]:
        """Follows first-order gains: all cells at once, or the most promising ones, as long as the value rises."""
        value, gain = self.lean(policy)
        for _ in range(200):
            order = np.argsort(-gain.max(axis=1), kind="stable")
            promising = order[gain[order].max(axis=1) > 1e-10 * max(1.0, abs(value))]
            for count in (len(promising), len(promising) // 4, 16, 4, 1):
                trial = policy.copy()
                chosen = promising[:count]
                trial[chosen] = gain[chosen].argmax(axis=1)
                other, after = self.lean(trial) if len(chosen) else (value, gain)
                if other > value + 1e-10 * max(1.0, abs(value)):
                    policy, value, gain = trial, other, after
                    break
            else:
                break
        return policy, value

    def run(self, branches: int) -> None:
        """Best first: the node with the highest bound is opened; the gap closes when no bound exceeds the best
        found."""
        if self._uncontrolled():
            return self._cell_by_cell()
        branches = min(branches, WORK // sum(lifted.size for lifted in self.lifted))
        root = np.full(self.cells, -1, dtype=np.int64)
        bound, wish = self.relaxed(root)
        self.climb(wish.argmax(axis=1))
        waiting: list[tuple[float, int, np.ndarray, np.ndarray]] = [(-bound, 0, root, wish)]
        count = 0
        while waiting:
            bound, _, fixed, wish = heapq.heappop(waiting)
            if -bound <= self.value + 1e-10 * max(1.0, abs(self.value)):
                waiting = []
                break
            if count >= branches:
                self.upper = -bound
                return None
            disputed = np.where(fixed < 0, wish.sum(axis=1) - wish.max(axis=1), -1.0)
            cell = int(disputed.argmax())
            if disputed[cell] <= 0:  # every type wants the same: the bound is reached by a table
                self._take(np.where(fixed >= 0, fixed, wish.argmax(axis=1)))
                continue
            for action in range(self.actions):
                child = fixed.copy()
                child[cell] = action
                value, wanted = self.relaxed(child)
                count += 1
                if value > self.value + 1e-10 * max(1.0, abs(self.value)):
                    heapq.heappush(waiting, (-value, count, child, wanted))
        self.upper = self.value
        return None

    def _take(self, policy: np.ndarray) -> None:
        value = self.score(policy)
        if value > self.value:
            self.best, self.value = policy, value


def track(automaton: Automaton, windows: Windows, letters: np.ndarray) -> tuple[Automaton, np.ndarray]:
    """Returns the same strategy over nodes (window, own node), and each node's window; ``letters``: joint action
    -> letter."""
    nodes: list[tuple[int, int]] = [(0, automaton.start)]
    place = {nodes[0]: 0}
    layers = len(automaton.next)
    table: list[list[list[int]]] = []
    for window, node in nodes:
        after = windows.append(np.full(len(letters), window), letters).tolist()
        rows = []
        for s in range(layers):
            row = []
            for key in zip(after, automaton.next[s, node].tolist(), strict=True):
                if key not in place:
                    place[key] = len(nodes)
                    nodes.append(key)
                row.append(place[key])
            rows.append(row)
        table.append(rows)
    own = np.array([node for _, node in nodes])
    tracked = replace(
        automaton,
        play=automaton.play[:, own],
        next=np.swapaxes(np.array(table, dtype=np.int32), 0, 1),
        start=0,
        names=None,
        memory=None,
        seen_states=False,
    )
    return tracked, np.array([window for window, _ in nodes])


def regrets(
    game: StochasticGame, strategy: Automaton, opponents: Sequence[Automaton], discount: Any = None
) -> np.ndarray:
    """Returns best-response value minus own value of a strategy against each opponent; never below rounding."""
    from backcast.games.solve.evaluate import evaluate

    seat = strategy.player
    out = []
    for opponent in opponents:
        best = best_response(game, opponent, seat, discount).value
        out.append(best - float(evaluate(game, [strategy, opponent], discount).values[seat]))
    return np.array(out)
