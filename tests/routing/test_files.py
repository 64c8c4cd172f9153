"""VRPLIB files: rows joined by node number, TSPLIB's edge weights, the way out and back, and what is refused."""

import itertools
import math
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast import routing
from backcast.core.errors import BadInput
from backcast.routing.problems import Instance, Variant, Vehicles, read_instance, write_instance
from backcast.routing.score import cost

PLACES = {1: (0, 0), 2: (0, 100), 3: (100, 0), 4: (-100, 0), 5: (0, -100)}
LOADS = {1: 0, 2: 6, 3: 4, 4: 4, 5: 6}
TIMES = {1: (0, 1000), 2: (0, 500), 3: (10, 400), 4: (20, 600), 5: (30, 700)}
MATRIX = np.array([[0, 3, 4, 5, 6], [3, 0, 2, 7, 8], [4, 2, 0, 9, 1], [5, 7, 9, 0, 2], [6, 8, 1, 2, 0]], np.float64)


def written(
    order=(1, 2, 3, 4, 5), called=lambda k: k, head="EDGE_WEIGHT_TYPE : EUC_2D\n", windows=False, shuffle=False
):
    """A file's text, each section's rows in an order of its own where they are shuffled."""
    draw, order = random.Random(3), list(order)

    def rows(values):
        if shuffle:
            draw.shuffle(order)
        return "".join(f"{called(k)} {values(k)}\n" for k in order)

    text = f"NAME : five\nTYPE : CVRP\nDIMENSION : 5\n{head}CAPACITY : 10\n"
    text += "NODE_COORD_SECTION\n" + rows(lambda k: "{} {}".format(*PLACES[k]))
    text += "DEMAND_SECTION\n" + rows(lambda k: LOADS[k])
    if windows:
        text += "TIME_WINDOW_SECTION\n" + rows(lambda k: "{} {}".format(*TIMES[k]))
        text += "SERVICE_TIME_SECTION\n" + rows(lambda k: k - 1)
    return text + f"DEPOT_SECTION\n{called(1)}\n-1\nEOF\n"


def same(a, b):
    """Whether two instances are one problem, customer by customer."""
    fine = np.array_equal(a.demands, b.demands) and a.metric == b.metric and a.capacity == b.capacity
    for name in ("coords", "matrix"):
        x, y = getattr(a, name), getattr(b, name)
        fine = fine and (np.array_equal(x, y) if x is not None and y is not None else x is y)
    return fine


@pytest.mark.parametrize("called", [lambda k: k, lambda k: k - 1, lambda k: 10 * k, lambda k: k * k + 7])
def test_rows_in_any_order_are_one_problem(tmp_path, called):
    """Sections are joined by node number, whatever the numbers and wherever the rows; errors say the file's numbers."""
    (tmp_path / "a.vrp").write_text(written(windows=True))
    (tmp_path / "b.vrp").write_text(written(called=called, windows=True, shuffle=True))
    a, b = (read_instance(tmp_path / f"{name}.vrp") for name in "ab")
    assert same(a, b)
    assert np.array_equal(a.variant.windows, b.variant.windows)
    assert np.array_equal(a.variant.service, b.variant.service)
    assert a.variant.windows.tolist() == [list(TIMES[k]) for k in TIMES]
    assert b.names == tuple(str(called(k)) for k in PLACES)
    (tmp_path / "c.vrp").write_text(
        written(called=called, shuffle=True).replace(f"\n{called(5)} 6", f"\n{called(5)} 60")
    )
    with pytest.raises(BadInput, match=rf"c\.vrp: five: node {called(5)} has demand 60"):
        read_instance(tmp_path / "c.vrp")


@pytest.mark.parametrize(
    ("kind", "a", "b", "said"),
    [
        ("EUC_2D", "0 0", "3 4.4", 5),  # 5.33
        ("CEIL_2D", "0 0", "3 4.4", 6),
        ("FLOOR_2D", "0 0", "3 4.9", 5),  # 5.75
        ("EXACT_2D", "0 0", "1 1", 1414),  # 1414.2
        ("MAN_2D", "0 0", "3.3 4.4", 8),  # 7.7
        ("MAX_2D", "0 0", "3.3 4.6", 5),
        ("ATT", "0 0", "10 0", 4),  # 10 / sqrt(10) = 3.16, up
        ("EUC_3D", "0 0 0", "2 3 6", 7),
        ("MAN_3D", "0 0 0", "2 3 6", 11),
        ("MAX_3D", "0 0 0", "2 3 6", 6),
        # ulysses16's first two nodes: 509 in TSPLIB's own code.
        ("GEO", "38.24 20.42", "39.57 26.15", 509),
    ],
)
def test_edge_weights_by_hand(tmp_path, kind, a, b, said):
    path = tmp_path / "two.vrp"
    path.write_text(
        f"DIMENSION : 2\nEDGE_WEIGHT_TYPE : {kind}\nCAPACITY : 5\nNODE_COORD_SECTION\n1 {a}\n2 {b}\n"
        "DEMAND_SECTION\n1 0\n2 3\nDEPOT_SECTION\n1\n-1\nEOF\n"
    )
    assert cost(read_instance(path), [[1]]) == 2 * said


