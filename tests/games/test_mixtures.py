"""Mixtures: Bayes values as fractions, bounds, the ladder, and theorem 3.5 both ways."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.games.memory import Mixture, induced, k_memory, load_strategy, parse_mixture, stationary
from backcast.games.mixtures import (
    ContextualMDP,
    as_contextual,
    as_mixture,
    bayes_value,
    best_memory,
    growth,
    ladder,
    regrets,
)
from backcast.games.problems import load_game, random_game
from backcast.games.solve import best_response, evaluate

F = Fraction
FOUR = "tft:1,allc:1,alld:1,grim:1"
ROWS = {
    "grim:1,allc:1": ("32", "40", "32", "32", "32", "DDDDD"),
    "tft:1,alld:1": ("393/20", "20", "393/20", "15", "300/19", "DCCCD"),
    "tft:1,allc:1": ("7777/200", "40", "7777/200", "32", "635/19", "DCCDC"),
    FOUR: ("1004497/40000", "30", "99/4", "45/2", "45/2", "CCDDD"),
}


@pytest.mark.parametrize("text", ROWS)
def test_mixtures_as_fractions(ipd, text):
    """Bayes, clairvoyant, best memory-1 and memory-0 values, and the memory-1 policy where it is the
    only one."""
    bayes, seen, one, zero, coin, policy = ROWS[text]
    rungs = ladder(ipd, parse_mixture(ipd, text, 1), 0, ".9", memory=1)
    assert rungs.bayes.exact == F(bayes)
    assert rungs.clairvoyant_exact == F(seen)
    assert [rung.exact for rung in rungs.memory] == [F(zero), F(one)]
    assert all(rung.proven for rung in rungs.memory)
    assert rungs.induced == pytest.approx(float(F(coin)))
    value = sum(
        w * evaluate(ipd, [as_table(ipd, policy), kind], 0.9).values[0]
        for w, kind in zip(rungs.bayes.process.prior, parse_mixture(ipd, text, 1).types, strict=True)
    )
    assert float(value) == pytest.approx(float(F(one)))


def as_table(game, letters):
    """The pure memory-one strategy of player 1 with these moves at start, CC, CD, DC, DD."""
    return k_memory(game, 0, 1, np.eye(2)[["CD".index(x) for x in letters]][None], letters)


def test_the_induced_value_depends_on_which_grim(ipd):
    """The four types are worth 22 with the memory-one Grim that its own defections trigger; else it is
    45/2."""
    for grim, wanted in (("grim-memory-one", 22), ("grim", 22.5)):
        coin = induced(ipd, parse_mixture(ipd, FOUR.replace("grim", grim), 1))
        assert best_response(ipd, coin, 0, 0.9).value == pytest.approx(wanted)


def test_bayes_paths(ipd):
    """The own path of the Bayes policy against each of the four types, moves own first."""
    answer = bayes_value(ipd, parse_mixture(ipd, FOUR, 1), 0, ".9")
    assert answer.path(0, 7) == ["DC", "DD", "CD", "DC", "CD", "CC", "CC"]
    assert set(answer.path(1, 5)) == {"DC"}
    assert set(answer.path(2, 5)) == {"DD"}
    assert answer.path(3, 5) == ["DC", "DD", "CD", "DD", "DD"]


def coin_mixture():
    """Heads with .6 or .4, equally likely."""
    game = load_game("coin")
    types = [stationary(game, 1, np.array([p, 1 - p], dtype=object), str(p)) for p in (F(3, 5), F(2, 5))]
    return game, Mixture(tuple(types), (F(1, 2), F(1, 2)))


def test_guess_the_coin_windows():
    """The best use of the coin's last K sides; no constant memory reaches the Bayes value."""
    game, mixture = coin_mixture()
    wanted = {0: 5, 1: 5.18, 2: 5.18, 3: 5.249984, 4: 5.249984, 5: 5.2907986688, 7: 5.317246574, 9: 5.335241729}
    for memory, value in wanted.items():
        found = best_memory(game, mixture, memory, 0, ".9", sees="others")
        assert found.value == pytest.approx(value, abs=1e-9)
        assert found.proven
    assert best_memory(game, mixture, 11, 0, ".9", sees="others").value == pytest.approx(5.347835458, abs=1e-9)


def test_own_moves_are_notes_to_oneself():
    """Windows of JOINT actions of the last two steps beat the 5.18 of the coin's last two sides, and stay below
    Bayes."""
    game, mixture = coin_mixture()
    found = best_memory(game, mixture, 2, 0, ".9", branches=50)
    assert 5.18 < found.value < 5.3816850184
    assert found.upper >= found.value


