"""The any-time solver: feasibility everywhere, monotone levels, determinism, warm starts, groups, interruption."""

import os
import signal
import threading
from itertools import pairwise

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.routing import Settings, solve
from backcast.routing.partition import circular_order, groups, improves, rotated, sectors
from backcast.routing.problems import Instance, uniform
from backcast.routing.score import cost, faults
from backcast.routing.start import sweep
from backcast.routing.subsolve import cut_out, from_solution, solve_with_pyvrp, to_pyvrp, to_solution


def quick(**more):
    return Settings(**{"iterations": 2000, **more})


def test_random_and_degenerate_instances(tools):
    """1,000 instances of 0 to 20 customers with duplicates, customers on the depot and full loads: always feasible,
    the reported cost is the recomputed one."""
    rng = np.random.default_rng(0)
    for k in range(1000):
        size = int(rng.integers(0, 21))
        instance = tools.random_instance(rng, size, routes=float(rng.uniform(1, 5)))
        found = solve(instance, settings=quick(iterations=60, seed=k))
        assert faults(instance, found.routes) == []
        assert found.cost == pytest.approx(tools.plain_cost(instance, found.routes), rel=1e-9, abs=1e-12)
        assert found.cost <= found.start_cost + 1e-12


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("engine", ["sisr", "pyvrp", "exact"])
def test_almost_nothing_just_works(tools, size, engine):
    instance = tools.made([[0, 0], [1, 0], [0, 2]][: size + 1], [3, 4][:size], 4)
    found = solve(instance, settings=quick(engine=engine, iterations=10))
    assert found.cost == pytest.approx([0, 2, 6][size])
    assert len(found.routes) == size


@pytest.mark.parametrize("engine", ["sisr", "pyvrp"])
def test_costs_and_routes_never_rise(engine):
    """Every improvement heard of is strictly cheaper, feasible, and matches the trace; the fleet does not grow."""
    instance = uniform(150, np.random.default_rng(3))
    heard = []
    found = solve(
        instance, settings=quick(engine=engine, start="sweep", group=2, iterations=20_000), callback=heard.append
    )
    costs = [one.cost for one in heard]
    assert all(a > b for a, b in pairwise(costs))
    assert len(heard) > 2
    assert [value for _, value in found.trace] == costs
    for one in heard:
        assert faults(instance, one.routes) == []
        assert one.cost == pytest.approx(cost(instance, one.routes))
    if engine == "pyvrp":
        fleets = [len(one.routes) for one in heard]
        assert all(a >= b for a, b in pairwise(fleets))


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_iteration_budget_is_deterministic(jobs):
    """Same seed, same routes; another seed, others; the number of iterations is kept to."""
    instance = uniform(400, np.random.default_rng(5))
    first, again, other = (solve(instance, settings=quick(jobs=jobs, iterations=20_000, seed=s)) for s in (1, 1, 2))
    assert first.routes == again.routes
    assert first.routes != other.routes
    assert abs(first.iterations - 20_000) < 1500


def test_more_iterations_and_warm_starts_help():
    """20 times the budget is better, and a warm start begins where the last run ended."""
    instance = uniform(300, np.random.default_rng(7))
    short = solve(instance, settings=quick())
    long = solve(instance, settings=quick(iterations=40_000))
    assert long.cost < short.cost < short.start_cost
    warm = solve(instance, settings=quick(), routes=long.routes)
    assert warm.trace[0][1] == pytest.approx(long.cost)
    assert warm.cost <= long.cost


def test_from_and_to_pyvrp():
    """Routes survive the way to PyVRP and back; PyVRP's answer from a warm start is feasible and no worse."""
    instance = uniform(60, np.random.default_rng(8))
    routes = sweep(instance, 1)
    data = to_pyvrp(instance)
    solution = to_solution(data, routes)
    assert sorted(from_solution(solution)) == sorted(routes)
    assert solution.is_feasible()
    new = solve_with_pyvrp(instance, routes, 200)
    assert faults(instance, new) == []
    assert cost(instance, new) < cost(instance, routes)
    assert solve(instance, settings=quick(), routes=new).cost <= cost(instance, new)


