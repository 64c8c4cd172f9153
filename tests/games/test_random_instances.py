"""Random games of 1 to 4 players against random machines, checked by oracles that share no code with the room."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from backcast.games.equilibrium import nash, pure_equilibria, pure_profiles
from backcast.games.memory import (
    Mixture,
    k_memory,
    minimise,
    read_strategy,
    stationary,
    to_json,
    together,
    two_seats,
    with_noise,
)
from backcast.games.mixtures import as_contextual, as_mixture, bayes_value, best_memory, ladder
from backcast.games.problems import random_game
from backcast.games.solve import average, average_response, best_response, evaluate, simulate


def by_linear_program(law, pay, discount):
    """min sum V subject to V >= r + discount P V."""
    size, actions = pay.shape
    rows = [discount * law[n, a] - np.eye(size)[n] for n in range(size) for a in range(actions)]
    return linprog(np.ones(size), A_ub=np.array(rows), b_ub=-pay.ravel(), bounds=(None, None), method="highs-ds").x


@pytest.mark.parametrize("seed", range(16))
def test_best_responses_against_a_linear_program(oracles, seed):
    """Every method agrees with a linear program over loops, and the policy earns its value: as it is, minimised, and
    read back from JSON; against the team of all opponents too."""
    rng = np.random.default_rng(seed)
    game, player, others = oracles.any_table(rng)
    discount = (0, "1/2", "9/10", "99/100")[seed % 4]
    law, pay, start = oracles.dense_process(game, player, others)
    scale = max(1.0, abs(pay).max() / (1 - float(best_response(game, others, player, discount).discount)))
    wanted = start @ by_linear_program(law, pay, float(best_response(game, others, player, discount).discount))
    for method in ("auto", "vi", "mpi", "pi", "lp"):
        found = best_response(game, others, player, discount, method, exact=method == "auto")
        assert found.value == pytest.approx(wanted, abs=1e-6 * scale)
        assert found.lower - 1e-12 * scale <= found.value <= found.upper + 1e-12 * scale
    small, _ = minimise(found.automaton())
    for policy in (found.automaton(), small, read_strategy(game, to_json(small), player)):
        assert evaluate(game, [policy, *others], discount).values[player] == pytest.approx(
            found.value, abs=1e-8 * scale
        )
    if len(game.players) > 2:
        view, seat = two_seats(game, player)
        assert best_response(view, together(view, others), seat, discount).value == pytest.approx(found.value)


@pytest.mark.parametrize("seed", range(3))
def test_a_discount_next_to_one(oracles, seed):
    """At 1 - 1e-6 the fractions, the float bounds and the policy's own value agree relative to the size of the sums."""
    rng = np.random.default_rng(100 + seed)
    game, player, others = oracles.any_table(rng, players=2)
    exact = best_response(game, others, player, "999999/1000000")
    plain = best_response(game, others, player, "999999/1000000", exact=False)
    assert exact.exact is not None
    assert plain.lower <= float(exact.exact) <= plain.upper
    assert plain.upper - plain.lower <= 1e-6 * max(1.0, abs(plain.value))
    gain = average_response(game, others, player).value
    assert 1e-6 * exact.value == pytest.approx(gain, abs=1e-3)


@pytest.mark.parametrize("seed", range(24))
def test_averages_against_all_policies(oracles, seed):
    """The best average equals the best over every stationary policy, from every state, several recurrent classes
    included; and the ONE policy that is printed earns it, as floats and as a fraction."""
    rng = np.random.default_rng(seed)
    while True:
        game, player, others = oracles.any_table(rng, players=2 + seed % 2)
        law, pay, start = oracles.dense_process(game, player, others)
        size, actions = pay.shape
        if 8 <= actions**size <= 2000:  # few enough to try them all
            break
    best = np.full(size, -np.inf)
    for policy in itertools.product(range(actions), repeat=size):
        n = np.arange(size)
        best = np.maximum(best, oracles.long_run(law[n, policy], pay[n, policy]))
    found = average_response(game, others, player)
    assert found.gain == pytest.approx(best, abs=1e-8)
    assert found.lower - 1e-9 <= start @ best <= found.upper + 1e-9
    assert float(found.exact) == pytest.approx(start @ best, abs=1e-9)
    assert found.certify() == pytest.approx(start @ best, abs=1e-9)
    assert average(game, [found.automaton(), *others])[player] == pytest.approx(start @ best, abs=1e-9)


