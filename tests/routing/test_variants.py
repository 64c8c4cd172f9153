"""Time windows, several depots, types of vehicles: the checker and the solver against brute force, files, bad input."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from backcast.cli import main
from backcast.core.errors import BadInput
from backcast.routing import Settings, solve
from backcast.routing.fleet import assign, fault_of, shares
from backcast.routing.problems import (
    Instance,
    Variant,
    Vehicles,
    read_instance,
    windowed,
    write_instance,
    write_solution,
)
from backcast.routing.score import cost, faults
from backcast.routing.subsolve import cut_out, to_pyvrp, to_solution

SOLOMON = """R-tiny

VEHICLE
NUMBER     CAPACITY
  3         10

CUSTOMER
CUST NO.  XCOORD.    YCOORD.    DEMAND   READY TIME  DUE DATE   SERVICE TIME

    0      0         0          0          0       100          0
    1      3         4          5         20        30          5
    2      0         5          5          0        60          5
    3      6         8          6          0        40          5
"""


def can_drive(instance, route, vehicle):
    """Plain loops over every whole time of leaving; all data of the tests that use it are whole numbers."""
    variant, depot = instance.variant, vehicle.depot
    if sum(int(instance.demands[c]) for c in route) > vehicle.capacity:
        return False
    stops = [depot, *route, depot]
    legs = [float(instance.distances(a, b)) for a, b in itertools.pairwise(stops)]
    if sum(legs) > vehicle.most_distance:
        return False
    opens, closes = (0, 200) if variant.windows is None else variant.windows[depot]
    for leave in range(int(opens), int(closes) + 1):
        now, fine = leave, True
        for k, node in enumerate(stops[1:]):
            now += legs[k]
            early, late = (0, np.inf) if variant.windows is None else variant.windows[node]
            fine &= now <= late
            now = max(now, early) if node != depot else now
            now += 0 if node == depot or variant.service is None else variant.service[node]
        if fine and now - leave <= vehicle.most_duration:
            return True
    return False


def partitions(instance):
    """Every list of routes of a tiny instance, up to the order of the routes."""
    customers = range(instance.depots, len(instance.demands))
    for order in itertools.permutations(customers):
        for cuts in itertools.product([False, True], repeat=instance.size - 1):
            routes = [[order[0]]]
            for cut, customer in zip(cuts, order[1:], strict=True):
                routes += [[customer]] if cut else []
                if not cut:
                    routes[-1].append(customer)
            if routes == sorted(routes):
                yield routes


def plain_best(instance, routes, known):
    """The cheapest vehicles for the routes by trying all."""
    types = instance.variant.vehicles
    best = np.inf
    for chosen in itertools.product(range(len(types)), repeat=len(routes)):
        if any(t.number is not None and chosen.count(k) > t.number for k, t in enumerate(types)):
            continue
        total = 0.0
        for route, k in zip(routes, chosen, strict=True):
            key = (tuple(route), k)
            if key not in known:
                depot = types[k].depot
                length = sum(float(instance.distances(a, b)) for a, b in itertools.pairwise([depot, *route, depot]))
                known[key] = types[k].fixed + types[k].unit * length if can_drive(instance, route, types[k]) else np.inf
            total += known[key]
        best = min(best, total)
    return best


def drawn(rng, size, kind):
    """A tiny instance of whole numbers in which windows, depots, vehicles and limits bind now and then."""
    depots = 2 if kind == "depots" else 1
    nodes = size + depots
    coords = rng.integers(0, 30, (nodes, 2)).astype(float)
    demands = np.concatenate([np.zeros(depots, int), rng.integers(1, 10, size)])
    windows = service = None
    types = [Vehicles(20)]
    if kind in ("windows", "duration"):
        early = rng.integers(0, 80, nodes)
        windows = np.stack([early, early + rng.integers(15, 60, nodes)], 1).astype(float)
        windows[0] = (0, 200)
        service = np.where(np.arange(nodes) > 0, 3.0, 0.0)
        types = [Vehicles(20, most_duration=90.0 if kind == "duration" else np.inf)]
    elif kind == "depots":
        types = [Vehicles(20, 2, 0), Vehicles(15, 2, 1)]
    elif kind == "fleet":
        types = [Vehicles(25, 1, fixed=20.0, unit=2.0), Vehicles(12, 2, fixed=5.0, most_distance=50.0)]
    variant = Variant(tuple(types), depots, windows, service)
    return Instance(kind, demands, max(t.capacity for t in types), coords, "ceil", variant=variant)


KINDS = ["windows", "duration", "depots", "fleet"]


def instances(kind, count, size=5):
    """So many that can be solved."""
    rng, found = np.random.default_rng(KINDS.index(kind)), []
    while len(found) < count:
        try:
            found.append(drawn(rng, size, kind))
        except BadInput:
            continue
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_checker_agrees_with_plain_loops(kind):
    """Over all partitions of tiny instances feasibility, and the cost with the cheapest vehicles, are brute force's."""
    seen = [0, 0]
    for instance in instances(kind, 3, 4):
        known = {}
        for routes in partitions(instance):
            best = plain_best(instance, routes, known)
            value = cost(instance, routes)
            assert value == pytest.approx(best)
            assert (faults(instance, routes) == []) == np.isfinite(best)
            seen[int(np.isfinite(best))] += 1
    assert min(seen) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_optima(kind):
    """Brute force over every partition and vehicle: the solver is never below it and misses it once at most."""
    hits, tried = 0, 0
    for k, instance in enumerate(instances(kind, 7)):
        known = {}
        best = min(plain_best(instance, routes, known) for routes in partitions(instance))
        if not np.isfinite(best):
            with pytest.raises(BadInput, match="no feasible routes"):
                solve(instance, 0.3, Settings(seed=k))
            continue
        found = solve(instance, settings=Settings(iterations=600, seed=k))
        assert faults(instance, found.routes) == []
        assert found.cost >= best - 1e-9
        hits, tried = hits + (found.cost <= best + 1e-9), tried + 1
    assert tried >= 5
    assert hits >= tried - 1


