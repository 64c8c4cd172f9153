"""``backcast game`` from the command line: JSON keys, exit codes, one-line errors."""

import json
import subprocess
import sys

import pytest

from backcast.cli import main

MIXTURE = "tft:1,allc:1,alld:1,grim:1"
KEYS = {"value", "lower", "upper", "exact", "actions", "memory", "states", "opponent"}


def call(capsys, *words):
    """Exit code, stdout, stderr of one command."""
    code = main(["game", *words])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def answer(capsys, *words):
    """The JSON object of a command that works."""
    code, out, _ = call(capsys, *words, "--json")
    assert code == 0
    return json.loads(out.strip().splitlines()[-1])


def test_reply_keys_and_values(capsys):
    """The object of ``game reply`` holds the promised keys; TFT at 1/2 is worth 20/3 with windows own move first."""
    found = answer(capsys, "reply", "ipd", "--opponent", "tft", "--discount", "1/2")
    assert found.keys() >= KEYS
    assert found["exact"] == "20/3"
    assert found["lower"] <= found["value"] <= found["upper"]
    assert found["actions"] == {"start": ["D"], "CC": ["D"], "CD": ["D"], "DC": ["C"], "DD": ["C"]}
    assert (found["memory"], found["states"]) == (1, 5)


def test_reply_to_files(capsys, tmp_path):
    """A game file and an automaton file, both written by hand, are answered like their named twins; the policy is
    written."""
    game, opponent = tmp_path / "mine.toml", tmp_path / "fsm.json"
    cells = (("C", "C", 3, 3), ("C", "D", 0, 5), ("D", "C", 5, 0), ("D", "D", 1, 1))
    rewards = "".join(f'[[reward]]\nactions = ["{a}", "{b}"]\nvalues = [{x}, {y}]\n' for a, b, x, y in cells)
    game.write_text(f'players = 2\nstates = ["s"]\nactions = ["C", "D"]\nstart = "s"\n{rewards}')
    nodes = {
        "calm": {"play": {"C": 1}, "next": {"CC": "calm", "CD": "calm", "DC": "angry", "DD": "angry"}},
        "angry": {"play": {"D": 1}, "next": {"*": "angry"}},
    }
    opponent.write_text(json.dumps({"start": "calm", "nodes": nodes}))
    words = ("--opponent", str(opponent), "--discount", "0.5", "--out", str(tmp_path / "policy"))
    found = answer(capsys, "reply", str(game), *words)
    assert found["exact"] == "6"
    assert found["actions"]["start"] == ["C", "D"]
    assert "digraph" in (tmp_path / "policy.dot").read_text()
    again = answer(capsys, "reply", str(game), "--opponent", str(opponent), "--discount", "0.5")
    assert json.loads((tmp_path / "policy.json").read_text()) == again["policy"]


def test_reply_to_a_mixture(capsys):
    """The mixture's object adds bayes, clairvoyant and memory values."""
    found = answer(capsys, "reply", "ipd", "--mixture", "tft:1,allc:1,alld:1,grim:1")
    assert found.keys() >= KEYS | {"bayes", "clairvoyant", "memory_values"}
    assert found["exact"] == "1004497/40000"
    assert found["bayes"] == 25.112425
    assert found["clairvoyant"] == 30
    assert found["memory_values"] == {"0": 22.5, "1": 24.75}


def test_reply_for_people(capsys):
    """Without --json the value, its proof and the moves are printed."""
    code, out, _ = call(capsys, "reply", "ipd", "--opponent", "wsls")
    assert code == 0
    assert "590/19" in out
    assert "certified" in out


def test_reply_of_the_second_player(capsys):
    """Player 2 of the symmetric game answers alike, to one opponent and to a mixture, windows own move first."""
    assert answer(capsys, "reply", "ipd", "--opponent", "wsls", "--player", "2")["exact"] == "590/19"
    both = [answer(capsys, "reply", "ipd", "--mixture", MIXTURE, "--player", seat) for seat in "12"]
    assert both[0]["actions"] == both[1]["actions"]
    assert both[1]["exact"] == "1004497/40000"


def test_averages_print_one_policy_that_is_play(capsys):
    """--average drops the discount; what stands under 'actions' and in 'policy' earns the average, and the sets that
    only keep it within reach stand apart."""
    found = answer(capsys, "reply", "ipd", "--opponent", "tft", "--average")
    assert found.keys() >= KEYS | {"keeps", "policy"}
    assert (found["exact"], found["certified"], found["discount"]) == ("3", 3, None)
    assert found["actions"]["CC"] == ["C"]
    assert found["keeps"]["CC"] == ["C", "D"]
    assert next(iter(found["policy"]["nodes"].values()))["play"] == {"C": 1}
    assert answer(capsys, "reply", "ipd", "--opponent", "extort-2", "--average")["exact"] == "9/4"
    code, out, _ = call(capsys, "reply", "ipd", "--opponent", "tft", "--average")
    assert code == 0
    assert "keeps the best average within reach" in out


