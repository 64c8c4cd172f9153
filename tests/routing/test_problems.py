"""Instances: the paper's generator, files in and out, conventions of rounding, and bad input as one line."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.routing.problems import (
    Instance,
    paper_instance,
    read_instance,
    read_solution,
    uniform,
    write_instance,
    write_solution,
)
from backcast.routing.score import cost, faults, gap_percent

VRP = """NAME : small
TYPE : CVRP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
CAPACITY : 10
NODE_COORD_SECTION
1 0 0
2 3 4
3 0 5
4 1 1
DEMAND_SECTION
1 0
2 5
3 5
4 6
DEPOT_SECTION
1
-1
EOF
"""


@pytest.mark.parametrize(("size", "loads"), [(1000, 24.885), (2000, 33.28667)])
def test_the_papers_generator_bit_for_bit(size, loads):
    """Depot, first customer, first demands and the total of instance 0 of the test sets."""
    instance = paper_instance(size)
    assert instance.demands.sum() / instance.capacity == pytest.approx(loads, abs=1e-4)
    if size == 1000:
        assert np.allclose(instance.coords[:2], [[0.19151945, 0.62210877], [0.97903882, 0.88123225]], atol=5e-9)
        assert instance.demands[1:11].tolist() == [5, 8, 3, 5, 6, 6, 1, 4, 3, 3]


@pytest.mark.parametrize("how", ["uniform", "gaussian", "explosion", "rotation"])
def test_training_distributions_stay_in_the_square_and_differ(how):
    drawn = uniform(300, np.random.default_rng(1), how)
    assert drawn.coords.min() >= 0
    assert drawn.coords.max() <= 1
    assert (how == "uniform") == np.array_equal(drawn.coords, uniform(300, np.random.default_rng(1)).coords)


def test_a_file_is_read_with_its_convention_and_written_back(tmp_path):
    """EUC_2D rounds to the nearest integer; straight distances on request; write and read give the same."""
    path = tmp_path / "small.vrp"
    path.write_text(VRP)
    instance = read_instance(path)
    assert (instance.id, instance.size, instance.capacity, instance.metric) == ("small", 3, 10, "nearest")
    routes = [[1, 2], [3]]
    # By hand: 5 + round(sqrt(10)) + 5, and 2 * round(sqrt(2)).
    assert cost(instance, routes) == 15
    assert cost(instance, routes, "exact") == pytest.approx(10 + 10**0.5 + 2 * 2**0.5)
    assert read_instance(path, rounding="none").metric == "exact"
    write_instance(tmp_path / "again.vrp", instance)
    again = read_instance(tmp_path / "again.vrp")
    assert np.array_equal(again.coords, instance.coords)
    assert np.array_equal(again.demands, instance.demands)


def test_the_solution_beside_gives_the_best_known_in_its_own_convention(tmp_path):
    """A stated cost that only straight distances give switches the metric; a gap is in percent."""
    path = tmp_path / "small.vrp"
    path.write_text(VRP)
    write_solution(path.with_suffix(".sol"), [[1, 2], [3]], 15)
    assert read_instance(path).best_known == 15
    assert read_instance(path).metric == "nearest"
    straight = 10 + 10**0.5 + 2 * 2**0.5
    write_solution(path.with_suffix(".sol"), [[1, 2], [3]], straight)
    assert read_instance(path).metric == "exact"
    assert read_instance(path).best_known == pytest.approx(straight)
    assert gap_percent(16.5, 15) == pytest.approx(10)
    assert gap_percent(1, None) is None


def test_csv_and_explicit_matrices(tmp_path):
    (tmp_path / "c.csv").write_text("id,x,y,demand\nhub,0,0,0\na,3,4,2\nb,0,5,3\n")
    instance = read_instance(tmp_path / "c.csv", capacity=5)
    assert instance.names == ("hub", "a", "b")
    assert instance.metric == "exact"
    head = "NAME : m\nTYPE : CVRP\nDIMENSION : 3\nEDGE_WEIGHT_TYPE : EXPLICIT\nEDGE_WEIGHT_FORMAT : LOWER_ROW\n"
    tail = "CAPACITY : 5\nEDGE_WEIGHT_SECTION\n4\n6 7\nDEMAND_SECTION\n1 0\n2 2\n3 3\nDEPOT_SECTION\n1\n-1\nEOF\n"
    (tmp_path / "m.vrp").write_text(head + tail)
    explicit = read_instance(tmp_path / "m.vrp")
    assert explicit.metric == "matrix"
    assert cost(explicit, [[1, 2]]) == 4 + 7 + 6


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2 5\n3 5", "2 50\n3 5", "bad.vrp: small: node 2 has demand 50, more than the capacity 10"),
        ("DEPOT_SECTION\n1\n-1", "DEPOT_SECTION\n-1", "no depot"),
        ("3 0 5", "2 0 5", "line 9: node 2 was on line 8"),
        ("3 0 5", "3 nan 5", "line 9: node 3: 'nan' is not a finite number"),
        ("DEMAND_SECTION", "DEMANDS_SECTION", "line 11: unknown section 'DEMANDS_SECTION'; did you mean 'demand'"),
        ("CAPACITY : 10", "CAPACITY : 0", "capacity 0"),
        ("3 5\n4 6\nDEPOT_SECTION\n1\n-1\nEOF\n", "3 5\n", "line 14: DEMAND_SECTION ends after 3 of 4"),
        ("3 0 5", "3 0", "line 9: 2 values, a row of NODE_COORD_SECTION has 3"),
        ("EUC_2D", "GEOM", "line 4: EDGE_WEIGHT_TYPE 'GEOM'; known are EUC_2D"),
        ("DIMENSION : 4", "DIMENSION : x", "DIMENSION 'x'"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path, old, new, said):
    assert old in VRP
    path = tmp_path / "bad.vrp"
    path.write_text(VRP.replace(old, new))
    with pytest.raises(BadInput) as error:
        read_instance(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,x,y,demand\n0,0,0,0\n1,1,1,1\n1,2,2,1\n", "line 4: id '1' was on line 3 already"),
        ("id,x,y,demand\n0,0,0,0\n1,x,1,1\n", "line 3: x 'x' is not a finite number"),
        ("id,x,y,demand\n0,0,0,0\n1,1,1,1.5\n", "line 3: demand '1.5' is not a whole number"),
        ("id,x,y,demand\n", "no depot"),
        ("id,x,y\n0,0,0\n", "no column 'demand'"),
        ("id,x,y,demand\n0,0,0\n", "line 2: 3 cells, the header has 4"),
    ],
)
def test_bad_tables_are_one_clear_line(tmp_path, text, said):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(BadInput, match=said.replace("(", r"\(")):
        read_instance(tmp_path / "bad.csv", capacity=5)


def test_a_matrix_with_two_directions_is_refused():
    with pytest.raises(BadInput, match="only symmetric"):
        Instance("m", np.array([0, 1, 1]), 5, None, "matrix", np.array([[0.0, 1, 2], [3, 0, 1], [2, 1, 0]]))


def test_a_solution_that_visits_twice_is_refused(tmp_path):
    (tmp_path / "small.vrp").write_text(VRP)
    instance = read_instance(tmp_path / "small.vrp")
    write_solution(tmp_path / "bad.sol", [[1, 2], [2], [3]], 1)
    with pytest.raises(BadInput, match=r"customer 2 \(node 3\) is visited 2 times"):
        read_solution(tmp_path / "bad.sol", instance)
    assert faults(instance, [[1, 3], [2]]) == ["route 1 carries 11, more than the capacity 10"]
    assert faults(instance, [[1, 9], [2], [3]])[0] == "route 1 visits customer 9; customers are 1 to 3"
    assert faults(instance, [[1]]) == ["customer 2 (node 3) and 1 more is not visited"]


@given(st.integers(0, 10_000), st.integers(1, 30))
def test_cost_equals_a_plain_loop_and_scales(seed, size):
    """Recomputed cost is the plain loop's, and twice the coordinates are twice the cost."""
    rng = np.random.default_rng(seed)
    instance = uniform(size, rng)
    cut = int(rng.integers(0, size)) if size > 1 else 0
    order = (rng.permutation(size) + 1).tolist()
    routes = [part for part in (order[:cut], order[cut:]) if part]
    coords = instance.coords
    stops = [[0, *route, 0] for route in routes]
    plain = sum(float(np.hypot(*(coords[a] - coords[b]))) for s in stops for a, b in pairwise(s))
    assert cost(instance, routes) == pytest.approx(plain, rel=1e-12)
    double = Instance("double", instance.demands, instance.capacity, 2 * coords)
    assert cost(double, routes) == pytest.approx(2 * plain, rel=1e-12)
