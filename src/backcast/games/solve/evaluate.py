"""Exact evaluation of a profile of automata: values, occupancies, joint-action frequencies, and averages without
discounting."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.sparse.csgraph import connected_components

from backcast.games.memory.automaton import Automaton
from backcast.games.numbers import check_discount, exact_array, rational
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.exact import Row, chain_values, solve_linear
from backcast.games.solve.mdp import linear_values, visits
from backcast.games.solve.product import Chain, chain_of

DENSE = 1000
"""Up to this many states of a recurrent class its stationary law is found by dense algebra."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a profile is worth and where it spends its time."""

    values: np.ndarray
    """Shape (players,): discounted sums from the start (``(1 - discount) * values`` is per step)."""
    state_values: np.ndarray
    """Shape (N, players): the same from every lifted state of ``chain``."""
    occupancy: np.ndarray
    """Shape (N,): discounted share of time, sums to 1: (1 - g) (I - g P^T)^-1 start."""
    frequencies: np.ndarray
    """Shape (S, joint): discounted share of each joint action in each state, sums to 1."""
    chain: Chain


def evaluate(
    game: StochasticGame, profile: Sequence[Automaton], discount: Any = None, whole: bool = False
) -> Evaluation:
    """Returns the exact evaluation (linear solves) of one automaton per seat."""
    rate = float(check_discount(game.discount if discount is None else discount))
    chain = chain_of(game, profile, whole)
    columns = [linear_values(chain.transition, chain.reward[:, i], rate) for i in range(len(game.players))]
    state_values = np.stack(columns, axis=1)
    occupancy = (1 - rate) * visits(chain.transition, chain.start, rate)
    frequencies = np.zeros((len(game.states), game.joint))
    np.add.at(frequencies, chain.state, occupancy[:, None] * chain.joint_play)
    return Evaluation(chain.start @ state_values, state_values, occupancy, frequencies, chain)


def exact_values(game: StochasticGame, profile: Sequence[Automaton], discount: Any = None) -> list[Fraction]:
    """Returns the discounted sums from the start as fractions, one per player (small chains)."""
    rate = check_discount(game.discount if discount is None else discount)
    chain = chain_of(game, profile)
    rows, pays = exact_chain(chain)
    start = exact_start(chain)
    out = []
    for i in range(len(game.players)):
        value = chain_values(rows, [pay[i] for pay in pays], rate)
        out.append(sum((w * value[n] for n, w in start.items()), Fraction(0)))
    return out


def exact_start(chain: Chain) -> dict[int, Fraction]:
    """Returns {lifted state: probability} of the start."""
    begins = np.flatnonzero(chain.start > 0).tolist()
    return {n: rational(chain.game.start[chain.state[n]]) for n in begins}


def exact_chain(chain: Chain) -> tuple[list[Row], list[list[Fraction]]]:
    """Returns the chain and the payoffs of its steps in fractions."""
    game = chain.game
    plays = [exact_array(automaton.play) for automaton in chain.profile]
    rewards, kernel = exact_array(game.rewards), exact_array(game.probability)
    index = {key: n for n, key in enumerate(map(tuple, np.column_stack([chain.state, chain.memory]).tolist()))}
    rows: list[Row] = []
    pays: list[list[Fraction]] = []
    for n in range(len(chain.state)):
        s, nodes = int(chain.state[n]), chain.memory[n].tolist()
        row: Row = {}
        pay = [Fraction(0)] * len(game.players)
        for joint in np.flatnonzero(chain.joint_play[n] > 0).tolist():
            chance = Fraction(1)
            for automaton, play, m in zip(chain.profile, plays, nodes, strict=True):
                chance *= play[s % len(play), m, game.digits[joint, automaton.player]]
            pay = [total + chance * rewards[i, s, joint] for i, total in enumerate(pay)]
            after = [int(t.next[s % len(t.next), m, joint]) for t, m in zip(chain.profile, nodes, strict=True)]
            for entry in range(game.indptr[s * game.joint + joint], game.indptr[s * game.joint + joint + 1]):
                target = index[(int(game.next_state[entry]), *after)]
                row[target] = row.get(target, Fraction(0)) + chance * kernel[entry]
        rows.append(row)
        pays.append(pay)
    return rows, pays


