"""The page's figures of trained policies are those of the result file."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/effects/results/routing_policies.json"
ARMS = {
    "| global policy, random weights (three draws) | none |": "random {k}",
    "| global policy, trained | none |": "trained",
    "| global policy, trained | local policy, trained |": "trained + levels",
    "| one sweep | none |": "sweep",
    "| one sweep | local policy, random weights (three draws) |": "sweep + random levels {k}",
    "| one sweep | local policy, trained |": "sweep + levels",
    "| best of sixteen sweeps | local policy, trained |": "sweep, sixteen + levels",
    "| savings | none |": "savings",
}


@pytest.mark.skipif(not RESULT.is_file(), reason="no result files beside the tests")
def test_the_table_of_policies_is_the_result_file():
    page = (ROOT / "docs/methods/hlgp.md").read_text()
    means = json.loads(RESULT.read_text())["means"]
    for row, name in ARMS.items():
        shown = re.search(re.escape(row) + r" ([\d.]+) \| ([\d.]+) \|", page)
        draws = [name.format(k=k) for k in range(3)] if "{k}" in name else [name]
        assert shown, row
        for size, value in zip(("200", "1000"), shown.groups(), strict=True):
            assert value == f"{fmean(means[size][arm][0] for arm in draws):.2f}", (row, size)