def test_games_of_three(capsys, tmp_path):
    """Three players: opponents one by one, and a mixture of teams; player 2 is written in seat order."""
    pays = "".join(
        f'[[reward]]\nactions = ["{a}", "{b}", "{c}"]\nvalues = [{x}, {y}, {z}]\n'
        for a, b, c, x, y, z in (("C", "C", "C", 3, 3, 3), ("D", "*", "*", 1, 0, 0), ("*", "D", "*", 0, 2, 0))
    )
    (tmp_path / "three.toml").write_text(f'players = 3\nactions = ["C", "D"]\ndiscount = "1/2"\n{pays}')
    game = str(tmp_path / "three.toml")
    alone = answer(capsys, "reply", game, "--opponent", "first", "last", "--player", "2")
    mixed = answer(capsys, "reply", game, "--mixture", "first&last:1", "--player", "2")
    assert alone["exact"] == mixed["exact"] == "4"
    assert next(iter(mixed["actions"].values())) == ["D"]
    drawn = answer(capsys, "reply", game, "--mixture", "first:1,first&last:1")
    assert (
        drawn["exact"] == "7/2"
    )  # C,C,C pays 3 half the time against 1 for sure: C first, then whoever was drawn is known


@pytest.mark.parametrize(
    ("words", "key", "wanted"),
    [
        (("reply", "ipd", "--mixture", "tft:1,allc:1,alld:1,grim:1", "--player", "2"), "exact", "1004497/40000"),
        (("reply", "ipd", "--opponent", "tft", "--average"), "exact", "3"),
        (("nash", "ipd", "--memory", "1"), "values", [30.0, 30.0]),
        (("nash", "ipd", "--all-pure"), "values", [30.0, 30.0]),
    ],
)
def test_commands_as_processes(words, key, wanted):
    """Each command, run as a user runs it, succeeds and leaves one JSON line on stdout and nothing on stderr."""
    run = [sys.executable, "-m", "backcast", "game", *words, "--json"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert (found[0] if isinstance(found, list) else found)[key] == wanted


def test_text_problems_by_command(capsys, tmp_path):
    """``game text`` writes JSONL of the documented keys, with exact answers, and gives a line that says how many."""
    out = tmp_path / "problems.jsonl"
    found = answer(capsys, "text", "ipd", "--opponents", "tft,wsls", "--out", str(out))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert found["problems"] == len(lines) == 12
    assert all(line.keys() >= {"id", "prompt", "answer", "kind"} for line in lines)
    values = [line for line in lines if line["kind"] == "numeric"]
    assert [(line["answer"], line["exact"]) for line in values] == [("30", "30"), ("31.05263158", "590/19")]
    letters = [line["answer"] for line in lines if line["kind"] == "choice"]
    assert letters == ["A"] * 5 + ["B"] * 5  # TFT: C everywhere; WSLS: D everywhere
    assert len({line["id"] for line in lines}) == 12
    code, said, _ = call(capsys, "text", "donation", "--opponents", "moore:n=2,nodes=2", "--out", str(out))
    assert code == 0
    assert "2 opponents" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reply", "ipd", "--opponent", "tff"), "did you mean 'tft'"),
        (("reply", "ipd", "--opponent", "tft", "--discount", "1"), "outside [0, 1)"),
        (("reply", "ipd", "--opponent", "tft", "--discount", "often"), "'often' is not a number"),
        (("reply", "ipdd", "--opponent", "tft"), "did you mean 'ipd'"),
        (("reply", "ipd"), "give either --opponent or --mixture"),
        (("reply", "ipd", "--opponent", "tft", "alld"), "2 given; 'ipd' has 1 other players"),
        (("reply", "ipd", "--mixture", "tft:-1,allc:2"), "never negative"),
        (("reply", "ipd", "--mixture", "tft:0,allc:0"), "all weights are 0"),
        (("reply", "ipd", "--opponent", "nowhere.json"), "no file 'nowhere.json'"),
        (("reply", "ipd", "--mixture", "tft:1,allc:1", "--memory", "12"), "22369621 lifted states"),
        (("reply", "ipd", "--opponent", "tft", "--player", "3"), "has players 1 to 2"),
        (("reply", "ipd", "--opponent", "tft", "--memory", "12"), "22369621 lifted states"),
        (("gap", "--agent", "dqnn"), "agent 'dqnn' is unknown"),
        (("gap", "--train", "tft,allc", "--test", "tft"), "plays like a training opponent"),
        (("gap", "--k", "40"), "lifted states"),
        (("gap", "--discount", "1"), "outside [0, 1)"),
        (("gap", "--steps", "0"), "steps 0 must be at least 1"),
        (("gap", "--seed", "-1"), "seed -1 must be 0 or more"),
        (("gap", "--train", "moore:nodes=x"), "'x' is not a number"),
        (("gap", "--train", "moore:nodes=0"), "nodes 0 is outside [1, 10000]"),
        (("gap", "--train", "dirichlet:alpha=-1"), "alpha -1 is below"),
        (("gap", "--train", "pure:memory=40"), "lifted states"),
        (("gap", "--train", "noisy:epsilon=2"), "epsilon 2 is outside [0, 1]"),
        (("gap", "--train", "grid:n=2"), "walks in pursuit"),
        (("gap", "--observe", "type"), "says nothing of test opponents"),
        (("gap", "--observe", "all"), "observe 'all' is unknown"),
        (("gap", "--player", "3"), "has players 1 to 2"),
        (("nash", "pursuit:5", "--memory", "0"), "625 lifted states and 11250 unknowns"),
        (("nash", "ipd", "--memory", "9"), "lifted states"),
        (("nash", "ipd", "--starts", "-1"), "--starts -1"),
        (("reply", "ipd", "--opponent", "tft", "--average", "--discount", ".5"), "--discount: has no meaning"),
        (("reply", "ipd", "--mixture", "tft:1,allc:1", "--own-noise", ".1"), "--own-noise: has no meaning"),
        (("reply", "pursuit:3", "--mixture", "greedy&fleeing&greedy:1"), "3 strategies for 2 other players"),
        (("reply", "pursuit:3", "--opponent", "fleeing", "greedy"), "players 1 and 2 are greedy hunters"),
        (("text", "pursuit:3", "--opponents", "greedy&fleeing"), "at most 400 are told in words"),
        (("text", "ipd", "--opponents", "tff"), "did you mean 'tft'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(capsys, monkeypatch, tmp_path, words, said):
    """Whatever is wrong, the command says it in one line on stderr, exits with 2 and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *words)
    assert code == 2
    assert out == ""
    assert list(tmp_path.iterdir()) == []
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bytes.toml", b"\xff", "cannot be parsed"),
        ("number.toml", b'actions = ["C", "D"]\nreward = 3', "[[reward]]"),
        ("words.toml", b'actions = ["C", "D"]\ntransition = ["x"]', "[[transition]]"),
        ("empty.toml", b'actions = ["C", "D"]\nstates = []', "at least one name"),
        ("bytes.json", b"\xff\xfe", "not JSON"),
    ],
)
def test_malformed_files_are_bad_input(capsys, monkeypatch, tmp_path, name, content, said):
    """A file of the wrong shape, as a game or as an opponent, is told in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    words = (name, "--opponent", "allc") if name.endswith(".toml") else ("ipd", "--opponent", name)
    code, out, err = call(capsys, "reply", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_nash_keys_and_cooperation(capsys):
    """``game nash`` lists certified equilibria, and the cooperative (30, 30) of the IPD is the first."""
    found = answer(capsys, "nash", "ipd", "--memory", "1", "--starts", "1")
    assert found[0].keys() >= {"values", "eps_start", "eps_all", "strategies"}
    assert found[0]["values"] == pytest.approx([30, 30])
    assert all(one["eps_all"] <= 1e-9 for one in found)
    assert found[0]["exact"] == {"values": ["30", "30"], "eps_start": "0", "eps_all": "0"}
    assert found[0]["play"] == "CC for ever"
    assert any(one["values"] == pytest.approx([10, 10]) for one in found)


@pytest.mark.method(9, proves="certified equilibria")
def test_nash_enumerates_in_fractions(capsys):
    """``--all-pure`` gives the 22 pure equilibria with their certificates as fractions; too many profiles are
    refused."""
    found = answer(capsys, "nash", "ipd", "--all-pure")
    assert len(found) == 22
    assert sum(one["exact"]["eps_all"] == "0" for one in found) == 3
    paths = [one["play"] for one in found]
    assert {path: paths.count(path) for path in paths} == {
        "CC for ever": 4,
        "DD for ever": 16,
        "CD DC in turn": 1,
        "DC CD in turn": 1,
    }
    assert len({one["group"] for one in found}) == 4
    code, _, err = call(capsys, "nash", "ipd", "--all-pure", "--memory", "2")
    assert code == 2
    assert "21 lifted states" in err


def test_nash_for_people(capsys):
    """Without --json one line per path of play is printed, without rounding dust, and the first strategies in words."""
    code, out, _ = call(capsys, "nash", "pennies")
    assert code == 0
    assert "eps everywhere" in out
    assert "player 2" in out
    assert "e-1" not in out.replace("< 1e-12", "")
    code, out, _ = call(capsys, "nash", "ipd", "--all-pure")
    assert next(line for line in out.splitlines() if "16" in line).split()[:3] == ["DD", "for", "ever"]


def test_a_given_profile_is_certified_as_it_is(capsys):
    """``--profile``: TFT against TFT stands in the answer although it is no equilibrium in all lifted states; always C
    against always C with what a deviation gains."""
    found = answer(capsys, "nash", "ipd", "--profile", "tft", "tft", "--starts", "0")
    given = [one for one in found if one["method"] == "given"]
    assert given[0]["exact"]["eps_start"] == "0"
    assert given[0]["eps_all"] > 0
    allc = answer(capsys, "nash", "ipd", "--profile", "allc", "allc", "--starts", "0")
    assert [one["eps_start"] for one in allc if one["method"] == "given"] == [20]
    grim = answer(capsys, "nash", "ipd", "--profile", "grim-memory-one", "grim-memory-one", "--starts", "0")
    assert grim[0]["method"] == "trigger, given"
