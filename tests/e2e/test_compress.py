"""``backcast run wgm`` and ``backcast run splitquant``: from a model to packed folders, gap table and report."""

import json

import pytest

from backcast import cli


def run(capsys, *words):
    code = cli.main([*map(str, words), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


@pytest.mark.parametrize(
    ("recipe", "arms"),
    [("wgm", {"rtn-4", "paper-6", "v3-4", "ours-4"}), ("splitquant", {"rtn-4-row", "split-4-row", "rtn-8-row"})],
)
@pytest.mark.method(7, 8, proves="packs, reloads, is judged")
def test_a_recipe_runs_from_a_model_to_the_report(tiny_llama, tmp_path, capsys, recipe, arms):
    """Every arm is packed, reloaded, scored against the original; again, both stages are skipped."""
    words = ("run", recipe, "--model", tiny_llama, "--out", tmp_path / "run", "--windows", 2, "--context", 128)
    said = run(capsys, *words)
    assert said["arms"].keys() == arms
    for figures in said["arms"].values():
        assert figures["true_bits"] > 4
        assert figures["reload_max_difference"] < 1e-3
    assert {gap["metric"].split(":")[0] for gap in said["gaps"]} == arms
    for gap in said["gaps"]:
        assert gap["low"] <= gap["value"] <= gap["high"]
        assert gap["baseline"] > 1
    names = {vital["name"] for vital in said["vitals"]}
    assert {f"KL, {arm}" for arm in arms} <= names
    page = (tmp_path / "run" / "report.html").read_text()
    assert "true bits" in page
    again = run(capsys, *words)
    assert [stage["skipped"] for stage in again["stages"]] == [True, True]
    assert again["gaps"] == said["gaps"]
