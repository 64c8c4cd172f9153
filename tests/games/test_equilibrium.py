"""Equilibria: enumeration in fractions, continuation, polish, Shapley; every answer certified."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.games.equilibrium import (
    Table,
    all_pure,
    certify,
    certify_exactly,
    continuation,
    lift,
    matrix_game,
    nash,
    pure_profiles,
    shapley,
)
from backcast.games.equilibrium.qre import _Logit
from backcast.games.memory import load_strategy
from backcast.games.problems import from_rows, load_game, random_game
from backcast.games.solve import evaluate

F = Fraction


@pytest.fixture(scope="module")
def profiles(ipd):
    """All 1024 pairs of pure memory-one strategies at discount .9, with exact certificates."""
    return pure_profiles(ipd, 1, ".9")


def letters(profile):
    """Both players' moves in OWN view at start, CC, CD, DC, DD."""
    first, second = ["".join("CD"[a] for a in choice) for choice in profile.choices]
    return first, second[:2] + second[3] + second[2] + second[4]


def test_pure_memory_one_equilibria(profiles):
    """22 pure equilibria from the start with their payoffs, the symmetric ones, and exactly 3 in all
    lifted states."""
    found = [p for p in profiles if p.certificate.eps_start == 0]
    payoffs = Counter(p.certificate.values for p in found)
    assert payoffs == {(30, 30): 4, (F(500, 19), F(450, 19)): 1, (F(450, 19), F(500, 19)): 1, (10, 10): 16}
    symmetric = {a for a, b in map(letters, found) if a == b}
    assert symmetric == {"CCDCD", "CCDDD", "DCCDD", "DCDDD", "DDCDD", "DDDDD"}
    everywhere = [letters(p) for p in found if p.certificate.eps_all == 0]
    assert everywhere == [("CCDDD",) * 2, ("DCDDD",) * 2, ("DDDDD",) * 2]


def test_enumeration_agrees_with_floats(profiles, ipd):
    """A sample of the exact certificates equals the float ones."""
    table = Table(lift(ipd, 1), 0.9)
    for pure in profiles[::97]:
        rough = table.certify([np.eye(2)[list(choice)] for choice in pure.choices])
        assert rough.eps_all == pytest.approx(float(pure.certificate.eps_all), abs=1e-9)
        assert rough.eps_start == pytest.approx(float(pure.certificate.eps_start), abs=1e-9)
        assert rough.values == pytest.approx([float(v) for v in pure.certificate.values])


@pytest.mark.parametrize(
    ("name", "discount", "gain"),
    [
        ("tft", ".66", "50/1411"),
        ("tft", "2/3", "0"),
        ("grim", ".49", "4/51"),
        ("grim", ".5", "0"),
        ("wsls", ".9", "20/19"),
        ("wsls", "2/3", "6/5"),
    ],
)
def test_deviation_gains(ipd, name, discount, gain):
    """What a deviation from a symmetric profile gains, as a fraction, switching to 0 at 2/3 and 1/2."""
    pair = [load_strategy(ipd, name, seat) for seat in range(2)]
    exact = certify_exactly(ipd, pair, discount)
    assert exact.eps_start == F(gain)
    rough = certify(ipd, pair, discount)
    assert (rough.eps_start, rough.eps_all) == pytest.approx((float(exact.eps_start), float(exact.eps_all)), abs=1e-9)


def test_tit_for_tat_is_nash_from_the_start_only(ipd):
    """TFT against itself gains nothing from the start and something after a defection."""
    exact = certify_exactly(ipd, [load_strategy(ipd, "tft", seat) for seat in range(2)], ".9")
    assert exact.eps_start == 0
    assert exact.eps_all > 0


def test_no_pure_equilibrium_in_matching_pennies():
    """No pure memory-one profile of matching pennies has gain 0."""
    assert all_pure(load_game("pennies"), 1, ".9") == []


@pytest.mark.parametrize("name", ["pennies", "rps"])
@pytest.mark.parametrize("zero_sum", [True, False])
def test_mixed_equilibria(name, zero_sum):
    """Matching pennies and RPS are worth (0, 0), by Shapley and by continuation, with eps_all <= 1e-9."""
    game = load_game(name)
    table = Table(lift(game, 1), 0.9)
    if zero_sum:
        best = nash(game, 1, 0.9, starts=0)[0]
        certificate = best.certificate
    else:
        certificate = continuation(table, [np.full((table.size, k), 1 / k) for k in game.sizes]).certificate
    assert certificate.values == pytest.approx((0, 0), abs=1e-9)
    assert certificate.eps_all <= 1e-9


def test_continuation_ends_without_memory(ipd):
    """From the uniform prior the path treats all windows alike: all-D at 10 each, for K = 1 and 2."""
    for memory in (1, 2):
        table = Table(lift(ipd, memory), 0.9)
        path = continuation(table, [np.full((table.size, 2), 0.5)] * 2)
        assert path.certificate.values == pytest.approx((10, 10))
        assert path.certificate.eps_all <= 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_random_three_by_three(seed):
    """Random 3 x 3 games, some of which stall a naive path, end with eps_all <= 1e-9."""
    game = random_game(2, (3, 3), 2, seed=seed, discount=0.9)
    table = Table(lift(game, 0), 0.9)
    path = continuation(table, [np.full((table.size, 3), 1 / 3)] * 2)
    assert path.certificate.eps_all <= 1e-9


