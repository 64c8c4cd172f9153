"""The learned choice of groups: features, ridge regression against a plain solution, disjoint picks, the solver."""

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.routing import Settings, solve
from backcast.routing.choice import RIDGE, SHARE, Gains
from backcast.routing.partition import circular_order, windows
from backcast.routing.problems import uniform
from backcast.routing.score import cost, faults
from backcast.routing.start import sweep


@pytest.fixture(scope="module")
def city():
    """An instance of 120 customers with its sweep, in circular order."""
    instance = uniform(120, np.random.default_rng(0))
    routes = sweep(instance, 1)
    return instance, [routes[k] for k in circular_order(instance, routes)]


def test_windows_of_the_circle():
    assert windows(4, 2) == [[0, 1], [1, 2], [2, 3], [3, 0]]
    assert windows(3, 5) == [[0, 1, 2]]
    assert windows(0, 2) == []


def test_features_by_hand(tools):
    """Two crossing routes of two: every near customer of a route is the other's or its own; loads, costs, history."""
    instance = tools.made([[0, 0], [1, 0], [2, 0], [1, 1], [2, 1]], [1, 2, 3, 4], 10)
    gains = Gains(instance)
    found = gains.features([[1, 2], [3, 4]])
    assert found[0] == pytest.approx(np.log(4))
    assert found[1] == pytest.approx(2 / 3)
    assert found[2] == pytest.approx(10 / 20)
    assert found[3] == pytest.approx(cost(instance, [[1, 2], [3, 4]]) / 4)
    assert found[5:].tolist() == [0, 0]
    gains.learn([[1, 2], [3, 4]], None)
    assert gains.features([[1, 2]])[6] == pytest.approx(np.log(2))
    gains.learn([[1, 4], [3, 2]], [[1, 2], [3, 4]])
    gain = cost(instance, [[1, 4], [3, 2]]) - cost(instance, [[1, 2], [3, 4]])
    assert gains.gained == [0, pytest.approx(gain)]
    assert gains.features([[1, 2]])[5] == pytest.approx(gain / cost(instance, [[1, 4], [3, 2]]))


def test_the_prediction_is_ridge_regression(city):
    """Against the least squares of the rows with the penalty's rows below them."""
    instance, circle = city
    gains, rng = Gains(instance), np.random.default_rng(1)
    for k in range(10):
        gains.rows.append(gains.features([circle[k % len(circle)], circle[(k + 1) % len(circle)]]))
        gains.gained.append(float(rng.random()))
    assert gains.ready
    x, y = np.stack(gains.rows), np.array(gains.gained)
    middle, spread = x.mean(0), x.std(0) + 1e-9
    below = np.vstack([(x - middle) / spread, np.sqrt(RIDGE) * np.eye(x.shape[1])])
    plain = np.linalg.lstsq(below, np.concatenate([y - y.mean(), np.zeros(x.shape[1])]), rcond=None)[0]
    wanted = (gains.features(circle[:3]) - middle) / spread @ plain + y.mean()
    assert gains.predict([circle[:3]])[0] == pytest.approx(wanted)


def test_picks_are_disjoint_and_the_best_comes_first(city):
    instance, circle = city
    gains = Gains(instance)
    for k in range(len(circle)):
        pair = [circle[k], circle[(k + 1) % len(circle)]]
        gains.rows.append(gains.features(pair))
        gains.gained.append(float(k))
    every = windows(len(circle), 2)
    picked = gains.pick(circle, every)
    flat = [k for window in picked for k in window]
    assert len(flat) == len(set(flat))
    assert len(flat) <= SHARE * len(circle)
    told = gains.predict([[circle[k] for k in window] for window in every])
    assert picked[0] == every[int(np.argmax(told))]


def test_solving_by_gain_is_feasible_deterministic_and_another_way():
    instance = uniform(120, np.random.default_rng(2))
    given = {"engine": "pyvrp", "start": "sweep", "group": 2, "iterations": 9000}
    heard = []
    gain = solve(instance, settings=Settings(choose="gain", **given), callback=heard.append)
    assert all(faults(instance, one.routes) == [] for one in heard)
    assert gain.routes == solve(instance, settings=Settings(choose="gain", **given)).routes
    assert gain.routes != solve(instance, settings=Settings(**given)).routes
    with pytest.raises(BadInput, match="choose 'gain' is for groups; engine 'sisr' has none"):
        solve(instance, settings=Settings(choose="gain"))
    with pytest.raises(BadInput, match="choose 'gian' is unknown; did you mean 'gain'"):
        Settings(choose="gian")
