"""Best responses for the long-run average: maximal end components, the best gain inside, reachability between, and one
policy that earns it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from backcast.core.errors import WorkFailed
from backcast.games.memory.automaton import Automaton, with_noise
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.evaluate import exact_average, members_of, recurrent_classes, stationary_law
from backcast.games.solve.mdp import Solution, policy_chain
from backcast.games.solve.product import BUDGET, Product, product
from backcast.games.solve.response import EXACT_STATES, Response, simple, trembling

STAY = 0.5
"""Share of standing still mixed into every step so that periodic components converge; it leaves gains unchanged."""
SWEEPS = 3000
"""Sweeps of value iteration in a component before policy iteration takes over (it does not mind slow mixing)."""
KEEP = 1e-8
"""An action keeps the best average within reach when it loses less than this of it (relative to the largest)."""


@dataclass(frozen=True, eq=False)
class AverageResponse(Response):
    """The best long-run average payoff per step, with bounds, and one policy that earns it.

    ``optimal`` marks that policy's action only, since averages do not single out actions: every detour is free.
    ``keeps`` marks, for every lifted state, the actions after which the best average is still within reach; taking
    them for ever need not earn it (always defecting keeps TFT's 3 within reach, and earns 1).
    """

    components: list[np.ndarray]
    """The maximal end components: sets of lifted states one can stay in for ever."""
    keeps: np.ndarray
    """Shape (N, actions), bool."""
    own_noise: Any = None

    @property
    def value(self) -> float:
        """What the policy earns a step, from the start: the best average, up to ``upper``."""
        exact = self.exact
        return float(exact) if exact is not None else self.lower

    @property
    def gain(self) -> np.ndarray:
        """Shape (N,): best average from every lifted state."""
        return self.solution.value

    @property
    def exact(self) -> Fraction | None:
        """What the policy earns from the start as a fraction; None for large processes and numbers that are not
        simple."""
        if self.lifted.size > EXACT_STATES or not simple(self.lifted):
            return None
        mine = self.automaton()
        mine = with_noise(mine, self.own_noise) if self.own_noise else mine
        return exact_average(self.lifted.game, [mine, *self.lifted.others])[self.lifted.player]

    def certify(self) -> float:
        """Returns the average from the start of following the policy, by the stationary laws of its own chain."""
        return float(self.lifted.start @ chain_gain(self.lifted, self.policy))

    def keeping(self, memory: int | None = None) -> dict[str, list[str]]:
        """Returns {window or node: actions after which the best average is still within reach}."""
        return replace(self, optimal=self.keeps).actions(memory)


def average_response(
    game: StochasticGame, opponents: Sequence[Automaton] | Automaton, player: int = 0, **options: Any
) -> AverageResponse:
    """Returns the best response of ``player`` under the average-payoff criterion, several recurrent classes allowed.

    A component can be entered for good and then yields its own optimal gain; which one to make for is a reachability
    problem, solved as a linear program and then improved until no single action gains. The lower bound is what the
    returned policy earns. ``options``: own_noise, budget as in ``best_response``; tol (1e-11).
    """
    given = [opponents] if isinstance(opponents, Automaton) else list(opponents)
    lifted = product(game, player, given, budget=options.get("budget", BUDGET))
    noise = options.get("own_noise")
    lifted = trembling(lifted, noise) if noise else lifted
    components, allowed = end_components(lifted.transition, lifted.choices)
    inner = np.zeros(lifted.size, dtype=np.int64)
    floor = np.full(lifted.size, -np.inf)
    width = 0.0
    for members in components:
        low, high, choice = _component(lifted, members, allowed, options.get("tol", 1e-11))
        inner[members], floor[members], width = choice, low, max(width, high - low)
    gain = _reach(lifted, floor, components)
    policy, gain, miss = _improved(lifted, floor, inner, gain)
    after = _after(lifted, gain)
    scale = max(1.0, abs(gain).max())
    solution = Solution(gain, gain, gain + width + miss, after, policy, len(components), "average")
    keeps = after >= gain[:, None] - KEEP * scale
    optimal = np.eye(lifted.choices, dtype=bool)[policy]
    return AverageResponse(lifted, Fraction(0), solution, optimal, None, components, keeps, noise)


def _after(lifted: Product, gain: np.ndarray) -> np.ndarray:
    """Expected gain after each action, shape (N, actions)."""
    return np.asarray((lifted.transition @ gain).reshape(lifted.reward.shape))


def end_components(transition: sp.csr_matrix, actions: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the maximal end components and which (state, action) pairs never leave them, shape (N, actions)."""
    size = transition.shape[1]
    graph = sp.csr_matrix(transition > 0)
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    source = row // actions
    allowed = np.ones(size * actions, dtype=bool)
    while True:
        kept = allowed[row]
        edges = sp.csr_matrix((np.ones(kept.sum()), (source[kept], graph.indices[kept])), shape=(size, size))
        count, label = connected_components(edges, directed=True, connection="strong")
        leaving = kept & (label[source] != label[graph.indices])
        if not leaving.any():
            break
        allowed[np.unique(row[leaving])] = False
    inside = allowed.reshape(size, actions)
    used = np.zeros(count, dtype=bool)
    used[label[inside.any(axis=1)]] = True
    return members_of(label, used), inside


def _component(
    lifted: Product, members: np.ndarray, allowed: np.ndarray, tol: float
) -> tuple[float, float, np.ndarray]:
    """Bounds of the optimal gain of one component (min and max of TV - V), and the greedy actions, which earn at least
    the lower one."""
    actions = lifted.choices
    rows = (members[:, None] * actions + np.arange(actions)).ravel()
    inside = lifted.transition[rows][:, members]
    reward = np.where(allowed[members], lifted.reward[members], -np.inf)
    value, n = np.zeros(len(members)), np.arange(len(members))
    for _ in range(SWEEPS):
        q = reward + (inside @ value).reshape(reward.shape)
        d = q.max(axis=1) - value
        if d.max() - d.min() <= 2 * tol * max(1.0, abs(d).max()):
            return float(d.min()), float(d.max()), q.argmax(axis=1)
        value = value + (1 - STAY) * (d - d.min())
    policy = q.argmax(axis=1)
    for _ in range(1000):
        value, policy = _bias(inside, reward, policy)
        q = reward + (inside @ value).reshape(reward.shape)
        d = q.max(axis=1) - value
        scale = max(1.0, abs(d).max(), abs(value).max() * 1e-3)
        better = q.max(axis=1) > q[n, policy] + tol * scale
        if d.max() - d.min() <= 2 * tol * scale or not better.any():
            return float(d.min()), float(d.max()), q.argmax(axis=1)
        policy = np.where(better, q.argmax(axis=1), policy)
    raise WorkFailed(f"average payoff: bounds still {d.max() - d.min():.3g} apart after 1000 policies")


def _bias(inside: Any, reward: np.ndarray, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative values of a policy whose best recurrent class everybody else is led to (in a component one always can),
    and that policy."""
    size, actions = reward.shape
    n = np.arange(size)
    chain = inside[n * actions + policy]
    classes = recurrent_classes(chain)
    gains = [float(stationary_law(chain, c) @ reward[c, policy[c]]) for c in classes]
    best = int(np.argmax(gains))
    home = np.zeros(size, dtype=bool)
    home[classes[best]] = True
    policy = _towards(inside, np.isfinite(reward), policy, home)
    chain = inside[n * actions + policy]
    system = (sp.identity(size) - chain).tolil()
    anchor = int(classes[best][0])
    system[anchor] = 0
    system[anchor, anchor] = 1.0
    right = reward[n, policy] - gains[best]
    right[anchor] = 0.0
    return np.asarray(spla.spsolve(system.tocsc(), right)), policy


def _towards(transition: Any, allowed: np.ndarray, policy: np.ndarray, home: np.ndarray) -> np.ndarray:
    """The policy, changed where it must be so that every state gets to ``home`` with certainty by allowed actions.

    Breadth first, backwards: a state whose own action leads on keeps it. States that cannot get there are left alone.
    """
    size, actions = allowed.shape
    out, known = policy.copy(), home.copy()
    while True:
        leads = (transition @ known.astype(float)).reshape(size, actions) > 0
        leads &= allowed
        own = leads[np.arange(size), out] & ~known
        fresh = own if own.any() else leads.any(axis=1) & ~known
        if not fresh.any():
            return out
        change = fresh & ~own
        out[change] = leads[change].argmax(axis=1)
        known |= fresh


def _reach(lifted: Product, floor: np.ndarray, components: list[np.ndarray]) -> np.ndarray:
    """min sum g subject to g >= P_a g and g >= gain of the own component: the least such g is the best average."""
    size, actions = lifted.size, lifted.choices
    if len(components) == 1 and len(components[0]) == size:
        return floor
    least = float(lifted.reward.min())
    spread = sp.kron(sp.identity(size), np.ones((actions, 1)), format="csr")
    bounds: list[tuple[float, Any]] = [(max(low, least), None) for low in floor]
    result = linprog(
        np.ones(size), A_ub=lifted.transition - spread, b_ub=np.zeros(size * actions), bounds=bounds, method="highs"
    )
    if result.status != 0:
        raise WorkFailed(f"average payoff: HiGHS ended with '{result.message}'")
    return np.asarray(result.x)


def _improved(
    lifted: Product, floor: np.ndarray, inner: np.ndarray, gain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """A policy that earns the gains of the program, what it earns exactly, and the most a single action would add."""
    for _ in range(1000):
        scale = max(1.0, abs(gain).max())
        after = _after(lifted, gain)
        home = floor >= gain - KEEP * scale
        keeps = after >= gain[:, None] - KEEP * scale
        policy = np.where(home, inner, np.where(keeps, after, -np.inf).argmax(axis=1))
        policy = _towards(lifted.transition, keeps, policy, home)
        earned = chain_gain(lifted, policy)
        after = _after(lifted, earned)
        miss = max(0.0, float((after.max(axis=1) - earned).max()), float((floor - earned).max()))
        if miss <= 1e-10 * scale:
            return policy, earned, miss
        gain = np.maximum(np.maximum(after.max(axis=1), earned), floor)
    raise WorkFailed(f"average payoff: an action still gains {miss:.3g} after 1000 rounds")


def chain_gain(lifted: Product, policy: np.ndarray) -> np.ndarray:
    """Returns the average payoff a step of following a policy from every lifted state, shape (N,)."""
    chain, pay = policy_chain(lifted.transition, lifted.reward, policy)
    gain, recurrent = np.zeros(lifted.size), np.zeros(lifted.size, dtype=bool)
    for members in recurrent_classes(chain):
        gain[members] = stationary_law(chain, members) @ pay[members]
        recurrent[members] = True
    passing = np.flatnonzero(~recurrent)
    if len(passing):
        rows = chain[passing]
        inside = sp.identity(len(passing), format="csc") - rows[:, passing].tocsc()
        gain[passing] = spla.spsolve(inside, rows @ gain)
    return gain
