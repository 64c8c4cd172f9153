"""Exact best responses to finite-memory opponents: value, certified interval, ALL optimal actions, policy as an
automaton."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from backcast.games.memory.automaton import Automaton, stationary
from backcast.games.memory.minimise import needed_memory
from backcast.games.memory.windows import Windows
from backcast.games.numbers import check_discount, floats, rational
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.exact import exact_policy_iteration
from backcast.games.solve.mdp import Solution, evaluate_policy, solve
from backcast.games.solve.product import Product, exact_rows, product, ranges

EXACT_STATES = 130
"""Up to this many lifted states the answer is also computed in fractions, where the numbers are simple ones."""
TIE = 1e-9
WINDOW_LIMIT = 20_000


@dataclass(frozen=True, eq=False)
class Response:
    """A best response against ALL strategies with unlimited memory (definition 1.5), and its proof."""

    lifted: Product
    discount: Fraction
    solution: Solution
    optimal: np.ndarray
    """Shape (N, actions), bool: every optimal action of every lifted state; ties are all marked."""
    exact_values: list[Fraction] | None
    """The optimal values as fractions, where computed."""

    @property
    def value(self) -> float:
        """Optimal discounted sum from the start."""
        return float(self.exact) if self.exact is not None else float(self.lifted.start @ self.solution.value)

    @property
    def lower(self) -> float:
        """Proved lower bound of the value."""
        return float(self.lifted.start @ self.solution.lower)

    @property
    def upper(self) -> float:
        """Proved upper bound of the value."""
        return float(self.lifted.start @ self.solution.upper)

    @property
    def exact(self) -> Fraction | None:
        """The value as a fraction, or None where it was not computed."""
        if self.exact_values is None:
            return None
        begins = np.flatnonzero(self.lifted.start > 0)
        weights = [rational(self.lifted.game.start[s]) for s in self.lifted.state[begins]]
        return sum((w * self.exact_values[n] for w, n in zip(weights, begins, strict=True)), Fraction(0))

    @cached_property
    def policy(self) -> np.ndarray:
        """Shape (N,): the first optimal action of every lifted state."""
        return np.asarray(self.optimal.argmax(axis=1))

    def automaton(self) -> Automaton:
        """Returns the pure best response as an automaton that tracks the opponents' nodes (theorem 3.1)."""
        lifted = self.lifted
        if not lifted.others:  # one player: a decision process
            chosen = np.zeros((len(lifted.game.states), lifted.choices))
            chosen[lifted.state] = np.eye(lifted.choices)[self.policy]
            return stationary(lifted.game, lifted.player, chosen, "best response")
        nodes, place = np.unique(lifted.memory, axis=0, return_inverse=True)
        place = place.reshape(-1)
        states, game = len(lifted.game.states), lifted.game
        play = np.zeros((states, len(nodes), lifted.choices))
        play[:, :, 0] = 1
        play[lifted.state, place] = np.eye(lifted.choices)[self.policy]
        known = {tuple(row): m for m, row in enumerate(nodes.tolist())}
        layers = max(automaton.next.shape[0] for automaton in lifted.others)
        following = np.zeros((layers, len(nodes), game.joint), dtype=np.int32)
        for s in range(layers):
            after = np.stack(
                [t.next[s % len(t.next)][nodes[:, j]] for j, t in enumerate(lifted.others)], axis=-1
            ).reshape(-1, len(lifted.others))
            following[s] = np.array([known.get(tuple(row), 0) for row in after.tolist()]).reshape(
                len(nodes), game.joint
            )
        first = known[tuple(automaton.start for automaton in lifted.others)]
        table = lifted.others[0] if len(lifted.others) == 1 and len(nodes) == lifted.others[0].nodes else None
        names = tuple(" & ".join(t.label(m) for t, m in zip(lifted.others, row, strict=True)) for row in nodes.tolist())
        return Automaton(
            lifted.player,
            game.actions,
            play if states > 1 else play[:1],
            following,
            first,
            "best response",
            None if table is not None and table.memory is not None else names,
            memory=table.memory if table is not None else None,
            states=game.states,
            seen_states=table.seen_states if table is not None else False,
        )

    @cached_property
    def memory(self) -> int | None:
        """Window length that suffices for the best response: the largest the opponents need; None when no window
        does."""
        needed = [_memory(automaton) for automaton in self.lifted.others]
        return None if any(k is None for k in needed) else max((k for k in needed if k is not None), default=0)

    def actions(self, memory: int | None = None) -> dict[str, list[str]]:
        """Returns {window or node: names of all optimal actions}.

        Windows are in the learner's own-first words, ``start``, ``CD``, ``CC DC``, led by ``state: `` where there
        are several states. Node names are used where no window suffices, or too many would be needed.
        """
        own = self.lifted.game.actions[self.lifted.player]
        return {
            key: [own[a] for a in np.flatnonzero(self.optimal[n])]
            for key, n in sorted_places(self._places(memory)).items()
        }

    def values(self, memory: int | None = None) -> dict[str, float]:
        """Returns {window or node: optimal value from there}."""
        exact = self.exact_values
        return {
            key: float(exact[n]) if exact else float(self.solution.value[n])
            for key, n in sorted_places(self._places(memory)).items()
        }

    def _places(self, memory: int | None) -> dict[str, int]:
        if memory not in self._said:
            self._said[memory] = self._placed(memory)
        return self._said[memory]

    @cached_property
    def _said(self) -> dict[int | None, dict[str, int]]:
        return {}

    def _placed(self, memory: int | None) -> dict[str, int]:
        """Words -> lifted state."""
        lifted = self.lifted
        table = lifted.others[0] if len(lifted.others) == 1 else None
        if table is not None and table.memory is not None and memory in (None, table.memory):
            windows = Windows.of(table)
            words = [windows.text(int(m), lifted.player) for m in lifted.memory[:, 0]]
            return {self._key(n, word, table.memory): n for n, word in enumerate(words)}
        memory = self.memory if memory is None else memory
        shortest = 1 if len(lifted.game.states) == 1 else 0
        found = None if memory is None else self._windows(max(shortest, memory))
        return found if found is not None else {lifted.label(n): n for n in range(lifted.size)}

    def _key(self, n: int, word: str, memory: int) -> str:
        return place_words(self.lifted.game.states, int(self.lifted.state[n]), word, memory)

    def _windows(self, memory: int) -> dict[str, int] | None:
        """Windows play can produce -> lifted state; None when there are too many or a window is ambiguous."""
        lifted, game = self.lifted, self.lifted.game
        seen = any(len(automaton.next) > 1 for automaton in lifted.others)
        windows = Windows(game.actions, memory, game.states if seen else ())
        count, size = len(windows), lifted.size
        if count * len(game.states) * size >= 2**62:
            return None
        begins = np.flatnonzero(lifted.start > 0)
        pairs = frontier = np.sort(lifted.state[begins].astype(np.int64) * count * size + begins)
        while len(frontier):
            if len(pairs) > WINDOW_LIMIT:
                return None
            place, n = np.divmod(frontier, size)
            row, joint, target = moves(lifted, n)
            letter = joint + (lifted.state[n[row]] * game.joint if seen else 0)
            after = lifted.state[target] * np.int64(count) + windows.append(place[row] % count, letter)
            frontier = np.setdiff1d(after * size + target, pairs)
            pairs = np.union1d(pairs, frontier)
        place, n = np.divmod(pairs, size)
        twice = np.flatnonzero(place[1:] == place[:-1])
        if self._differ(n[twice], n[twice + 1]):
            return None
        _, first = np.unique(place, return_index=True)
        words = (windows.text(int(w), lifted.player) for w in place[first] % count)
        return {self._key(m, word, memory): m for m, word in zip(n[first].tolist(), words, strict=True)}

    def _differ(self, n: np.ndarray, m: np.ndarray) -> bool:
        """Whether two lifted states side by side ask for different actions or are worth different amounts."""
        value = self.solution.value
        far = np.abs(value[n] - value[m]) > TIE * np.maximum(1.0, np.abs(value[n]))
        return bool(far.any() or (self.optimal[n] != self.optimal[m]).any())

    def certify(self) -> float:
        """Returns the value from the start of following the policy, by a linear solve of its own: it must equal
        ``value``."""
        own = evaluate_policy(self.lifted.transition, self.lifted.reward, float(self.discount), self.policy)
        return float(self.lifted.start @ own)