def test_a_degree_of_the_equator_by_hand(tmp_path):
    """GEO: 30 minutes are half a degree; pi / 360 times the radius of the earth, and 1, cut off."""
    path = tmp_path / "geo.vrp"
    path.write_text(
        "DIMENSION : 2\nEDGE_WEIGHT_TYPE : GEO\nCAPACITY : 5\nNODE_COORD_SECTION\n1 0 0\n2 0 0.30\n"
        "DEMAND_SECTION\n1 0\n2 3\nDEPOT_SECTION\n1\n-1\nEOF\n"
    )
    assert cost(read_instance(path), [[1]]) == 2 * math.floor(math.pi / 360 * 6378.388 + 1)


FORMS = {
    "FULL_MATRIX": lambda n: [(i, j) for i in range(n) for j in range(n)],
    "UPPER_ROW": lambda n: [(i, j) for i in range(n) for j in range(i + 1, n)],
    "UPPER_DIAG_ROW": lambda n: [(i, j) for i in range(n) for j in range(i, n)],
    "LOWER_ROW": lambda n: [(i, j) for i in range(n) for j in range(i)],
    "LOWER_DIAG_ROW": lambda n: [(i, j) for i in range(n) for j in range(i + 1)],
    "UPPER_COL": lambda n: [(i, j) for j in range(n) for i in range(j)],
    "UPPER_DIAG_COL": lambda n: [(i, j) for j in range(n) for i in range(j + 1)],
    "LOWER_COL": lambda n: [(i, j) for j in range(n) for i in range(j + 1, n)],
    "LOWER_DIAG_COL": lambda n: [(i, j) for j in range(n) for i in range(j, n)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_of_a_matrix(tmp_path, form):
    """The numbers by plain loops, three on a line: line breaks mean nothing."""
    words = [f"{MATRIX[i, j]:g}" for i, j in FORMS[form](5)]
    lines = "\n".join(" ".join(words[k : k + 3]) for k in range(0, len(words), 3))
    head = f"DIMENSION : 5\nEDGE_WEIGHT_TYPE : EXPLICIT\nEDGE_WEIGHT_FORMAT : {form}\nCAPACITY : 10\n"
    tail = "DEMAND_SECTION\n1 0\n2 3\n3 3\n4 3\n5 3\nDEPOT_SECTION\n1\n-1\nEOF\n"
    path = tmp_path / "m.vrp"
    path.write_text(f"{head}EDGE_WEIGHT_SECTION\n{lines}\n{tail}")
    assert np.array_equal(read_instance(path).matrix, MATRIX)
    path.write_text(f"{head}EDGE_WEIGHT_SECTION\n{lines[:-2]}\n{tail}")
    with pytest.raises(BadInput, match=f"{len(words) - 1} numbers, {form} of 5 nodes has {len(words)}"):
        read_instance(path)
    path.write_text(f"{head}EDGE_WEIGHT_SECTION\n{lines[:-1]}x\n{tail}")
    with pytest.raises(BadInput, match=r"line 1?[0-9]: 'x' is not a finite number"):
        read_instance(path)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["exact", "nearest", "floor", "ceil", "tenth", "matrix", "matrix only"]),
    st.integers(0, 10_000),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
)
def test_out_and_back_costs_stay(tmp_path_factory, metric, seed, customers, timed, named):
    """Whatever the metric, windows and node numbers: what is written is read as the same problem, to the last bit."""
    rng = np.random.default_rng(seed)
    coords = rng.normal(0, 10.0 ** rng.integers(-3, 4), (customers + 1, 2))
    matrix = None
    if metric.startswith("matrix"):
        half = np.triu(rng.random((customers + 1, customers + 1)) * 9, 1)
        matrix, coords = half + half.T, None if metric == "matrix only" else coords
    variant = None
    if timed:
        windows = np.stack([rng.random(customers + 1), 1e6 + rng.random(customers + 1)], 1)
        service = np.concatenate([[0.0], rng.random(customers)])
        variant = Variant((Vehicles(20, 9, fixed=float(rng.random())),), windows=windows, service=service)
    names = tuple(str(4 + 3 * k) for k in range(customers + 1)) if named else ()
    demands = np.concatenate([[0], rng.integers(0, 9, customers)])
    made = Instance("one", demands, 20, coords, metric.split()[0], matrix, names=names, variant=variant)
    path = tmp_path_factory.mktemp("back") / "one.vrp"
    write_instance(path, made)
    again = read_instance(path)
    assert same(made, again)
    assert again.names == (names or tuple(str(k + 1) for k in range(customers + 1)))
    routes = [[c] for c in range(1, customers + 1)]
    assert cost(made, routes) == cost(again, routes)
    if timed:
        assert again.variant.vehicles == made.variant.vehicles
        assert np.array_equal(again.variant.windows, made.variant.windows)
        assert np.array_equal(again.variant.service, made.variant.service)


