"""The knapsack against trying everything, its bounds against its answers."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.compress import knapsack
from backcast.compress.knapsack import cheapest, hull, relaxed, solve

OPTION = st.tuples(st.integers(0, 30), st.integers(0, 50).map(lambda n: n / 8))
ITEMS = st.lists(st.lists(OPTION, min_size=1, max_size=4), min_size=1, max_size=5)


def tried(items, budget):
    """The least error over all choices that fit."""
    fits = [choice for choice in product(*items) if sum(cost for cost, _ in choice) <= budget]
    return min((sum(error for _, error in choice) for choice in fits), default=None)


@settings(max_examples=300, deadline=None)
@given(ITEMS, st.integers(0, 120))
def test_the_optimum_is_that_of_trying_everything(items, budget):
    """None exactly when nothing fits; else the least error, within the budget, certified (eighths add up exactly)."""
    found, expected = solve(items, budget), tried(items, budget)
    assert (found is None) == (expected is None) == (cheapest(items) > budget)
    if found is not None:
        chosen = [options[pick] for options, pick in zip(items, found.picks, strict=True)]
        assert found.cost == sum(cost for cost, _ in chosen) <= budget
        assert found.error == sum(error for _, error in chosen) == expected
        assert found.gap == 0
        assert relaxed(items, budget) <= expected


def test_a_hull_by_hand():
    """(2, 9) lies above the line from (0, 10) to (4, 2); (5, 2) and (6, 3) buy nothing."""
    assert hull([(6, 3.0), (0, 10.0), (2, 9.0), (4, 2.0), (5, 2.0), (8, 0.0)]) == [1, 3, 5]


def layers(count, seed):
    """Options like a model's: a few widths of layers, error falling about fourfold a bit."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([331_776, 884_736, 110_592], count)
    bits = np.array([2, 3, 4, 5, 6, 8, 16]) + 0.26
    return [
        [(int(size * b / 8) + int(rng.integers(0, 90)), float(scale * 4.0**-b)) for b in bits]
        for size, scale in zip(sizes, rng.lognormal(0, 1, count), strict=True)
    ]


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_many_layers_are_solved_to_a_certificate(share):
    """210 layers: within the budget, never below the relaxation, and provably within a thousandth of the optimum."""
    items = layers(210, 3)
    low, high = cheapest(items), sum(max(cost for cost, _ in options) for options in items)
    budget = int(low + share * (high - low))
    found = solve(items, budget)
    assert found.cost <= budget
    assert relaxed(items, budget) <= found.bound * (1 + 1e-9) <= found.error * (1 + 1e-9)
    assert found.gap < 1e-3


def test_when_states_must_be_dropped_the_certificate_says_so(monkeypatch):
    """With room for two states only, the answer still fits and its bound stays below the true optimum."""
    items = layers(8, 1)
    items = [options[:4] for options in items]
    low, high = cheapest(items), sum(max(cost for cost, _ in options) for options in items)
    budget = (low + high) // 2
    best = tried(items, budget)
    assert solve(items, budget).error == pytest.approx(best, rel=1e-12)
    monkeypatch.setattr(knapsack, "MOST", 2)
    found = solve(items, budget)
    assert found.cost <= budget
    assert found.bound <= best * (1 + 1e-12) <= found.error * (1 + 1e-9)