def place_words(states: Sequence[str], state: int, window: str, memory: int) -> str:
    """Returns ``state: window``: without the state where there is only one, without the window at memory 0."""
    if len(states) == 1:
        return window
    return states[state] if memory == 0 else f"{states[state]}: {window}"


def sorted_places(places: dict[str, int]) -> dict[str, int]:
    """Returns the same windows, those with fewer steps first (node names keep their order)."""
    return dict(
        sorted(places.items(), key=lambda item: len(item[0].rpartition(": ")[2].split()) * ("start" not in item[0]))
    )


def _memory(automaton: Automaton) -> int | None:
    if automaton.memory is not None and automaton.nodes > 400:
        return automaton.memory
    return needed_memory(automaton)


def moves(lifted: Product, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns everything that may happen in lifted states ``n``: (place in n, joint action, next lifted state)."""
    game, state, memory = lifted.game, lifted.state[n], lifted.memory[n]
    fits = np.ones((len(n), game.joint), dtype=bool)
    for j, automaton in enumerate(lifted.others):
        layer = state if len(automaton.play) > 1 else 0
        fits &= (automaton.chances[layer, memory[:, j]] > 0)[:, game.digits[:, automaton.player]]
    place, joint = np.nonzero(fits)
    code = np.zeros(len(place), dtype=np.int64)
    bases = 1
    for j, automaton in enumerate(lifted.others):
        layer = state[place] if len(automaton.next) > 1 else 0
        code = code * automaton.nodes + automaton.next[layer, memory[place, j], joint]
        bases *= automaton.nodes
    row = state[place].astype(np.int64) * game.joint + joint
    lengths = game.indptr[row + 1] - game.indptr[row]
    entry = ranges(game.indptr[row], lengths)
    entry, kept = entry[game.kernel[entry] > 0], np.repeat(np.arange(len(place)), lengths)[game.kernel[entry] > 0]
    target = np.searchsorted(lifted.codes, game.next_state[entry].astype(np.int64) * bases + code[kept])
    return place[kept], joint[kept], target


def best_response(
    game: StochasticGame,
    opponents: Sequence[Automaton] | Automaton,
    player: int = 0,
    discount: Any = None,
    method: str = "auto",
    **options: Any,
) -> Response:
    """Returns the exact best response of ``player`` to the other players' automata.

    ``method``: auto, vi, mpi, pi, lp. ``options``: exact (bool, default where the numbers are simple and the
    process small),
    own_noise (the learner's hand trembles with this probability), whole and budget as in ``product``, tol.
    """
    given = [opponents] if isinstance(opponents, Automaton) else list(opponents)
    rate = check_discount(game.discount if discount is None else discount)
    lifted = product(game, player, given, options.get("whole"), options.get("budget", 3_000_000))
    if options.get("own_noise"):
        lifted = trembling(lifted, options["own_noise"])
    solution = solve(lifted.transition, lifted.reward, float(rate), method, options.get("tol", 1e-10))
    best = solution.q.max(axis=1, keepdims=True)
    room = TIE * np.maximum(1.0, np.abs(best)) + (solution.upper - solution.lower).max()
    optimal = solution.q >= best - room
    exact = None
    if options.get("exact", True) and lifted.size <= EXACT_STATES and not options.get("own_noise") and simple(lifted):
        rows, rewards = exact_rows(lifted)
        exact, sets = exact_policy_iteration(rows, rewards, rate, solution.policy.tolist())
        optimal = np.array([[a in chosen for a in range(lifted.choices)] for chosen in sets])
        values = floats(exact)
        half = np.finfo(float).eps * np.maximum(1.0, np.abs(values))
        solution = replace(solution, value=values, lower=values - half, upper=values + half)
    return Response(lifted, rate, solution, optimal, exact)


def simple(lifted: Product) -> bool:
    """Whether every number that enters is a fraction with a small denominator, so that fractions stay readable."""
    arrays = [lifted.game.probability, lifted.game.rewards[lifted.player], lifted.game.start]
    arrays += [automaton.play for automaton in lifted.others]
    if sum(array.size for array in arrays) > 20_000:
        return False
    numbers = {value for array in arrays for value in np.unique(array.astype(object)).tolist()}
    if any(rational(value).denominator > 10**6 for value in numbers):
        return False
    rows = [row for automaton in lifted.others for layer in automaton.play for row in layer]
    ends = list(zip(lifted.game.indptr[:-1], lifted.game.indptr[1:], strict=True))
    rows += [lifted.game.probability[a:b] for a, b in ends]
    return all(sum(map(rational, row)) == 1 for row in rows)


def trembling(lifted: Product, noise: Any) -> Product:
    """Returns the process in which the learner's own action is replaced, with probability ``noise``, by another one."""
    import scipy.sparse as sp

    size, actions = lifted.reward.shape
    share = float(rational(noise))
    mix = np.full((actions, actions), share / max(1, actions - 1))
    np.fill_diagonal(mix, 1 - share if actions > 1 else 1.0)
    spread = sp.kron(sp.identity(size), mix, format="csr")
    return replace(lifted, transition=(spread @ lifted.transition).tocsr(), reward=lifted.reward @ mix.T)