def test_the_papers_instances_out_and_back(tmp_path):
    instance = read_instance("uniform:50:0")
    write_instance(tmp_path / "u.vrp", instance)
    routes = [[c] for c in range(1, 51)]
    assert cost(read_instance(tmp_path / "u.vrp"), routes) == cost(instance, routes)
    with pytest.raises(BadInput, match="cannot stand in a file's NAME line"):
        write_instance(tmp_path / "x.vrp", Instance("a\nb", [0, 1], 5, [[0, 0], [1, 1]]))


BASE = written()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TYPE : CVRP", "TYPE : TSP", "line 2: TYPE 'TSP'; solved are VRP, CVRP"),
        ("TYPE : CVRP", "TYPE : VRPB", "line 2: TYPE 'VRPB'"),
        ("TYPE : CVRP", "DISTANCE : abc", "line 2: DISTANCE 'abc' is not a finite number"),
        ("TYPE : CVRP", "DISTANCE : -3", "line 2: DISTANCE '-3'; give a number above 0"),
        ("TYPE : CVRP", "VEHICLES : many", "finite number"),
        ("TYPE : CVRP", "hello there", "line 2: 'hello there' is no line of a VRPLIB file"),
        ("TYPE : CVRP", "NAME : again", "line 2: NAME was on line 1 already"),
        ("DEPOT_SECTION\n1\n-1\nEOF\n", "", "line 17: no DEPOT_SECTION up to here; is the file whole?"),
        ("DEPOT_SECTION\n1", "DEPOT_SECTION\n9", "line 19: depot 9 is none of the 5 nodes"),
        ("DEPOT_SECTION\n1", "DEPOT_SECTION\n1 1", "line 19: depot 1 stands twice"),
        ("\n5 6\n", "\n9 6\n", "line 17: node 9 of DEMAND_SECTION is none of the nodes (1 to 5)"),
        ("\n5 6\n", "\n5 6.5\n", "line 17: demand of node 5, '6.5' is not a whole number"),
        ("5 0 -100\n", "5 0 -100\n6 7 7\n", "line 12: NODE_COORD_SECTION has 6 rows, DIMENSION says 5 nodes"),
        ("5 0 -100\n", "", "line 10: NODE_COORD_SECTION ends after 4 of 5 nodes"),
        ("5 0 -100\n", "5 0 1e200\n", "node 5 lies at (0.0, 1e+200)"),
        ("CAPACITY : 10", "CAPACITY : nan", "line 5: CAPACITY 'nan' is not a finite number"),
        ("CAPACITY : 10", "CAPACITY : inf", "line 5: CAPACITY 'inf' is not a finite number"),
        ("CAPACITY : 10", "CAPACITY : 1e30", "line 5: CAPACITY '1e30' is too large"),
        ("CAPACITY : 10\n", "", "no CAPACITY; write CAPACITY : NUMBER or add --capacity"),
        ("EUC_2D", "SPECIAL", "line 4: EDGE_WEIGHT_TYPE 'SPECIAL'; known are EUC_2D"),
        ("EUC_2D", "EXPLICIT", "no EDGE_WEIGHT_FORMAT; known are FULL_MATRIX"),
        ("EUC_2D", "EUC_3D", "line 7: 3 values, a row of NODE_COORD_SECTION has 4"),
        ("EUC_2D", "EUC_2D\nEDGE_WEIGHT_ROUNDING : some", "line 5: EDGE_WEIGHT_ROUNDING 'SOME'; it is one of NONE"),
        ("DEMAND_SECTION", "NODE_COORD_SECTION", "line 12: NODE_COORD_SECTION was on line 6 already"),
        (BASE, "", "the file is empty"),
        (BASE, "\n \n", "the file is empty"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, old, new, said):
    assert old in BASE
    path = tmp_path / "bad.vrp"
    path.write_text(BASE.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        read_instance(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_comment_may_name_sections_and_ends(tmp_path):
    path = tmp_path / "c.vrp"
    path.write_text(BASE.replace("TYPE : CVRP", "COMMENT : see NODE_COORD_SECTION, EOF below\nCOMMENT : 12.5"))
    assert read_instance(path).size == 4
    with pytest.raises(BadInput, match="is a folder; give a"):
        read_instance(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lorem ipsum\ndolor\n", "not a solution file"),
        ("", "not a solution file"),
        ("Cost 50\n", "no routes; write lines like"),
        ("Route #1: 1 a\nCost 50\n", "line 1: customer 'a' is not"),
        ("Route #1: 1 2\nCost nan\n", "line 2: cost 'nan' is not"),
    ],
)
def test_a_solution_beside_that_is_none(tmp_path, text, said):
    (tmp_path / "a.vrp").write_text(BASE)
    (tmp_path / "a.sol").write_text(text)
    with pytest.raises(BadInput, match=said):
        read_instance(tmp_path / "a.vrp")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,x,y,demand,ready,due\nd,0,0,0,0,9\n", "column 'ready' looks like a time window"),
        ("id,x,y,demand,Service Time\nd,0,0,0,0\n", "column 'service time' looks like"),
        ("id;x;y;demand\nd;0;0;0\n", "separated by semicolons"),
        ("id,x,y,demand,x\nd,0,0,0,0\n", "column 'x' stands twice"),
        ("id,x,y,demand\nd,0,0,0\na,1,1,99999999999999999999\n", "line 3: demand '99999999999999999999' is too large"),
    ],
)
def test_tables_that_say_more_are_refused(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadInput, match=said):
        read_instance(tmp_path / "a.csv", capacity=5)
    (tmp_path / "b.csv").write_text("id,x,y,demand,latitude,shop,type\nd,0,0,0,1,2,3\n")
    assert read_instance(tmp_path / "b.csv", capacity=5).size == 0