def test_three_players():
    """A random three-player game gets a certified stationary equilibrium."""
    game = random_game(2, (2, 2, 2), 2, seed=3, discount=0.8)
    found = nash(game, 0, starts=1)
    assert found[0].eps_all <= 1e-9
    assert len(found[0].values) == 3


def test_cooperation_is_found(ipd):
    """The IPD's (30, 30) at .9 is returned and re-evaluates to itself; below 1/2 there is nothing to find."""
    found = nash(ipd, 1, 0.9, starts=0)
    assert found[0].values == pytest.approx((30, 30))
    assert found[0].eps_all <= 1e-9
    assert evaluate(ipd, found[0].strategies, 0.9).values == pytest.approx([30, 30])
    assert [e.values for e in nash(ipd, 1, 0.4, starts=0)] == [pytest.approx((1 / 0.6, 1 / 0.6))]


def test_cooperation_in_the_donation_game():
    """In the two-state game mutual cooperation is worth 10 each from 'rich' and is an equilibrium at .9."""
    found = nash(load_game("donation"), 1, 0.9, starts=0)
    assert found[0].values == pytest.approx((10, 10))
    assert found[0].eps_all <= 1e-9


def test_seeds_give_their_own_paths(ipd):
    """A profile given as a seed is certified as it is: grim with itself stays."""
    pair = [load_strategy(ipd, "grim", seat) for seat in range(2)]
    found = nash(ipd, 1, 0.9, starts=0, seeds=[pair])
    assert any(e.method == "seed" or e.values == pytest.approx((30, 30)) for e in found)
    assert all(e.eps_all <= 1e-9 for e in found)


def test_the_jacobian_is_the_derivative():
    """The analytic Jacobian of the logit system equals central differences, for two and three players."""
    rng = np.random.default_rng(0)
    for sizes in ((2, 3), (2, 2, 2)):
        game = random_game(2, sizes, 2, seed=1, discount=0.7)
        table = Table(game, 0.7)
        system = _Logit(table, [rng.dirichlet(np.ones(k), size=2) for k in sizes])
        z = np.append(system.begin() + 0.1 * rng.standard_normal(system.length), 1.7)
        z[: system.values_at] = np.minimum(z[: system.values_at], -0.1)
        _, slopes = system.residual(z[:-1], z[-1])
        for column in range(len(z)):
            bump = np.zeros(len(z))
            bump[column] = 1e-6
            up, _ = system.residual((z + bump)[:-1], (z + bump)[-1], jacobian=False)
            down, _ = system.residual((z - bump)[:-1], (z - bump)[-1], jacobian=False)
            assert (up - down) / 2e-6 == pytest.approx(slopes[:, column], abs=1e-7)


def test_the_path_begins_at_its_prior():
    """At lambda 0 the logit system is solved by the prior."""
    game = random_game(3, (2, 2), 2, seed=2)
    table = Table(game, 0.9)
    rng = np.random.default_rng(3)
    system = _Logit(table, [rng.dirichlet(np.ones(2), size=3) for _ in range(2)])
    residual, _ = system.residual(system.begin(), 0.0)
    assert np.abs(residual).max() < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_matrix_games_are_solved(seed, rows, columns):
    """Neither player gains by a pure deviation from the linear program's answer, and the value is what it pays."""
    payoff = np.random.default_rng(seed).integers(-3, 4, size=(rows, columns)).astype(float)
    value, mine, theirs = matrix_game(payoff)
    assert mine @ payoff @ theirs == pytest.approx(value, abs=1e-7)
    assert (payoff @ theirs).max() <= value + 1e-7
    assert (mine @ payoff).min() >= value - 1e-7


def test_shapley_on_a_game_with_states():
    """A two-state zero-sum game: 'win' pays 1 for ever; matching pennies decides whether one gets there."""
    stay, go = {0: 1}, {1: 1}
    game = from_rows(
        "race",
        ("HT", "HT"),
        [[[0] * 4, [1] * 4], [[0] * 4, [-1] * 4]],
        [[go, stay, stay, go], [go] * 4],
        states=("race", "win"),
        discount=0.5,
    )
    found = shapley(game)
    assert found.value == pytest.approx([2 / 3, 2])
    assert (found.lower <= found.value).all()
    assert (found.value <= found.upper).all()
    assert Table(game, 0.5).certify(found.profile).eps_all <= 1e-8
    with pytest.raises(BadInput, match="not a two-player zero-sum game"):
        shapley(load_game("ipd"))


def test_too_many_profiles_are_counted(ipd):
    """Enumeration beyond the limit is refused with the number of lifted states and strategies."""
    with pytest.raises(BadInput, match=r"21 lifted states and 2097152 x 2097152"):
        pure_profiles(ipd, 2)
