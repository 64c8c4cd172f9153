"""``backcast compress`` as a process: killed from outside, out of room, short of memory, given what it cannot use."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backcast import cli
from backcast.compress import shards

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from synthetic import write_model


def forked(tmp_path: Path, *words, file_limit: int | None = None) -> tuple[int, str, str]:
    """Runs a command in a process of its own (forked: torch is loaded already); its exit code and what it said."""
    out, err = tmp_path / "stdout.txt", tmp_path / "stderr.txt"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            # A fork leaves torch a dead pool that its first user replaces; two loading threads at once race for it.
            torch.set_num_threads(torch.get_num_threads())
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            if file_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            code = cli.main([str(word) for word in words])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), out.read_text(), err.read_text()


def refused(tmp_path: Path, *words) -> str:
    """What a refused command says: exit code 2, one line, no traceback, nothing on stdout."""
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    code, said, complaint = forked(tmp_path, "compress", *words, "--out", out)
    lines = [line for line in complaint.splitlines() if line.startswith("backcast: ")]
    assert code == 2, complaint
    assert said == ""
    assert len(lines) == 1
    assert "Traceback" not in complaint
    return lines[0]


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the tiny model to be damaged."""
    import shutil

    return Path(shutil.copytree(tiny, tmp_path / "model"))


def test_a_folder_without_weights(copy, tmp_path):
    """Named, with what is missing."""
    (copy / "model.safetensors").unlink()
    assert "has no weights (*.safetensors)" in refused(tmp_path, copy)


def test_bits_out_of_range(copy, tmp_path):
    """The value and the range, for every method."""
    for method in ("wgm", "splitquant", "rtn"):
        assert "bits: '9' is outside 1..8" in refused(tmp_path, copy, "--method", method, "--bits", 9)


def test_no_process_at_all(copy, tmp_path):
    """Refused before anything is begun, as is a wish to weigh errors where that would do nothing."""
    assert "--jobs must be at least 1, found 0" in refused(tmp_path, copy, "--jobs", 0)
    assert "it would do nothing here" in refused(tmp_path, copy, "--weigh", 0.5)
    assert "it would do nothing here" in refused(tmp_path, copy, "--preset", "paper", "--weigh", 0.5)


def test_a_size_below_the_minimum(copy, tmp_path):
    """States the minimum."""
    said = refused(tmp_path, copy, "--plan", "50kb")
    assert "below the least that this model can be: 0." in said
    assert "mb, of which" in said