def test_an_average_s_policy_is_play(ipd):
    """Always D keeps TFT's 3 within reach and earns 1; the policy that is printed earns 3, with trembling hands too."""
    from backcast.games.memory import load_strategy

    tft = load_strategy(ipd, "tft", 1)
    found = average_response(ipd, tft)
    assert found.keeping()["CC"] == ["C", "D"]
    assert found.actions() == {window: ["C"] for window in ("start", "CC", "CD", "DC", "DD")}
    assert (found.exact, found.certify()) == (3, 3)
    shaking = average_response(ipd, tft, own_noise="1/10")
    mine = with_noise(shaking.automaton(), "1/10")
    assert average(ipd, [mine, tft])[0] == pytest.approx(shaking.value) == pytest.approx(2.89)
    slow = average_response(ipd, with_noise(load_strategy(ipd, "grim", 1), "1/1000000"))
    assert slow.exact == Fraction(2999997, 1000000)


@pytest.mark.parametrize("seed", range(8))
def test_mixtures_bracket_the_finite_horizon(oracles, seed):
    """Bayes values of random mixtures, pure and stochastic, as player 1 and 2, lie between what a plain recursion over
    beliefs earns in a few steps and that plus all that can still come; the ladder is ordered."""
    rng = np.random.default_rng(seed)
    game = oracles.any_game(rng, players=2, discount="1/2")
    player = seed % 2
    types = [oracles.any_machine(rng, game, 1 - player, pure=seed % 4 == 0) for _ in range(int(rng.integers(2, 4)))]
    weights = rng.integers(1, 4, size=len(types))
    mixture = Mixture(tuple(types), tuple(int(w) for w in weights))
    rungs = ladder(game, mixture, player, memory=1, tol=1e-5, nodes=800)
    bayes = rungs.bayes
    steps = 6 if game.joint * len(game.states) <= 6 else 4
    paid = game.payoff[player] if game.landing is None else game.landing[player].astype(float)
    seen = oracles.finite_horizon(game, mixture, player, 0.5, steps)
    rest = 0.5**steps / 0.5
    assert bayes.lower <= seen + rest * paid.max() + 1e-9
    assert bayes.upper >= seen + rest * paid.min() - 1e-9
    values = [rung.value for rung in rungs.memory]
    assert values[0] <= rungs.memory[1].upper + 1e-9
    assert values[1] <= bayes.upper + 1e-9
    assert bayes.lower <= rungs.clairvoyant + 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_values_against_simulation(oracles, seed):
    """Exact values of random profiles lie within four standard errors of simulated matches, R(s, a, s') included."""
    rng = np.random.default_rng(seed)
    game = oracles.any_game(rng, players=2 + seed % 3, landing=bool(seed % 2), discount="7/10")
    profile = [oracles.any_machine(rng, game, seat, pure=False) for seat in range(len(game.players))]
    exact = evaluate(game, profile).values
    seen = simulate(game, profile, turns=50, matches=6000, seed=seed).discounted
    error = 4 * seen.std(axis=0) / np.sqrt(len(seen)) + 1e-6
    assert (np.abs(seen.mean(axis=0) - exact) <= error).all()


def test_one_stochastic_type_has_nothing_to_teach(oracles):
    """A mixture of one type, stochastic or not, has nothing to learn."""
    rng = np.random.default_rng(5)
    game = oracles.any_game(rng, players=2)
    kind = oracles.any_machine(rng, game, 1, pure=False)
    found = bayes_value(game, Mixture((kind,), (1,)), 0, tol=1e-7)
    best = best_response(game, kind, 0).value
    assert found.lower - 1e-9 <= best <= found.upper + 1e-9
    assert found.upper - found.lower <= 1e-5 * max(1.0, abs(best))


