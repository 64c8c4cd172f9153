"""Two Ray nodes on this machine: a map over them is a loop, whatever happens to a worker; every verb that goes over
items gives what it gives alone."""

import contextlib
import contextvars
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.parallel import on_cluster, pmap

pytest.importorskip("ray", reason="Ray is not installed: pip install 'backcast[ray]'")

PATIENCE = {
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
}
"""A loaded machine is no broken one, and two nodes of one processor each need no more than they are asked for."""


@pytest.fixture(scope="module")
def address(_session_cache):
    """Of a cluster of two nodes with a processor each."""
    kept = dict(os.environ)
    source = Path(__file__).parents[2] / "src"
    os.environ.update(PATIENCE, PYTHONPATH=str(source), BACKCAST_CACHE=str(_session_cache), RAY_USAGE_STATS_ENABLED="0")
    from ray.cluster_utils import Cluster

    lent = os.environ.get("BACKCAST_TEST_CLUSTER")
    cluster = None if lent else Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        if cluster is not None:
            cluster.add_node(num_cpus=1)
        yield lent or cluster.address
    finally:
        if cluster is not None:
            cluster.shutdown()
        os.environ.clear()
        os.environ.update(kept)


@pytest.fixture(scope="module")
def there(address):
    """A connection to it."""
    with on_cluster(address) as found:
        yield found


def test_a_map_over_two_nodes_is_a_loop(there):
    """In item order, on both nodes; progress counts what is done, wherever; ``done`` hears it in order."""
    import time

    import ray

    here, heard = os.getpid(), []

    def square(x):
        time.sleep(0.3)
        return x * x, ray.get_runtime_context().get_node_id(), os.getpid() != here, os.getcwd()

    found = pmap(square, range(8), done=lambda result: heard.append(result[0]))
    assert [row[0] for row in found] == heard == [x * x for x in range(8)]
    assert len({row[1] for row in found}) == 2
    assert all(row[2] and row[3] == os.getcwd() for row in found)
    assert there.largest < 100


def test_a_killed_worker_is_survived(there, tmp_path):
    """``kill -9`` from within, in the middle of a task: it is begun again, and the rest is not disturbed."""

    def square(x):
        mark = tmp_path / str(x)
        if x == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    assert pmap(square, range(6)) == [x * x for x in range(6)]
    assert (tmp_path / "2").exists()


def test_what_kills_every_worker_is_named(there):
    def die(x):
        os._exit(1)

    with pytest.raises(WorkFailed, match="lost its worker 4 times"):
        pmap(die, [1])


def test_the_functions_own_error_is_raised_here(there):
    """The same object's type, text and fields, with the node and its lines as a note."""

    def fail(x):
        raise BadInput("three is odd")

    with pytest.raises(BadInput) as caught:
        pmap(fail, [3])
    assert str(caught.value) == "three is odd"
    assert "on node" in caught.value.__notes__[0]


def test_an_error_that_does_not_survive_the_journey_keeps_its_words(there):
    class Two(Exception):
        def __init__(self, one, other):
            super().__init__(f"{one} and {other}")

    def fail(x):
        raise Two(x, x + 1)

    with pytest.raises(WorkFailed, match=r"^node .*: Two: 3 and 4$"):
        pmap(fail, [3])


def test_a_node_with_other_code_is_refused():
    """As a worker there would: what comes back would be another version's."""
    from backcast.core.cluster import Place, _stand

    with pytest.raises(BadInput, match="has another version of backcast"):
        _stand(Place(os.getcwd(), "of another day", ()))


def test_what_cannot_travel_is_refused_at_once(there):
    import threading

    lock = threading.Lock()
    with pytest.raises(BadInput, match="cannot be sent to other machines"):
        pmap(lambda x: lock, [1])
    with pytest.raises(BadInput, match="item 0"):
        pmap(print, [lock])


def test_a_file_that_a_node_does_not_see_is_one_line(there):
    with pytest.raises(WorkFailed, match=r"does not see '/nowhere/model'; .* on storage that all nodes share"):
        pmap(lambda path: Path(path).read_text(), ["/nowhere/model"])