def test_levels_on_windows_stay_feasible_and_fall():
    """Every improvement on 60 customers with windows is feasible and strictly cheaper; a budget of iterations decides;
    warm starts from routes and from a file go on where the last run ended."""
    instance = windowed(60, np.random.default_rng(1))
    heard = []
    found = solve(instance, settings=Settings(iterations=3000, group=3), callback=heard.append)
    assert all(faults(instance, one.routes) == [] for one in heard)
    assert all(a.cost > b.cost for a, b in itertools.pairwise(heard))
    assert len(heard) > 2
    assert solve(instance, settings=Settings(iterations=3000, group=3)).routes == found.routes
    warm = solve(instance, settings=Settings(iterations=300), routes=found.routes)
    assert warm.start_cost == pytest.approx(found.cost)
    assert to_solution(to_pyvrp(instance), found.routes, instance).is_feasible()


def test_a_group_keeps_its_vehicles_and_shares_the_idle_ones():
    """Two groups of a fleet of 3 + 2: each has what its routes drive, the idle vehicle goes to the first."""
    types = (Vehicles(10, 3), Vehicles(20, 2, fixed=9.0))
    demands = np.array([0, 9, 9, 15, 4])
    coords = np.array([[0.0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
    instance = Instance("f", demands, 20, coords, variant=Variant(types))
    chosen, costs = assign(instance, [[1], [2], [3], [4]])
    assert chosen.tolist() == [0, 0, 1, 0]
    assert costs.tolist() == [2, 2, 11, 2]
    first, second = shares(instance, chosen, [[0, 1], [2, 3]])
    assert [(v.capacity, v.number) for v in first] == [(10, 2), (20, 1)]
    assert [(v.capacity, v.number) for v in second] == [(10, 1), (20, 1)]
    sub = cut_out(instance, [[3], [4]], second)
    assert cost(sub.instance, sub.routes) == 13
    assert sub.back(sub.routes) == [[3], [4]]
    assert faults(instance, [[1], [2], [3], [4], []][:4]) == []
    few = Instance("few", demands, 20, coords, variant=Variant((Vehicles(20, 2),)))
    assert "1 without a vehicle" in faults(few, [[1], [2, 4], [3]])[0]


def test_solomon_files(tmp_path, capsys):
    """Solomon's format is read (windows, service, vehicles, straight distances) and solved by the default command; the
    solution beside it decides for DIMACS's tenths."""
    path = tmp_path / "tiny.txt"
    path.write_text(SOLOMON)
    instance = read_instance(path)
    assert (instance.id, instance.size, instance.metric) == ("R-tiny", 3, "exact")
    assert instance.variant.vehicles == (Vehicles(10, 3),)
    assert instance.variant.windows[1].tolist() == [20, 30]
    assert instance.variant.service.tolist() == [0, 5, 5, 5]
    words = ["route", "solve", str(path), "--iterations", "600", "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["feasible"] is True
    best = min(cost(instance, routes) for routes in partitions(instance))
    assert row["cost"] == pytest.approx(best)
    tenths = read_instance(path, rounding="tenth")
    assert cost(tenths, [[1, 2], [3]]) == pytest.approx(5 + 3.1 + 5 + 20)
    write_solution(tmp_path / "tiny.sol", [[1, 2], [3]], 33.1)
    assert read_instance(path).metric == "tenth"
    assert read_instance(path).best_known == pytest.approx(33.1)


@pytest.mark.parametrize("kind", KINDS)
def test_vrplib_sections_there_and_back(tmp_path, kind):
    """What ``write_instance`` writes of a variant is read as the same instance."""
    (instance,) = instances(kind, 1)
    write_instance(tmp_path / "one.vrp", instance)
    again = read_instance(tmp_path / "one.vrp", rounding="ceil")
    assert np.array_equal(again.coords, instance.coords)
    assert np.array_equal(again.demands, instance.demands)
    assert again.variant.depots == instance.variant.depots
    for name in ("windows", "service"):
        mine, theirs = getattr(instance.variant, name), getattr(again.variant, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or np.array_equal(mine, theirs)
    numbered = [
        v if v.number is not None or kind == "windows" else Vehicles(**{**vars(v), "number": instance.size})
        for v in instance.variant.vehicles
    ]
    assert list(again.variant.vehicles) == numbered


def test_a_limit_of_length_and_uniform_service(tmp_path):
    """Christofides' DISTANCE and SERVICE_TIME: the longest a route may take, service included."""
    head = "NAME : c\nTYPE : CVRP\nDIMENSION : 3\nCAPACITY : 9\nDISTANCE : 20\nSERVICE_TIME : 2\nVEHICLES : 2\n"
    body = "NODE_COORD_SECTION\n1 0 0\n2 4 0\n3 5 0\nDEMAND_SECTION\n1 0\n2 1\n3 1\nDEPOT_SECTION\n1\n-1\nEOF\n"
    path = tmp_path / "c.vrp"
    path.write_text(head + "EDGE_WEIGHT_TYPE : EUC_2D\n" + body)
    instance = read_instance(path)
    assert instance.variant.vehicles == (Vehicles(9, 2, most_duration=20.0),)
    assert faults(instance, [[1, 2]]) == []
    path.write_text(path.read_text().replace("DISTANCE : 20", "DISTANCE : 13"))
    assert faults(read_instance(path), [[1, 2]]) == ["route 1 lasts 14, more than 13"]


def test_depots_and_vehicles_by_sections(tmp_path, capsys):
    """Two depots with a vehicle each, another capacity and cost: the default command solves it and draws both."""
    text = (
        "NAME : two\nTYPE : MDVRP\nDIMENSION : 6\nVEHICLES : 2\nEDGE_WEIGHT_TYPE : EUC_2D\nNODE_COORD_SECTION\n"
        "1 0 0\n2 100 0\n3 10 0\n4 10 5\n5 90 0\n6 90 5\nDEMAND_SECTION\n1 0\n2 0\n3 5\n4 5\n5 5\n6 5\n"
        "CAPACITY_SECTION\n1 10\n2 12\nVEHICLES_DEPOT_SECTION\n1 1\n2 2\nVEHICLES_FIXED_COST_SECTION\n1 7\n2 8\n"
        "DEPOT_SECTION\n1\n2\n-1\nEOF\n"
    )
    path = tmp_path / "two.vrp"
    path.write_text(text)
    instance = read_instance(path)
    assert instance.variant.vehicles == (Vehicles(10, 1, 0, fixed=7.0), Vehicles(12, 1, 1, fixed=8.0))
    assert main(["route", "solve", str(path), "--iterations", "300", "--out", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["cost_rounded"] == 15 + 2 * (10 + 5 + 11)
    assert (tmp_path / "two.svg").read_text().count('height="8"') == 4
    loads = "VEHICLES_DEPOT_SECTION\n1 1\n2 2\n"
    for cut, said in ((loads, "say whose they are: VEHICLES_DEPOT_SECTION"), ("2 12\n", "VEHICLES says 2")):
        path.write_text(text.replace(cut, ""))
        with pytest.raises(BadInput, match=said):
            read_instance(path)
    path.write_text(text.replace("2 2\nVEH", "2 3\nVEH"))
    with pytest.raises(BadInput, match="a vehicle starts at node 3, which is no depot"):
        read_instance(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("20        30", "40        30", "node 1 has the time window 40 to 30; it must not close before it opens"),
        ("20        30", "2         3 ", "no vehicle can serve customer 1: it reaches customer 1 at 5, after 3"),
        ("     0       100", "     0        12", "no vehicle can serve customer 1: it reaches|it is back at the depot"),
        ("    2      0 ", "    1      0 ", "line 12: number 1 where 2 should come"),
        ("0        40          5", "0        40", "line 13: 6 values, a customer has 7"),
        ("6         8 ", "6       8.5 ", "line 13: y '8.5' is not a whole number"),
        ("6         8 ", "six       8 ", "line 13: x 'six' is not a finite number"),
        ("NUMBER     CAPACITY", "NUMBER", "does not conform to the Solomon format"),
        ("  3         10", "  3         4 ", "node 1 has demand 5, more than the capacity 4"),
        ("  3         10", "  0         10", "vehicle type 1: 0 of capacity 10; give at least 1 of each"),
    ],
)
def test_bad_solomon_files_are_one_line(tmp_path, old, new, said):
    path = tmp_path / "bad.txt"
    assert old in SOLOMON
    path.write_text(SOLOMON.replace(old, new, 1))
    with pytest.raises(BadInput, match=said) as caught:
        read_instance(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "sisr"], "engine 'sisr' knows none of them; use --engine pyvrp"),
        (["--start", "sweep"], "start 'sweep' knows none of them; use --start pyvrp"),
        (["--start", "{late}"], "route 1 reaches customer 1 at 31.4018, after 28"),
    ],
)
def test_what_does_not_suit_a_variant_is_refused(tmp_path, words, said):
    """As a process: one line, exit code 2; a solution that comes late names route, customer and times."""
    path, late = tmp_path / "tiny.txt", tmp_path / "late.sol"
    path.write_text(SOLOMON.replace("20        30", " 0        28"))
    late.write_text("Route #1: 2 1\nRoute #2: 3\nCost 1\n")
    path.write_text(path.read_text().replace("    2      0         5  ", "    2      0        15  "))
    words = [word.format(late=late) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "backcast", "route", "solve", str(path), *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert main(["route", "ablate", str(path)]) == 2


def test_the_least_duration_waits_least():
    """A window that opens late: leaving late shortens the route from 100 to 20, which a limit of 30 allows."""
    windows = np.array([[0.0, 200.0], [90.0, 95.0]])
    base = Variant((Vehicles(5, most_duration=30.0),), windows=windows)
    instance = Instance("wait", np.array([0, 1]), 5, np.array([[0.0, 0], [10, 0]]), variant=base)
    assert fault_of(instance, [1], Vehicles(5, most_duration=20.0)) == ""
    assert fault_of(instance, [1], Vehicles(5, most_duration=19.0)) == "lasts 20, more than 19"
