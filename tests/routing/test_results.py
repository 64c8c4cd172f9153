"""What ``route solve`` writes and what it leaves alone; what it believes of the .sol beside an instance."""

import csv
import json

import pytest

from backcast.cli import main
from backcast.routing.given import read_given
from backcast.routing.problems import paper_instance, read_instance, read_solution, write_instance, write_solution
from backcast.routing.score import cost
from backcast.routing.start import savings
from tests.routing.interrupting import interrupted

SHORT = ["--iterations", "300"]
TINY = """NAME : {name}
TYPE : CVRP
DIMENSION : 5
EDGE_WEIGHT_TYPE : {kind}
CAPACITY : 10
NODE_COORD_SECTION
1 0.5 0.5
2 0.1 10.3
3 10.6 0.2
4 10.7 10.9
5 5.5 5.1
DEMAND_SECTION
1 0
2 3
3 3
4 3
5 3
DEPOT_SECTION
1
-1
EOF
"""
KNOWN = "Route #1: 1 4 2\nRoute #2: 3\n"


@pytest.fixture
def tiny(tmp_path):
    """Writes an instance of four customers, and a .sol beside it where one is given."""

    def write(name="tiny", kind="EUC_2D", solution="", file="tiny.vrp"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(TINY.format(name=name, kind=kind))
        if solution:
            path.with_suffix(".sol").write_text(solution)
        return path

    return write


@pytest.fixture
def shops(tmp_path):
    """A CSV whose customers have names, one with a comma in it."""
    path = tmp_path / "shops.csv"
    path.write_text('id,x,y,demand\ndepot,50,50,0\n"mill, old",20,30,4\nbakery,70,35,6\nschool,65,80,3\nfarm,30,75,5\n')
    return path


def solved(capsys, *words):
    """The objects that ``route solve ... --json`` prints."""
    capsys.readouterr()
    assert main(["route", "solve", *map(str, words), *SHORT, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    """The one line of a refused command."""
    capsys.readouterr()
    assert main(["route", "solve", *map(str, words), *SHORT]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_a_best_known_solution_is_never_overwritten(tiny, tmp_path, capsys):
    """Into the instance's own folder: refused before the search, the .sol as it was; elsewhere it is the best known."""
    path = tiny(solution=KNOWN + "Cost 62\n")
    said = refused(capsys, path, "--out", tmp_path)
    assert f"{path.with_suffix('.sol')} was not written by route solve" in said
    assert path.with_suffix(".sol").read_text().endswith("Cost 62\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.sol", "tiny.vrp"]
    (row,) = solved(capsys, path, "--out", tmp_path / "out")
    assert row["best_known"] == cost(read_instance(path), [[1, 4, 2], [3]])


def test_an_earlier_result_is_overwritten_and_is_no_best_known(tiny, tmp_path, capsys):
    """Our .sol, told by the JSON beside it, gives neither gap nor measure; edited by hand it is a user's own again."""
    path = tiny()
    first = solved(capsys, path, "--out", tmp_path, "--rounding", "none")
    assert main(["route", "solve", str(path), *SHORT, "--out", str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    assert "tiny.sol is an earlier result of route solve, no best known" in shown.err
    (row,) = json.loads(shown.out)
    assert (row["gap"], row["best_known"], row["metric"]) == (None, None, "nearest")
    assert first[0]["metric"] == "exact"
    assert read_instance(path).best_known is None
    path.with_suffix(".sol").write_text(KNOWN + "Cost 62\n")
    assert read_instance(path).best_known is not None
    assert "would be overwritten" in refused(capsys, path, "--out", tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".svg", ".routes.csv"])
def test_a_users_file_of_another_kind_stays_too(tiny, tmp_path, capsys, suffix):
    (tmp_path / f"tiny{suffix}").write_text('{"mine": true}')
    assert f"tiny{suffix} was not written by route solve" in refused(capsys, tiny(), "--out", tmp_path)
    assert (tmp_path / f"tiny{suffix}").read_text() == '{"mine": true}'


@pytest.mark.parametrize("kind", ["EUC_2D", "FLOOR_2D", "CEIL_2D"])
@pytest.mark.parametrize("rounding", ["auto", "none", "nearest", "floor", "ceil", "tenth"])
def test_cost_start_and_best_known_are_in_one_measure(tiny, tmp_path, capsys, kind, rounding):
    """The instance's own, recomputed here from the routes; the other two under their own names; the table agrees."""
    routes = [[1, 4, 2], [3]]
    path = tiny(kind=kind)
    plain = read_instance(path, rounding=rounding)
    write_solution(path.with_suffix(".sol"), routes, cost(plain, routes))
    (row,) = solved(capsys, path, "--rounding", rounding, "--out", tmp_path / "out")
    instance = read_instance(path, rounding=rounding)
    assert row["cost"] == cost(instance, row["routes"]) <= row["start_cost"]
    assert row["best_known"] == cost(instance, routes)
    assert row["gap"] == pytest.approx(100 * (row["cost"] / row["best_known"] - 1))
    assert row["cost_rounded"] == cost(instance, row["routes"], "nearest")
    assert row["cost_unrounded"] == cost(instance, row["routes"], "exact")
    assert main(["route", "solve", str(path), *SHORT, "--rounding", rounding, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out.splitlines()[1].split()
    assert shown[:3] == ["tiny", f"{row['start_cost']:,.6g}", f"{row['cost']:,.6g}"]


def test_two_instances_of_one_name_are_refused(tiny, tmp_path, capsys):
    """The same name, and two that become the same file."""
    for first, second in (("city", "city"), ("a/b", "a-b")):
        paths = tiny(first, file="one/x.vrp"), tiny(second, file="two/x.vrp")
        said = refused(capsys, *paths, "--out", tmp_path / "out")
        assert f"two instances would be written to {tmp_path / 'out' / second}.sol" in said
    assert not (tmp_path / "out").exists()


def test_where_results_cannot_be_written_is_said_before_the_search(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        assert "name a folder that can be written to" in refused(capsys, tiny(), "--out", out)
    assert "has 300 bytes; shorten NAME" in refused(capsys, tiny("x" * 300), "--out", tmp_path / "out")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "stem"), [(" ", "tiny"), ("a/b", "a-b"), ("../../up", "--..-up"), ("[red]x[/red]", "[red]x[-red]")]
)
def test_odd_names_stay_inside_the_folder(tiny, tmp_path, capsys, name, stem):
    """Slashes and leading dots become hyphens, no name becomes the file's; brackets are printed as they are."""
    out = tmp_path / "[blue]out"
    assert main(["route", "solve", str(tiny(name)), *SHORT, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert (name.strip() or stem) in shown
    assert f"{out / stem}.sol, {stem}." in shown
    found = {file.name for file in out.iterdir()} - {f"{stem}.routes.csv"}
    assert found == {f"{stem}{end}" for end in (".sol", ".json", ".svg", ".trace.svg")}


@pytest.mark.parametrize(
    ("solution", "said"),
    [
        ("Cost nan\n", "tiny.sol: cost 'nan' is not a finite number"),
        ("Cost -5\n", "tiny.sol: cost -5 is below 0"),
        (KNOWN + "Cost: inf\n", "tiny.sol: cost 'inf' is not a finite number"),
    ],
)
def test_a_stated_cost_that_is_none_is_refused(tiny, tmp_path, capsys, solution, said):
    assert said in refused(capsys, tiny(solution=solution), "--out", tmp_path / "out")


def test_a_stated_cost_that_its_routes_contradict_is_said(tiny):
    """The gap is to what the routes cost; no note where they cost what is stated."""
    path = tiny(solution=KNOWN + "Cost 999\n")
    instance, (note,) = read_given(str(path))
    right = cost(instance, [[1, 4, 2], [3]])
    assert instance.best_known == right
    assert f"states cost 999, but its routes cost {right:g}: the gap is to {right:g}" in note
    path.with_suffix(".sol").write_text(KNOWN + f"Cost {right:g}\n")
    assert read_given(str(path))[1] == []


def test_another_capacity_has_no_best_known(tiny, tmp_path, capsys):
    """Said in a line; the file's own capacity, given, changes nothing; a .sol too full for it is no error."""
    path = tiny(solution=KNOWN + "Cost 62\n")
    assert solved(capsys, path, "--capacity", 10, "--out", tmp_path / "out")[0]["best_known"] is not None
    for capacity in (12, 6):
        instance, (note,) = read_given(str(path), capacity)
        assert instance.best_known is None
        assert note.endswith(f"is for the capacity 10 of the file, not for --capacity {capacity}: no gap")
    assert solved(capsys, path, "--capacity", 6, "--out", tmp_path / "out")[0]["gap"] is None


def test_customers_names_come_out(shops, tmp_path, capsys):
    """In the JSON beside their numbers, and as a CSV; where there are no names, neither."""
    (row,) = solved(capsys, shops, "--capacity", 10, "--out", tmp_path / "out")
    names = ["depot", "mill, old", "bakery", "school", "farm"]
    assert row["routes"] == read_solution(row["solution"], read_instance(shops, 10))
    assert row["routes_by_id"] == [[names[node] for node in route] for route in row["routes"]]
    with open(row["table"], newline="") as file:
        lines = list(csv.DictReader(file))
    assert [[line["id"] for line in lines if line["route"] == str(k)] for k in (1, 2)] == row["routes_by_id"]
    assert json.loads((tmp_path / "out" / "shops.json").read_text())["routes"] == row["routes"]
    (row,) = solved(capsys, "uniform:20", "--out", tmp_path / "out")
    assert (row["routes_by_id"], row["table"]) == (None, None)


def test_ablate_takes_a_capacity(shops, capsys):
    assert main(["route", "ablate", str(shops)]) == 2
    assert "add --capacity NUMBER" in capsys.readouterr().err
    words = ["--capacity", "10", "--levels", "1", "--solvers", "sisr", "--iterations", "1"]
    assert main(["route", "ablate", str(shops), *words]) == 0
    assert "mean costs over 1 instances" in capsys.readouterr().out


def test_an_interrupt_ends_the_whole_command(tmp_path):
    """Ctrl-C in the first of three files: its best so far is written, the others are not begun; exit code 130."""
    files = [f"uniform:200:{k}" for k in range(3)]
    words = ["route", "solve", *files, "--seconds", "600", "--out", str(tmp_path), "--json"]
    running, out, said = interrupted(words)
    assert running.returncode == 130
    (row,) = json.loads(out)
    assert row["not_begun"] == ["uniform-200-1", "uniform-200-2"]
    assert "the best so far is written for uniform-200-0; not begun: uniform-200-1, uniform-200-2" in said
    assert "Traceback" not in said
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".sol", ".svg", ".svg"]


def test_a_run_over_tiny_instances_does_not_fail(shops, tmp_path, capsys):
    """Four customers whose start is the best there is: a report that says so, no error."""
    words = ["--seconds", "none", "--iterations", "500", "--out", str(tmp_path / "run"), "--json"]
    assert main(["run", "routing", "--files", str(shops), "--capacity", "10", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "the starts were already as good: no instance was improved" in found["gaps"][0]["note"]
    assert {vital["name"]: vital["ok"] for vital in found["vitals"]}["improved instances"] is None


def test_a_run_that_improves_nothing_of_size_fails(tmp_path, capsys):
    """200 customers and one iteration: the engine did nothing; where the start is the best known there is no error."""
    path = tmp_path / "mine.vrp"
    write_instance(path, paper_instance(200, 1))
    words = ["run", "routing", "--files", str(path), "--rounding", "none", "--seconds", "none", "--iterations", "1"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 1
    assert "the engine auto is switched on but changed nothing" in capsys.readouterr().err
    instance = read_instance(path, rounding="none")
    routes = savings(instance)
    write_solution(path.with_suffix(".sol"), routes, cost(instance, routes))
    assert main([*words, "--out", str(tmp_path / "two")]) == 0