PLAIN = {"id": "p", "demands": [0, 1, 2], "capacity": 5, "coords": [[0, 0], [3, 4], [0, 5]]}


def test_an_instance_of_plain_lists():
    made = Instance(**PLAIN)
    assert cost(made, [[1, 2]]) == pytest.approx(10 + 10**0.5)
    assert made.demands.dtype == np.int64
    assert made.coords.dtype == np.float64
    assert type(Instance(**PLAIN | {"capacity": 5.0, "demands": np.array([0, 1.0, 2.0])}).capacity) is int


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"demands": [0, 1.5, 2]}, r"demand 1.5 \(number 1\) is not a whole number"),
        ({"demands": [0, "x", 2]}, "demands that are no table of numbers"),
        ({"coords": [[0, 0], [1], [2, 2]]}, "coordinates that are no table of numbers"),
        ({"coords": [0, 1, 2]}, r"coordinates of shape \(3,\) for 3 nodes; give \(3, 2\)"),
        ({"metric": "bogus"}, "metric 'bogus'; it is one of exact, nearest"),
        ({"capacity": 5.5}, "capacity 5.5; give a whole number"),
        ({"capacity": float("nan")}, "capacity nan; give a whole number"),
        ({"names": ("a",)}, "1 names for 3 nodes"),
        ({"coords": None, "matrix": np.zeros((3, 3))}, 'a matrix, but another metric; say metric="matrix"'),
        ({"demands": [0, 2**53, 2**53], "capacity": 2**53}, "the demands sum to more than"),
    ],
)
def test_instances_that_cannot_be(change, said):
    with pytest.raises(BadInput, match=said):
        Instance(**PLAIN | change)


def test_the_public_names(tmp_path):
    """A path is not an instance, and is told so; PyVRP's doors are public, and importing the room loads no engine."""
    with pytest.raises(TypeError, match=r"takes an Instance, not str; read_instance\(FILE\) gives one"):
        routing.solve("uniform:100:0")
    said = "import sys, backcast.routing; print(sorted({'pyvrp', 'numba', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True).stdout == "[]\n"
    pytest.importorskip("pyvrp")
    instance, routes = Instance(**PLAIN), [[1], [2]]
    data = routing.to_pyvrp(instance)
    assert routing.from_solution(routing.to_solution(data, routes, instance)) == routes


def test_all_orders_of_a_matrix_out_and_back(tmp_path):
    """The depot's number need not be the least: a matrix's rows go by the numbers' order."""
    for numbers in itertools.islice(itertools.permutations("12345"), 0, 120, 7):
        rest = sorted(numbers[1:])
        made = Instance("m", [0, 1, 2, 3, 4], 10, None, "matrix", MATRIX, names=(numbers[0], *rest))
        write_instance(tmp_path / "m.vrp", made)
        again = read_instance(tmp_path / "m.vrp")
        assert again.names == made.names
        assert np.array_equal(again.matrix, MATRIX)
