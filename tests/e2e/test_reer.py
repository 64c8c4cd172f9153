"""``backcast run reer``: the recipe of the paper, from pairs to training data and report."""

import json
import subprocess
import sys

import pytest


@pytest.mark.method(1, proves="searches, filters, exports a dataset")
def test_reer_runs_from_pairs_to_report(tiny_llama, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    answer = "The river rises in the hills.\n\nIt runs past the mill.\n\nIn the end it meets the sea."
    pairs.write_text("".join(json.dumps({"prompt": f"Text {i}.", "answer": answer + str(i)}) + "\n" for i in range(2)))
    sizes = ["--search.max-steps", "1", "--search.expansions", "2", "--search.proposal-tokens", "8"]
    loose = ["--search.max-overlap", "1", "--search.last-share", "none"]
    words = ["run", "reer", "--model", str(tiny_llama), "--pairs", str(pairs), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "backcast", *words, *sizes, *loose, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["items"], said["done"]) == (2, 2)
    assert said["nll_final"] <= said["nll_start"]
    assert (tmp_path / "run" / "report.html").exists()
    rows = (tmp_path / "run" / "2-export" / "dataset" / "train.jsonl").read_text().splitlines()
    assert len(rows) == said["items"] - said["dropped"]
