"""The script on the page about the trainer, as a user starts it: two processes, by torchrun."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backcast.learn import world

PAGE = Path(__file__).parents[2] / "docs" / "trainer.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")


def test_the_script_of_the_page_runs_in_two_processes(tmp_path):
    """All three parts over gloo: both ranks end with a state of their own, and every part's vital signs are there."""
    script, out = tmp_path / "train.py", tmp_path / "out"
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script.write_text(code)
    start = world.warm_start(tmp_path / "start", 0, steps=40)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}
    words = ["-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += [str(script), str(start), str(out), "2"]
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("groups/effective", "replay/skipped", "planning/credit_moved", "rethink/accepted"):
        assert done.stderr.count(name) == 2  # once a process
    states = [torch.load(out / "checkpoint-2" / f"group_trainer_{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert states[0]["parts"][0]["rng"] != states[1]["parts"][0]["rng"]
    assert states[0]["groups"]["groups"] == states[1]["groups"]["groups"] > 0
