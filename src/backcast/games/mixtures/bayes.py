"""The Bayes-optimal value against a mixture: exact for pure types, certified bounds for stochastic ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.mixture import Mixture
from backcast.games.memory.windows import START
from backcast.games.mixtures.belief import DEAD, DIGITS, Belief, BeliefProcess
from backcast.games.numbers import check_discount, rational
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.evaluate import evaluate
from backcast.games.solve.exact import exact_policy_iteration
from backcast.games.solve.mdp import bellman, solve
from backcast.games.solve.response import Response, best_response

NODES = 60_000
"""Belief nodes built without asking."""
EXACT_NODES = 300


@dataclass(eq=False)
class Graph:
    """Beliefs found so far; ``moves[n]`` is None for a leaf, else [(payoff, [(probability, node), ...])] per action."""

    beliefs: list[Belief] = field(default_factory=list)
    moves: list[list[tuple[Any, list[tuple[Any, int]]]] | None] = field(default_factory=list)
    place: dict[Belief, int] = field(default_factory=dict)
    start: list[tuple[Any, int]] = field(default_factory=list)

    def add(self, belief: Belief) -> int:
        """Returns the node of a belief, new or known."""
        if belief not in self.place:
            self.place[belief] = len(self.beliefs)
            self.beliefs.append(belief)
            self.moves.append(None)
        return self.place[belief]

    def expand(self, n: int, process: BeliefProcess) -> None:
        """Looks one step ahead from a leaf."""
        line = []
        for action in range(len(process.by_own)):
            pay, after = process.step(self.beliefs[n], action)
            line.append((pay, [(p, self.add(target)) for p, target in after]))
        self.moves[n] = line


@dataclass(frozen=True, eq=False)
class BayesValue:
    """What the best strategy with unlimited memory earns against a mixture, in expectation over the drawn type."""

    value: float
    """The value; for stochastic types the middle of the interval."""
    lower: float
    upper: float
    exact: Fraction | None
    graph: Graph
    process: BeliefProcess
    policy: np.ndarray
    """An optimal (for bounds: optimistic) action per belief node."""
    discount: Fraction
    values: Sequence[Any] | None = None
    """Value of every belief node, where exact."""

    @property
    def nodes(self) -> int:
        """Number of belief nodes built."""
        return len(self.graph.beliefs)

    def actions(self, limit: int = 60) -> dict[str, list[str]]:
        """Returns {shortest history that leads to a belief, own move first: optimal action}, nearest beliefs first."""
        process, game = self.process, self.process.game
        own = game.actions[process.player]
        words: dict[int, str] = {n: _place(game, self.graph.beliefs[n], "") for _, n in self.graph.start}
        histories = {n: "" for _, n in self.graph.start}
        out: dict[str, list[str]] = {}
        queue = list(histories)
        for n in queue:
            moves = self.graph.moves[n]
            if moves is None or len(out) >= limit:
                continue
            out[words[n]] = [own[a] for a in self.optimal(n)]
            for joint, target in self.process.observed(self.graph.beliefs[n]):
                m = self.graph.place.get(target)
                if m is not None and m not in histories:
                    histories[m] = f"{histories[n]} {game.joint_label(joint, process.player)}".strip()
                    words[m] = _place(game, target, histories[m])
                    queue.append(m)
        return out

    def optimal(self, n: int) -> list[int]:
        """Returns every optimal action of a belief node, to nine digits (for bounds: the optimistic one)."""
        moves = self.graph.moves[n]
        if self.values is None or moves is None:
            return [int(self.policy[n])]
        rate = float(self.discount)
        q = [float(pay) + rate * sum(float(p) * float(self.values[j]) for p, j in after) for pay, after in moves]
        return [a for a, value in enumerate(q) if value >= max(q) - 1e-9 * max(1.0, abs(max(q)))]

    def path(self, kind: int, steps: int) -> list[str]:
        """Returns the first joint actions, in own-first words, when type ``kind`` was drawn (pure types, one state)."""
        process, node, words = self.process, self.graph.start[0][1], []
        game = process.game
        for _ in range(steps):
            moves = self.graph.moves[node]
            belief = self.graph.beliefs[node]
            if moves is None or process.fixed:
                break
            reply = int(process.types[kind].chances[0, belief.nodes[kind]].argmax())
            digits = [0] * len(game.sizes)
            digits[process.player], digits[process.seat] = int(self.policy[node]), reply
            joint = int(np.ravel_multi_index(digits, game.sizes))
            words.append(game.joint_label(joint, process.player))
            following = [n for _, n in moves[int(self.policy[node])][1] if self.graph.beliefs[n].nodes[kind] != DEAD]
            node = following[0]
        return words


def _place(game: StochasticGame, belief: Belief, history: str) -> str:
    words = history or START
    return f"{game.states[belief.state]}: {words}" if len(game.states) > 1 else words


def bayes_value(
    game: StochasticGame,
    mixture: Mixture,
    player: int = 0,
    discount: Any = None,
    fixed: Sequence[Automaton] = (),
    **options: Any,
) -> BayesValue:
    """Returns the Bayes-optimal value of ``player`` against a mixture (other seats: ``fixed`` automata).

    Pure types leave finitely many beliefs (who is not yet refuted, and where the memories are): an exact finite
    process, in
    fractions when small. Otherwise beliefs are expanded where the gap between a lower bound (the best of the
    types' best responses, never
    changed again) and an upper bound (the type revealed after one more step) matters most. ``options``: tol (1e-6,
    relative), nodes (60 000).
    """
    rate = check_discount(game.discount if discount is None else discount)
    if mixture.pure:
        return _finite(game, mixture, player, rate, fixed, options.get("nodes", NODES))
    return _bounded(BeliefProcess(game, mixture, player, fixed, False), float(rate), options)


def _finite(
    game: StochasticGame, mixture: Mixture, player: int, rate: Fraction, fixed: Sequence[Automaton], limit: int
) -> BayesValue:
    process = BeliefProcess(game, mixture, player, fixed, True)
    graph = _begin(process)
    for n in _growing(graph):
        graph.expand(n, process)
        if len(graph.beliefs) > limit:
            raise BadInput(
                f"mixture: more than {limit} belief nodes for {len(process.types)} types; use fewer "
                "types, or raise the limit"
            )
    transition, reward = _arrays(graph)
    solution = solve(transition, reward, float(rate))
    start = np.zeros(len(graph.beliefs))
    for p, n in graph.start:
        start[n] = float(p)
    exact, policy = None, solution.policy
    known: Sequence[Any] = solution.value.tolist()
    if len(graph.beliefs) <= EXACT_NODES:
        rows = [[{j: p for p, j in after} for _, after in line or []] for line in graph.moves]
        pays = [[rational(pay) for pay, _ in line or []] for line in graph.moves]
        values, sets = exact_policy_iteration(rows, pays, rate, policy.tolist())
        exact = sum((p * values[n] for p, n in graph.start), Fraction(0))
        known = values
        policy = np.array([chosen[0] for chosen in sets])
    value = float(start @ solution.value) if exact is None else float(exact)
    lower, upper = (float(start @ solution.lower), float(start @ solution.upper)) if exact is None else (value, value)
    return BayesValue(value, lower, upper, exact, graph, process, policy, rate, known)


def _begin(process: BeliefProcess) -> Graph:
    graph = Graph()
    graph.start = [(p, graph.add(belief)) for p, belief in process.starts()]
    return graph


def _growing(graph: Graph) -> Any:
    n = 0
    while n < len(graph.beliefs):
        yield n
        n += 1


def _arrays(graph: Graph) -> tuple[sp.csr_matrix, np.ndarray]:
    """The graph as a sparse process; leaves stand still and pay nothing (their values are set by the caller)."""
    actions = len(next(line for line in graph.moves if line is not None))
    data, columns, indptr, reward = [], [], [0], []
    for n, line in enumerate(graph.moves):
        for pay, after in line if line is not None else [(0.0, [(1.0, n)])] * actions:
            reward.append(float(pay))
            data += [float(p) for p, _ in after]
            columns += [j for _, j in after]
            indptr.append(len(data))
    size = len(graph.beliefs)
    matrix = sp.csr_matrix((np.array(data), np.array(columns), np.array(indptr)), shape=(size * actions, size))
    return matrix, np.array(reward).reshape(size, actions)


class _Ends:
    """Bounds for a belief nobody has looked behind yet."""

    def __init__(self, process: BeliefProcess, rate: float):
        self.process = process
        game, player = process.game, process.player
        self.replies: list[Response] = [
            best_response(game, [kind, *process.fixed], player, rate, exact=False) for kind in process.types
        ]
        self.mine = [reply.automaton() for reply in self.replies]
        self.cross: list[list[Any]] = [
            [evaluate(game, [mine, kind, *process.fixed], rate, whole=True) for kind in process.types]
            for mine in self.mine
        ]
        self.known = [
            {tuple(row): m for m, row in enumerate(np.unique(reply.lifted.memory, axis=0).tolist())}
            for reply in self.replies
        ]

    def _others(self, kind: int, belief: Belief) -> tuple[int, ...]:
        """Nodes of type and fixed players in seat order."""
        seats = [(self.process.seat, belief.nodes[kind])]
        seats += [(t.player, m) for t, m in zip(self.process.fixed, belief.fixed, strict=True)]
        return tuple(node for _, node in sorted(seats))

    def upper(self, belief: Belief) -> float:
        """The type is revealed after this step (QMDP)."""
        total = np.zeros(len(self.process.by_own))
        for kind, weight in enumerate(belief.weights):
            if weight > 0:
                reply = self.replies[kind]
                total += weight * reply.solution.q[reply.lifted.index[(belief.state, *self._others(kind, belief))]]
        return float(total.max()) + max(float((r.solution.upper - r.solution.value).max()) for r in self.replies)

    def lower(self, belief: Belief) -> float:
        """One type's best response is followed for ever, whoever was drawn."""
        return max(self._follow(guess, belief) for guess in range(len(self.mine)) if belief.weights[guess] > 0)

    def _follow(self, guess: int, belief: Belief) -> float:
        own = self.known[guess][self._others(guess, belief)]
        total = 0.0
        for kind, weight in enumerate(belief.weights):
            if weight > 0:
                found = self.cross[guess][kind]
                seats = [(self.process.player, own), (self.process.seat, belief.nodes[kind])]
                seats += [(t.player, m) for t, m in zip(self.process.fixed, belief.fixed, strict=True)]
                code = belief.state
                for (seat, node), automaton in zip(sorted(seats), found.chain.profile, strict=True):
                    del seat
                    code = code * automaton.nodes + node
                total += weight * float(found.state_values[code, self.process.player])
        return total