def test_pairs_meet_both_angular_neighbours():
    """With an even number of routes two consecutive levels pair each with both neighbours; odd: one alone, once."""
    for customers, odd in ((200, False), (200, True)):
        instance = uniform(customers, np.random.default_rng(11))
        routes = sweep(instance, 1)
        if (len(routes) % 2 == 1) != odd:
            routes = [*routes[:-1], routes[-1][:1], routes[-1][1:]]
        circle = [tuple(routes[k]) for k in circular_order(instance, routes)]
        neighbours = {r: {circle[k - 1], circle[(k + 1) % len(circle)]} for k, r in enumerate(circle)}
        first = rotated(instance, routes, 0)
        second = rotated(instance, first, 1)
        met, alone = {route: set() for route in circle}, 0
        for level in (first, second):
            for group in groups(len(level)):
                members = [tuple(level[k]) for k in group]
                alone += len(members) == 1
                for one in members:
                    met[one] |= set(members) - {one}
        assert alone == (2 if odd else 0)
        if not odd:
            assert met == neighbours
        assert all(met[route] <= neighbours[route] for route in circle)


def test_sectors_and_the_rule_of_acceptance(tools):
    assert sectors(7, 3) == [[0, 1], [2, 3, 4], [5, 6]]
    assert sectors(2, 5) == [[0], [1]]
    assert groups(5, 2) == [[0, 1], [2, 3], [4]]
    instance = tools.made([[0, 0], [1, 0], [2, 0]], [1, 1], 2)
    assert improves(instance, [[1, 2]], [[1], [2]])
    assert not improves(instance, [[1, 2]], [[2, 1]])
    assert not improves(instance, [[1], [2]], [[1, 2]])


def test_a_group_is_an_instance_of_its_own():
    instance = uniform(50, np.random.default_rng(12))
    routes = sweep(instance, 1)[:2]
    sub = cut_out(instance, routes)
    assert cost(sub.instance, sub.routes) == pytest.approx(cost(instance, routes))
    assert sub.back(sub.routes) == routes
    assert sub.into(routes) == sub.routes


def test_bad_settings_and_starts_are_one_line(tools):
    instance = tools.made([[0, 0], [1, 0], [0, 2]], [3, 4], 7)
    with pytest.raises(BadInput, match="engine 'sirs' is unknown; did you mean 'sisr'"):
        Settings(engine="sirs")
    with pytest.raises(BadInput, match="start 'saving' is unknown"):
        Settings(start="saving")
    with pytest.raises(BadInput, match="jobs must be at least 1, found 0"):
        Settings(jobs=0)
    with pytest.raises(BadInput, match="-1 seconds"):
        solve(instance, -1)
    with pytest.raises(BadInput, match="customer 2 is not visited"):
        solve(instance, routes=[[1]])
    matrix = Instance("m", np.array([0, 1, 1]), 5, None, "matrix", np.array([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]]))
    with pytest.raises(BadInput, match="a sweep needs coordinates"):
        solve(matrix, settings=quick(start="sweep"))
    assert solve(matrix, settings=quick(iterations=10)).cost == 4


def test_a_long_budget_begins_with_short_coolings():
    """Up to a minute there are two; an hour begins with one of under six seconds, each next one four times as long;
    where a tenth of the budget is fewer than twenty iterations a customer there is one."""
    from backcast.routing.hlgp import _coolings
    from backcast.routing.search.anneal import Schedule

    small, large = (uniform(size, np.random.default_rng(3)) for size in (100, 5000))
    assert _coolings(0.0, large, Schedule(5.0, None, "cpu")) == [0.0, 1.0]
    assert _coolings(0.0, large, Schedule(10.0, None, "cpu")) == [0.0, 0.1, 1.0]
    assert _coolings(0.0, small, Schedule(None, 10_000, "cpu")) == [0.0, 1.0]
    assert _coolings(0.0, small, Schedule(60.0, None, "cpu")) == [0.0, 0.1, 1.0]
    assert _coolings(0.0, small, Schedule(None, 10**9, "cpu")) == [0.0, 0.1, 1.0]
    ends = [3600 * share for share in _coolings(0.0, small, Schedule(3600.0, None, "cpu"))]
    assert ends == pytest.approx([0.0, 1.40625 * 4, 22.5, 90.0, 360.0, 3600.0])
    later = _coolings(0.5, small, Schedule(3600.0, None, "cpu"))
    assert later[0] == 0.5
    assert later[-1] == 1.0
    assert later == sorted(later)


def test_a_search_of_an_hour_that_is_ended_soon_has_good_routes():
    """Ctrl-C after eight seconds: about as good as one second that was planned for, far below savings."""
    instance = uniform(200, np.random.default_rng(5))
    short = solve(instance, 1.0, Settings(clock="cpu"))
    timer = threading.Timer(8.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    long = solve(instance, 3600.0)
    timer.join()
    assert long.interrupted
    assert long.cost < 1.02 * short.cost
    assert long.cost < 0.98 * long.start_cost
