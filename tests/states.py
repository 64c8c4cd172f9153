"""Writes what ``backcast methods`` prints: the outcome of every test marked ``method``, kept in the package.

``@pytest.mark.method(1, 2, proves="searches")`` says that the test proves this of methods 1 and 2.
``scripts/test --record-methods [tests]`` writes the outcomes; ``tests/cli/test_methods.py`` finds what is stale.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / "src" / "backcast" / "data" / "methods.json"
SEVERITY = ("passed", "skipped", "failed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-methods", action="store_true", help="write what backcast methods prints")


def marked() -> Iterator[dict]:
    """Every marked test of the suite: its methods, its claim, its name, and a hash of its code."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for decorator in getattr(node, "decorator_list", ()):
                if ast.unparse(decorator).startswith("pytest.mark.method("):
                    body = hashlib.sha256(ast.unparse(node).encode()).hexdigest()[:12]
                    yield {
                        "methods": [ast.literal_eval(word) for word in decorator.args],
                        "proves": ast.literal_eval(decorator.keywords[0].value),
                        "test": f"{path.relative_to(ROOT).as_posix()}::{node.name}",
                        "body": body,
                    }


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tells the report, which may be read in another process, that this test counts."""
    if item.get_closest_marker("method"):
        item.user_properties.append(("method", item.nodeid.partition("[")[0]))


class Recorder:
    """Gathers the worst outcome of each marked test over its parameters."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.written: dict[str, str] = {}
        """What the file tells already: reading the whole suite after every test would take a core."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A skip in the set-up and a failure in the tear-down count as such."""
        name = dict(report.user_properties).get("method")
        if name is not None:
            self.outcomes[name] = max(self.outcomes.get(name, "passed"), report.outcome, key=SEVERITY.index)

    def pytest_runtest_logfinish(self) -> None:
        """Merges the outcomes so far into the file; tests that are gone leave it, tests that are new wait in it."""
        from backcast.core.files import code_version, write_json

        if self.outcomes == self.written:
            return
        self.written = dict(self.outcomes)
        kept = {row["test"]: row for row in json.loads(FILE.read_text())} if FILE.exists() else {}
        now = {"date": datetime.now(UTC).date().isoformat(), "code": code_version()}
        rows = []
        for row in marked():
            if row["test"] in self.outcomes:
                rows.append({**row, "outcome": self.outcomes[row["test"]], **now})
            elif kept.get(row["test"], {}).get("body") == row["body"]:
                rows.append({**kept[row["test"]], **row})
            else:
                rows.append({**row, "outcome": "not run", "date": None, "code": None})
        write_json(FILE, rows)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-methods") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(), "method-states")