def average(game: StochasticGame, profile: Sequence[Automaton]) -> np.ndarray:
    """Returns the long-run average payoffs from the start, shape (players,).

    Every recurrent class the start can end in counts with its absorption probability, so TFT against TFT without
    noise is no special case. Where a class is periodic the average is Cesaro's.
    """
    chain = chain_of(game, profile)
    classes = recurrent_classes(chain.transition)
    gains = np.stack([stationary_law(chain.transition, members) @ chain.reward[members] for members in classes])
    return np.asarray(absorption(chain.transition, chain.start, classes) @ gains)


def exact_average(game: StochasticGame, profile: Sequence[Automaton]) -> list[Fraction]:
    """Returns the long-run average payoffs from the start as fractions (small chains)."""
    chain = chain_of(game, profile)
    rows, pays = exact_chain(chain)
    classes = recurrent_classes(chain.transition)
    gain: dict[int, list[Fraction]] = {}
    for members in classes:
        law = _exact_law(rows, members.tolist())
        means = [
            sum((p * pays[n][i] for n, p in zip(members, law, strict=True)), Fraction(0))
            for i in range(len(game.players))
        ]
        gain |= dict.fromkeys(members.tolist(), means)
    passing = [n for n in range(len(rows)) if n not in gain]
    place = {n: k for k, n in enumerate(passing)}
    out = []
    for i in range(len(game.players)):
        system: list[Row] = []
        right = []
        for n in passing:
            line = {place[j]: -p for j, p in rows[n].items() if j in place}
            line[place[n]] = line.get(place[n], Fraction(0)) + 1
            system.append(line)
            right.append(sum((p * gain[j][i] for j, p in rows[n].items() if j in gain), Fraction(0)))
        solved = solve_linear(system, right)
        value = {n: solved[place[n]] if n in place else gain[n][i] for n in range(len(rows))}
        out.append(sum((w * value[n] for n, w in exact_start(chain).items()), Fraction(0)))
    return out


def _exact_law(rows: list[Row], members: list[int]) -> list[Fraction]:
    """Stationary law of a recurrent class: pi (P - I) = 0 with one equation replaced by sum pi = 1."""
    place = {n: k for k, n in enumerate(members)}
    system: list[Row] = [{k: Fraction(-1)} for k in range(len(members))]
    for n in members:
        for j, p in rows[n].items():
            line = system[place[j]]
            line[place[n]] = line.get(place[n], Fraction(0)) + p
    system[0] = {k: Fraction(1) for k in range(len(members))}
    return solve_linear(system, [Fraction(1)] + [Fraction(0)] * (len(members) - 1))


def recurrent_classes(transition: sp.csr_matrix) -> list[np.ndarray]:
    """Returns the members of every closed communicating class of a chain."""
    graph = sp.csr_matrix(transition > 0)
    count, label = connected_components(graph, directed=True, connection="strong")
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    closed = np.ones(count, dtype=bool)
    closed[label[row[label[row] != label[graph.indices]]]] = False
    return members_of(label, closed)


def members_of(label: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Returns the members of every class c with wanted[c], in order of c; ``label``: class of each state."""
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(len(wanted) + 1))
    return [order[ends[c] : ends[c + 1]] for c in np.flatnonzero(wanted)]


def stationary_law(transition: sp.csr_matrix, members: np.ndarray) -> np.ndarray:
    """Returns the stationary distribution of a recurrent class, aligned with ``members``."""
    inside = transition[members][:, members].T
    right = np.zeros(len(members))
    right[0] = 1.0
    if len(members) > DENSE:
        sparse = (inside - sp.identity(len(members))).tolil()
        sparse[0] = 1.0
        return np.asarray(spla.spsolve(sparse.tocsc(), right))
    system = inside.toarray() - np.eye(len(members))
    system[0] = 1.0
    return np.linalg.solve(system, right)


def absorption(transition: sp.csr_matrix, start: np.ndarray, classes: list[np.ndarray]) -> np.ndarray:
    """Returns the probability of ending in each recurrent class from ``start``."""
    recurrent = np.concatenate(classes)
    passing = np.setdiff1d(np.arange(len(start)), recurrent)
    direct = np.array([start[members].sum() for members in classes])
    if len(passing) == 0:
        return direct
    inside = sp.identity(len(passing), format="csc") - transition[passing][:, passing].T.tocsc()
    visits = spla.spsolve(inside, start[passing])
    ends = np.array([(visits @ transition[passing][:, members]).sum() for members in classes])
    return np.asarray(direct + ends)