def test_guess_the_coin_bayes():
    """Certified bounds around the Bayes value (count difference) 5.381685018356; the type known is
    worth 6."""
    game, mixture = coin_mixture()
    answer = bayes_value(game, mixture, 0, ".9", tol=1e-10)
    assert answer.lower <= 5.381685018356 + 1e-9
    assert answer.upper >= 5.381685018356 - 1e-9
    assert answer.upper - answer.lower < 1e-8
    assert best_response(game, induced(game, mixture), 0, ".9").exact == 5
    assert ladder(game, mixture, 0, ".9", memory=0).clairvoyant_exact == 6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_the_ladder_is_ordered(seed):
    """memory-0 <= memory-1 <= Bayes <= clairvoyant for random machines, pure and stochastic, and 5.5's gaps are
    never negative."""
    rng = np.random.default_rng(seed)
    game = random_game(2, (2, 2), 2, seed=seed, discount=0.8)
    rows = [rng.dirichlet(np.ones(2), size=(2, 5)) for _ in range(2)]
    if seed % 2:
        rows = [np.eye(2)[row.argmax(axis=2)] for row in rows]
    types = tuple(k_memory(game, 1, 1, row, f"type {i}") for i, row in enumerate(rows))
    mixture = Mixture(types, (0.3, 0.7))
    rungs = ladder(game, mixture, memory=1, tol=1e-4, nodes=3000)
    values = [rung.value for rung in rungs.memory]
    assert values[0] <= values[1] + 1e-9
    assert values[1] <= rungs.bayes.upper + 1e-9
    assert rungs.bayes.lower <= rungs.bayes.upper + 1e-9
    assert rungs.bayes.lower <= rungs.clairvoyant + 1e-9
    assert (regrets(game, rungs.memory[1].strategy, types) >= -1e-9).all()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6))
def test_best_memory_one_against_brute_force(seed):
    """Branch and bound finds what trying all 32 pure memory-one tables finds."""
    rng = np.random.default_rng(seed)
    game = load_game("ipd")
    types = tuple(k_memory(game, 1, 1, rng.dirichlet(np.ones(2), size=(1, 5)), str(i)) for i in range(3))
    mixture = Mixture(types, (0.2, 0.3, 0.5))
    tables = [as_table(game, f"{bits:05b}".replace("0", "C").replace("1", "D")) for bits in range(32)]
    brute = max(
        sum(w * evaluate(game, [t, kind], 0.9).values[0] for w, kind in zip(mixture.weights, types, strict=True))
        for t in tables
    )
    found = best_memory(game, mixture, 1, 0, 0.9)
    assert found.proven
    assert found.value == pytest.approx(brute, abs=1e-8)


def test_six_types_and_the_budget(ipd):
    """Six pure types are exact in a few belief nodes; a budget below that is refused with its count."""
    mixture = parse_mixture(ipd, FOUR + ",wsls:1,stft:1", 1)
    answer = bayes_value(ipd, mixture, 0, ".9")
    assert answer.exact == F(99208729, 3800000)
    with pytest.raises(BadInput, match="more than 5 belief nodes for 6 types"):
        bayes_value(ipd, mixture, 0, ".9", nodes=5)


def test_one_type_is_a_best_response(ipd):
    """A mixture of one pure type is worth its best response, and a type of weight 0 changes nothing."""
    tft = best_response(ipd, load_strategy(ipd, "tft", 1), 0, ".5").exact
    assert bayes_value(ipd, parse_mixture(ipd, "tft:1", 1), 0, ".5").exact == tft
    assert bayes_value(ipd, parse_mixture(ipd, "tft:1,alld:0", 1), 0, ".5").exact == tft


def finite_horizon(process, steps):
    """Oracle: the value of a contextual process by the plain recursion over beliefs, to a horizon."""

    def value(state, belief, left):
        if left == 0:
            return 0.0
        best = -np.inf
        for a in range(process.reward.shape[1]):
            total = process.reward[state, a]
            chances = belief @ process.kernel[:, state, a]
            for t in np.flatnonzero(chances > 0):
                after = belief * process.kernel[:, state, a, t] / chances[t]
                total += process.discount * chances[t] * value(t, after, left - 1)
            best = max(best, total)
        return best

    return value(process.start, np.array(process.prior, dtype=float), steps)


def test_contextual_processes_are_mixtures():
    """Theorem 3.5: the contextual process and its mixture of memory-0 opponents are worth the same."""
    rng = np.random.default_rng(4)
    kernel = rng.dirichlet(np.ones(2) * 0.5, size=(2, 2, 2))
    process = ContextualMDP(kernel, rng.random((2, 2)), (0.4, 0.6), discount=0.5)
    game, mixture = as_mixture(process)
    answer = bayes_value(game, mixture, tol=1e-4)
    oracle = finite_horizon(process, 9)
    rest = 0.5**9 / (1 - 0.5)
    assert answer.lower <= oracle + rest
    assert answer.upper >= oracle - 1e-9
    assert all(kind.nodes == 1 for kind in mixture.types)


def test_mixtures_are_contextual_processes(ipd):
    """The way back: the four-type mixture as a contextual process, and that as a mixture of memory-0 players,
    keeps its value."""
    mixture = parse_mixture(ipd, "tft:1,alld:1", 1)
    process = as_contextual(ipd, mixture)
    game, again = as_mixture(process)
    assert bayes_value(game, again, tol=1e-9).value == pytest.approx(19.65, abs=1e-6)


def test_beliefs_grow_with_types_and_horizon(ipd):
    """Pure types level off at the size of the exact process; stochastic ones go on, and the count says where it
    stopped."""
    pure = [load_strategy(ipd, name, 1) for name in ("tft", "allc", "alld", "grim")]
    found = growth(ipd, pure, [1, 4], 12)
    last = {one.types: one.nodes for one in found}
    assert last[4] == bayes_value(ipd, parse_mixture(ipd, FOUR, 1), 0, ".9").nodes
    assert last[1] < last[4]
    mixed = [load_strategy(ipd, name, 1) for name in ("gtft", "extort-2", "joss")]
    counts = [one.nodes for one in growth(ipd, mixed, [3], 12, limit=300)]
    assert counts == sorted(counts)
    assert not growth(ipd, mixed, [3], 12, limit=300)[-1].complete