@pytest.mark.parametrize("seed", range(3))
def test_best_memory_one_in_games_with_states(oracles, seed):
    """Branch and bound finds what trying every pure memory-one table finds, in games with states, for either player."""
    rng = np.random.default_rng(seed)
    while True:
        game, player = oracles.any_game(rng, players=2), seed % 2
        cells = (len(game.states), 1 + game.joint)
        if 4 < game.sizes[player] ** (cells[0] * cells[1]) <= 300:
            break
    types = tuple(oracles.any_machine(rng, game, 1 - player) for _ in range(2))
    mixture = Mixture(types, (2, 1))
    brute = -np.inf
    for table in itertools.product(range(game.sizes[player]), repeat=cells[0] * cells[1]):
        mine = k_memory(game, player, 1, np.eye(game.sizes[player])[np.reshape(table, cells)])
        parts = [evaluate(game, [mine, kind]).values[player] for kind in types]
        brute = max(brute, (2 * parts[0] + parts[1]) / 3)
    found = best_memory(game, mixture, 1, player)
    assert found.proven
    assert found.value == pytest.approx(brute, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_pure_equilibria_of_three_players(oracles, seed):
    """Enumeration of a three-player game finds exactly the profiles from which nobody gains by a loop over their own
    policies; its certificates are those gains."""
    rng = np.random.default_rng(seed)
    game = random_game(2, (2, 2, 2), 2, seed=seed, discount="1/2")
    game = replace(
        game,
        rewards=rng.integers(0, 4, game.rewards.shape).astype(object),
        probability=np.tile(np.array([Fraction(1, 4), Fraction(3, 4)], dtype=object), len(game.probability) // 2),
    )
    gains = {tuple(p.choices): p.certificate.eps_start for p in pure_profiles(game, 0, "1/2")}
    assert len(gains) == 64
    for choices, gain in gains.items():
        profile = [stationary(game, i, np.eye(2)[list(choice)]) for i, choice in enumerate(choices)]
        worst = 0.0
        for i in range(3):
            law, pay, start = oracles.dense_process(game, i, [t for t in profile if t.player != i])
            worth = {
                own: start @ np.linalg.solve(np.eye(2) - 0.5 * law[[0, 1], own], pay[[0, 1], own])
                for own in itertools.product(range(2), repeat=2)
            }
            worst = max(worst, max(worth.values()) - worth[tuple(choices[i])])
        assert float(gain) == pytest.approx(worst, abs=1e-9)
    assert {tuple(map(tuple, choice)) for choice in gains} >= {p.choices for p in pure_equilibria(game, 0, "1/2")}


@pytest.mark.parametrize("seed", range(4))
def test_equilibria_of_two_and_three_players(oracles, seed):
    """What is called an equilibrium leaves nobody a gain by plain value iteration over loops."""
    game = random_game(1 + seed % 2, (2, 3) if seed < 2 else (2, 2, 2), 2, seed=seed, discount=0.8)
    for found in nash(game, 0, starts=1):
        for i in range(len(game.players)):
            law, pay, start = oracles.dense_process(game, i, [t for t in found.strategies if t.player != i])
            value = np.zeros(len(pay))
            for _ in range(200):
                value = (pay + 0.8 * law @ value).max(axis=1)
            assert start @ value - found.values[i] <= 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_theorem_3_5_both_ways(oracles, seed):
    """A random mixture in a game with states is a contextual process of the same value, and that a mixture of memory-0
    players of the same value: all three brackets meet, for either player."""
    rng = np.random.default_rng(seed)
    game = oracles.any_game(rng, players=2, discount="1/2", landing=bool(seed % 2))
    player = seed % 2
    types = tuple(oracles.any_machine(rng, game, 1 - player, pure=seed < 2) for _ in range(2))
    mixture = Mixture(types, (1, 2))
    straight = bayes_value(game, mixture, player, tol=1e-5, nodes=1500)
    process = as_contextual(game, mixture, player)
    again, idle = as_mixture(process)
    assert all(kind.nodes == 1 for kind in idle.types)
    back = bayes_value(again, idle, tol=1e-5, nodes=1500)
    assert back.lower <= straight.upper + 1e-6
    assert straight.lower <= back.upper + 1e-6
    assert back.upper - back.lower < 0.05 * max(1.0, abs(back.value))


def test_no_contextual_process_without_a_future(ipd):
    """At discount 0 nothing that is paid a step later counts."""
    from backcast.core.errors import BadInput
    from backcast.games.memory import parse_mixture

    with pytest.raises(BadInput, match="discount 0"):
        as_contextual(replace(ipd, discount=0), parse_mixture(ipd, "tft:1", 1))
