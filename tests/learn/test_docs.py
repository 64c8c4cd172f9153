"""The pages quote the figures that the experiments wrote."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks" / "effects").is_dir(), reason="no benchmarks beside the tests")


def cell(values, digits):
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def test_the_pages_quote_the_file():
    found = json.loads((ROOT / "benchmarks/effects/results/learn_toys.json").read_text())["experiments"]
    hicra = (ROOT / "docs/methods/hicra.md").read_text()
    for name in ("S2", "S3"):
        for arm in ("grpo", "hicra .2", "hicra .5", "execution .5"):
            assert cell(found[name]["rows"][arm]["steps"], 2) in hicra
    rethinker = (ROOT / "docs/methods/vl-rethinker.md").read_text()
    for arm in ("grpo", "filter", "ssr"):
        for episode in ("accuracy 20", "accuracy 60"):
            assert cell(found["S5"]["rows"][arm][episode], 4) in rethinker
    for arm in ("none", "forced", "forced + NLL"):
        for where in ("waits easy", "waits hard"):
            assert f"{found['S7']['rows'][arm][where][0]:.4f}" in rethinker


def results(name):
    return json.loads((ROOT / f"benchmarks/effects/results/{name}.json").read_text())


def test_the_pages_quote_the_small_world():
    """Every arm's accuracy with its difference to plain GRPO, the controls, and how the run was settled."""
    found = results("learn_world")
    arms, hicra = found["arms"], (ROOT / "docs/methods/hicra.md").read_text()
    rethinker = (ROOT / "docs/methods/vl-rethinker.md").read_text()
    assert found["n"] == len(found["seeds"]) == 5
    assert 0 not in found["seeds"]  # the learning rate was chosen on it
    assert f"--first-seed {found['seeds'][0]} --seeds {found['n']} --steps {found['steps']}" in hicra
    for name, arm in arms.items():
        assert cell(arm["accuracy"], 3) in hicra
        if name != "grpo":
            assert f"{cell(arm['against grpo'], 3)} | {cell(arm['middle against grpo'], 3)} |" in hicra
    assert cell(arms["hicra"]["against wrong tokens"], 3) in hicra
    for name in ("ssr", "filter", "rethink", "all"):
        assert cell(arms[name]["against grpo"], 3) in rethinker
    for arm in ("rethink", "grpo"):
        assert cell(arms[arm]["after all steps"], 3) in rethinker
        assert cell(arms[arm]["waits"], 3) in rethinker
    for name in ("rethink/to_wrong", "rethink/to_right"):
        assert f"{sum(run[name] for run in arms['rethink']['vitals']) / found['n']:.1%}" in rethinker


def test_the_page_quotes_the_real_network():
    """S6, the table of the first attempt."""
    found, page = results("learn_modular"), (ROOT / "docs/methods/vl-rethinker.md").read_text()
    for row in found["rows"].values():
        for name in ("accuracy 40", "accuracy 160", "share last"):
            assert cell(row[name], 3) in page
    assert cell(found["rows"]["ssr"]["against filter"], 4) in page


@pytest.mark.parametrize("name", ["learn_modular", "learn_modular_again"])
def test_the_page_quotes_both_attempts_at_the_real_network(name):
    """S6, with the check that failed twice."""
    found, page = results(name), (ROOT / "docs/methods/vl-rethinker.md").read_text()
    assert cell(found["rows"]["ssr"]["against grpo"], 4) in page
    ends = (found["rows"][arm]["at the end, by seed"] for arm in ("ssr", "grpo"))
    gains = [a - b for a, b in zip(*ends, strict=True)]
    assert ", ".join(f"{gain:+.4f}" for gain in gains) in page
    assert found["checks"]["SSR ends .005 above GRPO in each seed"] is (min(gains) >= 0.005)
