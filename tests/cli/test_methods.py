"""``backcast methods``: its lines are results of tests, and the record of them is not stale."""

import json

from backcast import cli, recipes
from backcast.cli import methods
from tests import states


def rows(capsys):
    assert cli.main(["methods", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_record_is_of_the_tests_that_there_are():
    """Every marked test is recorded with the claim and the code that it has now, and none that is gone."""
    now = {row["test"]: (row["methods"], row["proves"], row["body"]) for row in states.marked()}
    kept = {row["test"]: (row["methods"], row["proves"], row["body"]) for row in methods.recorded()}
    stale = sorted(name for name in now.keys() | kept.keys() if now.get(name) != kept.get(name))
    names = " ".join({name.partition("::")[0] for name in stale})
    assert stale == [], f"run: scripts/test --record-methods {names}"


def test_what_is_said_is_what_was_recorded(capsys):
    """Ten rows; a method works if something was proved of it and nothing failed; the promised keys are there."""
    found = rows(capsys)
    assert [row["number"] for row in found] == list(range(1, 11))
    assert all(row.keys() >= {"name", "paper", "room", "recipe", "works"} for row in found)
    assert [row["name"] for row in found if row["failed"]] == []
    for row in found:
        mine = [one for one in methods.recorded() if row["number"] in one["methods"]]
        assert mine, f"no test is marked with what it proves of {row['name']}"
        assert row["works"] is any(one["outcome"] == "passed" for one in mine)
        assert len(row["proved"]) + len(row["untried"]) == len(mine)
        assert row["recipe"] in recipes.RECIPES


def test_a_failed_test_is_said_first():
    """A method with a failed test does not work, whatever else passed, and its line begins with the failure."""
    base = {"methods": [7], "date": "2026-11-01", "code": "x", "test": "t", "body": "b"}
    results = [{**base, "proves": "a", "outcome": "passed"}, {**base, "proves": "b", "outcome": "failed"}]
    state = methods._state(recipes.METHODS[6], results)
    assert not state["works"]
    assert not state["same_code"]
    assert methods.line(state) == "FAILS: b; a"
    assert methods.line(methods._state(recipes.METHODS[6], [])) == "nothing shown"


def test_the_table_says_when(capsys):
    """For people: a line a method, and the day of the oldest result."""
    assert cli.main(["methods"]) == 0
    out = capsys.readouterr().out
    assert "oldest result: 20" in out
    assert all(method.name.split()[0] in out for method in recipes.METHODS)