def test_a_corrupt_header(copy, tmp_path):
    """The file, and that its header is damaged."""
    path = copy / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:9] + b"\xff\xfe" + data[11:])
    assert "'" + str(path) + "' is damaged: its safetensors header cannot be read" in refused(tmp_path, copy)
    path.write_bytes(data[: len(data) // 2])
    assert "is damaged" in refused(tmp_path, copy)


def test_weights_that_are_no_numbers(copy, tmp_path):
    """The tensor and the place."""
    tensors = load_file(copy / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 5] = torch.nan
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    for words in ((), ("--plan", "300kb")):
        said = refused(tmp_path, copy, *words)
        assert name in said
        assert "3" in said
        assert "5" in said


def test_a_model_that_is_packed_already(copy, tmp_path):
    """Says so, and by what."""
    assert forked(tmp_path, "compress", copy, "--method", "rtn", "--out", tmp_path / "once")[0] == 0
    assert "is packed already (quant_method 'backcast.compress')" in refused(tmp_path, tmp_path / "once")


def test_layers_that_are_not_packed_are_named(copy, tmp_path):
    """Exit code 0; what was left untouched is said, and is bit for bit in the result."""
    code, said, _ = forked(tmp_path, "compress", copy, "--method", "rtn", "--out", tmp_path / "out", "--json")
    assert code == 0
    assert "Embedding" in json.loads(said)["untouched"]["model.embed_tokens"]
    before, after = (load_file(folder / "model.safetensors") for folder in (copy, tmp_path / "out"))
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


def content(folder: Path) -> dict[str, bytes]:
    """All files; of the record, everything but the time taken."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    record = json.loads(found.pop("compress.json"))
    for row in (record["figures"], *record["tensors"]):
        row.pop("cpu_seconds")
        row.pop("seconds", None)
    record["figures"].pop("out")
    record["figures"].pop("bytes_after")  # counts the digits of the seconds
    record["figures"].get("plan", {}).pop("report", None)
    found["record"] = json.dumps(record).encode()
    return found


def test_out_of_room_half_way(copy, tmp_path):
    """A file that the system refuses to let grow: one line that names a file, exit code 2; with room, the same command
    goes on and ends with the bytes of a run that was never stopped."""
    words = ("compress", copy, "--method", "rtn", "--out")
    assert forked(tmp_path, *words, tmp_path / "once")[0] == 0
    code, _, complaint = forked(tmp_path, *words, tmp_path / "out", file_limit=100_000)
    assert code == 2, complaint
    assert "cannot write" in complaint
    assert "Traceback" not in complaint
    assert len(list((tmp_path / "out" / ".work").iterdir())) == 15
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert forked(tmp_path, *words, tmp_path / "out")[0] == 0
    assert content(tmp_path / "out") == content(tmp_path / "once")


@pytest.mark.parametrize("words", [("--bits", "3"), ("--plan", "3.6bits")])
@pytest.mark.method(7, 8, proves="goes on after kill -9, byte for byte")
def test_killed_from_outside_and_begun_again(tmp_path, words):
    """``kill -9`` while tensors are packed (a plan: while layers are measured): the same command ends with the bytes
    of an undisturbed run."""
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12}
    model = tmp_path / "model"
    write_model(model, {**shape, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512})
    code, _, complaint = forked(tmp_path, "compress", model, *words, "--out", tmp_path / "once")
    assert code == 0, complaint
    out = tmp_path / "out"
    command = [sys.executable, "-m", "backcast", "compress", str(model), *words, "--out", str(out)]
    # On a busy machine the one that watches must get its turn before the one that works is through.
    slow = ["nice", "-n", "19", *command]
    with subprocess.Popen(slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list(out.glob(".work/**/*"))) < 6 and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = len(list(out.glob(".work/**/*")))
    assert 6 <= done < 84
    assert not (out / "compress.json").exists()
    assert forked(tmp_path, "compress", model, *words, "--out", out)[0] == 0
    assert content(out) == content(tmp_path / "once")
    assert not (out / ".work").exists()


LIMITED = """
import json, resource, sys
from pathlib import Path
from backcast import cli
from backcast.compress import shards
from backcast.core.files import write_json

def status(key):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])

small, model, out, allowed = sys.argv[1:5]
assert cli.main(["compress", small, "--method", "rtn", "--out", out + "-small"]) == 0  # loads torch and the kernels
base = status("VmSize")
resource.setrlimit(resource.RLIMIT_AS, (base + int(allowed), base + int(allowed)))
resident = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
code = cli.main(["compress", model, "--method", "rtn", "--out", out, "--json"])
write_json(Path(out + ".memory.json"), {"code": code, "grown": status("VmHWM") - resident})
"""


def test_a_model_of_twice_the_memory(tiny, tmp_path):
    """Under a limit on address space a model of twice that size is packed, tensor by tensor, and checked layer by
    layer; beyond what the libraries take, resident memory stays below three times the largest tensor and 500 MB."""
    allowed = 150 << 20
    shape = {"hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 20}
    size = write_model(tmp_path / "m", {**shape, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 512})
    assert size > 2 * allowed
    paths = [tiny, tmp_path / "m", tmp_path / "out"]
    command = [sys.executable, "-c", LIMITED, *map(str, paths), str(allowed)]
    # One arena: each further one reserves 64 MB of address space, whichever thread happens to ask for it.
    env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert said.returncode == 0, said.stderr
    memory = json.loads((tmp_path / "out.memory.json").read_text())
    assert memory["code"] == 0, said.stderr
    assert json.loads(said.stdout.splitlines()[-1])["checked"] == "layers"
    largest = max(e.size for path in (tmp_path / "m").glob("*.safetensors") for e in shards.read_header(path)[0])
    assert 0 < memory["grown"] < 3 * largest + (500 << 20)