def _bounded(process: BeliefProcess, rate: float, options: dict[str, Any]) -> BayesValue:
    limit, tol = options.get("nodes", NODES), options.get("tol", 1e-6)
    ends, graph = _Ends(process, rate), _begin(process)
    low: list[float] = []
    high: list[float] = []
    for n in [n for _, n in graph.start]:
        graph.expand(n, process)
    while True:
        for belief in graph.beliefs[len(low) :]:
            low.append(ends.lower(belief))
            high.append(ends.upper(belief))
        transition, reward = _arrays(graph)
        leaf = np.array([line is None for line in graph.moves])
        lower = _sweep(transition, reward, rate, np.array(low), leaf)
        upper = _sweep(transition, reward, rate, np.array(high), leaf)
        low, high = lower.tolist(), upper.tolist()
        start = np.zeros(len(low))
        for p, n in graph.start:
            start[n] += float(p)
        width = float(start @ (upper - lower))
        policy = bellman(transition, reward, rate, upper).argmax(axis=1)
        if width <= tol * max(1.0, abs(float(start @ upper))) or len(low) >= limit or not leaf.any():
            slack = _rounding(process, rate)
            a, b = float(start @ lower) - slack, float(start @ upper) + slack
            return BayesValue((a + b) / 2, a, b, None, graph, process, policy, rational(rate))
        score = _reach(transition, rate, policy, start, leaf) * (upper - lower) * leaf
        wanted = min(int(leaf.sum()), max(16, len(low) // 4))
        for n in np.argsort(-score, kind="stable")[:wanted].tolist():
            if score[n] <= 0:
                break
            graph.expand(n, process)


def _rounding(process: BeliefProcess, rate: float) -> float:
    """What rounding beliefs can add: a digit for each type and step, times what a belief can be worth."""
    worth = float(np.ptp(process.payoff)) / (1 - rate)
    return len(process.types) * 10.0**-DIGITS * worth / (1 - rate)


def _sweep(transition: Any, reward: np.ndarray, rate: float, value: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Bellman sweeps over the expanded nodes; each keeps a bound a bound."""
    for _ in range(10_000):
        after = np.where(leaf, value, bellman(transition, reward, rate, value).max(axis=1))
        change = float(np.abs(after - value).max())
        value = after
        if change <= 1e-11:
            break
    return value


def _reach(transition: Any, rate: float, policy: np.ndarray, start: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Discounted chance of getting to each leaf under the optimistic policy."""
    size = len(policy)
    matrix = transition[np.arange(size) * (transition.shape[0] // size) + policy].T.tocsr()
    weight, total = start.copy(), np.zeros(size)
    for _ in range(400):
        total += np.where(leaf, weight, 0)
        weight = rate * (matrix @ np.where(leaf, 0, weight))
        if weight.sum() < 1e-10:
            break
    return total