QUESTIONS = [{"question": f"What is {i}?", "options": ["one", "two", "three"], "answer": "B"} for i in range(18)]
TEXT = " ".join(f"The river rises in hill {i} and meets the sea." for i in range(40))
PAIRS = [{"prompt": f"Text {i}.", "answer": f"The river rises.\n\nIt meets sea {i}."} for i in range(18)]
TIMES = {"seconds", "cpu_seconds", "run", "report", "out", "stages", "traces", "dataset", "csv", "trace", "pictures"}
TIMES |= {"solution", "plan", "bytes_after"}  # paths, and a size that counts the digits of the seconds

VERBS = {
    "pack": "compress {llama} --method splitquant --bits 4 --check layers --out {out}",
    "plan": "compress {llama} --plan 5bits --check layers --out {out}",
    "perplexity": "judge {llama} --on perplexity:{text} --context 64",
    "letters": "judge {llama} --on {questions} --by letter --no-cache",
    "written": "judge {llama} --on {questions} --answer-tokens 4 --no-cache",
    "writing": "judge {llama} --on writing:{pairs} --thinking-tokens 4 --no-cache",
    "search": "reason {pairs} --model {llama} --max-steps 1 --expansions 2 --proposal-tokens 8 --batch 2 --limit 4 "
    "--max-overlap 1 --no-cache --out {out}",
    "opponents": "game gap --steps 2000 --seeds 2 --train moore:n=3 --test mix --out {out}",
    "walks": "route solve uniform:320:0 --iterations 3000 --jobs 2 --out {out}",
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gives_what_it_gives_alone(there, tiny_llama, tmp_path, capsys, verb):
    """The same object, times apart, and the same bytes in every file that holds no time; with something really sent,
    and every message small."""
    from backcast import cli

    files = {
        "text": TEXT,
        "questions": "\n".join(map(json.dumps, QUESTIONS)),
        "pairs": "\n".join(map(json.dumps, PAIRS)),
    }
    paths = {name: tmp_path / f"{name}.jsonl" for name in files}
    for name, text in files.items():
        paths[name].write_text(text)

    def run(out):
        words = VERBS[verb].format(llama=tiny_llama, out=tmp_path / out / "out", **paths)
        assert cli.main([*words.split(), "--json"]) == 0
        return plain(json.loads(capsys.readouterr().out))

    there.items = there.largest = 0
    alone = contextvars.Context().run(run, "alone")
    assert there.items == 0
    assert run("spread") == alone
    assert there.items > 1
    assert there.largest < 50_000
    first, second = (contents(tmp_path / name) for name in ("alone", "spread"))
    assert first == second
    assert bool(first) == ("{out}" in VERBS[verb])


def plain(value):
    """Without what says when and where."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in TIMES}
    return [plain(one) for one in value] if isinstance(value, list) else value


def contents(folder):
    """The bytes of models, traces, routes, agents and training data."""
    kinds = {".safetensors", ".jsonl", ".sol", ".csv"}
    paths = [path for path in folder.rglob("*") if path.suffix in kinds or path.name.startswith(("agent-", "gaps"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths) if path.suffix != ".svg"}


def backcast(*words, before=()):
    done = subprocess.run(
        [*before, sys.executable, "-m", "backcast", *map(str, words), "--json"],
        capture_output=True,
        text=True,
        timeout=590,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


OURS = ("uniform-60-0: ", "compiling the search ")


def routes(folder):
    return (folder / "uniform-60-0.sol").read_bytes()


GROUPS = "route solve uniform:60:0 --engine pyvrp --iterations 600 --jobs 2 --group 2"


def test_as_a_process_it_says_nothing_of_its_own(address, tmp_path):
    """One line on stdout, and no word of Ray's on stderr; the settings that a verb calls engine stay the verb's."""
    done = backcast(*GROUPS.split(), "--out", tmp_path / "out", "--engine", "ray", "--address", address)
    alone = backcast(*GROUPS.split(), "--out", tmp_path / "alone")
    assert done.stdout.count("\n") == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith(OURS)] == []
    assert (tmp_path / "out" / "uniform-60-0.sol").read_bytes() == (
        tmp_path / "alone" / "uniform-60-0.sol"
    ).read_bytes()
    assert json.loads(done.stdout)[0]["cost"] == json.loads(alone.stdout)[0]["cost"]


@pytest.fixture
def two_addresses():
    """Two network namespaces joined by a cable, each with an address: what ``before`` puts a command into them."""
    names, near, far = ("backcast-a", "backcast-b"), "10.77.0.1", "10.77.0.2"

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, text=True)

    if os.geteuid() != 0 or shutil.which("ip") is None or ip("netns", "add", names[0]).returncode:
        pytest.skip("no network namespaces here (they need root, iproute2 and a kernel that allows them)")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", "bc-a", "netns", names[0], "type", "veth", "peer", "name", "bc-b", "netns", names[1])
        for name, device, own in zip(names, ("bc-a", "bc-b"), (near, far), strict=True):
            ip("-n", name, "addr", "add", f"{own}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [(["ip", "netns", "exec", name], own) for name, own in zip(names, (near, far), strict=True)]
    finally:
        for name in names:
            ip("netns", "delete", name)


def test_two_machines_with_addresses_of_their_own(two_addresses, tmp_path, monkeypatch):
    """The head has no processor to give, so everything is done at the other address, and comes out the same."""
    open_to_all = {"RAY_AUTH_MODE": "disabled"}  # or a token in the home folder, if there is one, would be asked for
    for name, value in {**PATIENCE, **open_to_all, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}.items():
        monkeypatch.setenv(name, value)
    (a, near), (b, far) = two_addresses
    quiet = ["--disable-usage-stats", "--block"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *quiet]
    with tempfile.TemporaryDirectory(prefix="bc") as folder, contextlib.ExitStack() as nodes:
        head = [*ray, "--head", "--node-ip-address", near, "--port", "6400", "--num-cpus", "0"]
        nodes.enter_context(started([*a, *head, "--include-dashboard", "false", "--temp-dir", folder]))
        answers([*a, sys.executable], near)
        nodes.enter_context(
            started([*b, *ray, "--address", f"{near}:6400", "--node-ip-address", far, "--num-cpus", "1"])
        )
        code = f"""
import ray
from backcast.core.parallel import on_cluster, pmap
with on_cluster("{near}:6400"):
    print(pmap(lambda x: (x * x, ray.util.get_node_ip_address()), range(4)))
"""
        told = subprocess.run([*a, sys.executable, "-c", code], capture_output=True, text=True, timeout=590)
        assert told.stdout == f"{[(x * x, far) for x in range(4)]}\n", told.stderr[-3000:]
        words = [*GROUPS.split(), "--engine", "ray", "--address", f"{near}:6400", "--out"]
        backcast(*words, tmp_path / "out", before=a)
    backcast(*GROUPS.split(), "--out", tmp_path / "alone")
    assert (tmp_path / "out" / "uniform-60-0.sol").read_bytes() == (
        tmp_path / "alone" / "uniform-60-0.sol"
    ).read_bytes()


@contextlib.contextmanager
def started(words):
    """A node, and everything that it started, for as long as the block runs."""
    node = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        node.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)


def answers(python, address):
    """Waits until the head listens."""
    code = f"""
import socket, time
for _ in range(600):
    try:
        socket.create_connection(("{address}", 6400), 1).close()
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit(1)
"""
    subprocess.run([*python, "-c", code], check=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compress", "m", "--engine", "ray", "--address", "127.0.0.1:9"], "nobody answers"),
        (["compress", "m", "--engine=ray", "--address=nonsense"], "is not an address"),
        (["compress", "m", "--address", "auto"], "give --engine ray with it"),
        (["report", "run", "--engine", "ray"], "'report' has nothing to spread"),
        (["run", "hicra", "--engine", "ray"], "'run hicra' has nothing to spread"),
    ],
)
def test_bad_input_is_one_line(words, said, tmp_path, capsys):
    from backcast import cli

    known = {"compress": ["--method", "rtn", "--bits", "4", "--out", str(tmp_path / "out")]}
    assert cli.main([*words, *known.get(words[0], [])]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named():
    code = "import sys; sys.modules['ray'] = None; from backcast.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["route", "solve", "uniform:20:0", "--engine", "ray"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "backcast: --engine ray: Ray is not installed; pip install 'backcast[ray]'\n"
