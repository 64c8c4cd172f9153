"""The only door to Ray: a map over the processors of a cluster, for ``core.parallel``.

What travels is small: the function once, each item by itself, both as bytes made here, so that what cannot travel is
refused in one line before any work. A worker stands in the folder of the command, knows the same modules and must run
the same code. Big arrays stay in files that every node sees; a language model travels as its name (``LocalLM``).
"""

import contextlib
import importlib
import itertools
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import code_version

In = TypeVar("In")
Out = TypeVar("Out")

RETRIES = 3
"""How often a task is begun again after its worker or its node went away."""
AHEAD = 2
"""Tasks sent out for each processor of the cluster, so that none waits for its next one."""
KNOCK = 5.0
"""Seconds to wait for an answer at a given address."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no report home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no advice about accelerators
    "RAY_gcs_rpc_server_connect_timeout_s": "60",  # a busy head that was knocked at is there
}
"""What Ray reads from the environment; values that are there already stay."""


@dataclass(frozen=True)
class Place:
    """Where a worker has to stand so that it does what this process would do."""

    folder: str
    version: str
    modules: tuple[str, ...]


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to the cluster at ``address`` while the block runs.

    ``auto``: the cluster that this machine is a node of; ``HOST:PORT``: that of this head; ``local``: a new one, of
    this machine alone, that ends with the block. Raises BadInput when Ray is not installed or nobody answers.
    """
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    _knock(address)
    try:
        import ray
    except ImportError:
        raise BadInput("--engine ray: Ray is not installed; pip install 'backcast[ray]'") from None
    if ray.is_initialized():
        raise BadInput("this process is connected to a Ray cluster already; end that connection first (ray.shutdown())")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address == "local":
        options["include_dashboard"] = False
    try:
        with contextlib.redirect_stdout(sys.stderr):
            ray.init(address=address, **options)
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput(
            f"--address {address}: no Ray cluster can be joined ({first}); begin one with 'ray start --head', and run "
            "this on one of its nodes"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def spread(
    function: Callable[[In], Out], items: Sequence[In], sent: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, Out]]:
    """(index, result) of every item, in the order in which they are done; ``sent`` hears how many bytes each takes.

    A task whose worker or node dies is begun again elsewhere; the first error of the function itself is raised here, as
    it was there. Raises BadInput for a function or an item that cannot be sent, WorkFailed for a task that took
    ``RETRIES`` workers with it.
    """
    ray = _ray()
    packed = ray.put(_packed(function, getattr(function, "__name__", type(function).__name__)))
    place = ray.put(_place())
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
    waiting = enumerate(items)
    running: dict[Any, int] = {}
    try:
        while True:
            room = max(1, AHEAD * int(ray.cluster_resources().get("CPU", 1))) - len(running)
            for index, item in itertools.islice(waiting, max(0, room)):
                message = _packed(item, f"item {index}")
                sent(len(message))
                running[task.remote(place, packed, message)] = index
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            for ref in done:
                yield running.pop(ref), _result(ref)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


def _ray() -> Any:
    import ray

    return ray


def _result(ref: Any) -> Any:
    ray = _ray()
    try:
        fine, value = pickle.loads(ray.get(ref))  # bytes of our own worker
    except ray.exceptions.RayError as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WorkFailed(
            f"a task lost its worker {RETRIES + 1} times ({type(error).__name__}: {first}); what was finished is kept: "
            "give the nodes more memory, or run the same command again"
        ) from None
    if not fine:
        raise value
    return value


def _place() -> Place:
    rooms = sorted(name for name in sys.modules if name.startswith("backcast.") and name.count(".") == 1)
    return Place(os.getcwd(), code_version(), tuple(rooms))


def _packed(value: Any, name: str) -> bytes:
    try:
        packed: bytes = _ray().cloudpickle.dumps(value)
    except Exception as error:
        why = " ".join(str(error).split())
        raise BadInput(f"'{name}' cannot be sent to other machines ({why}); leave --engine ray out") from None
    return packed


def _call(place: Place, function: bytes, item: bytes) -> bytes:
    """One item, on a worker: (True, result) or (False, error), pickled."""
    dumps = _ray().cloudpickle.dumps
    try:
        _stand(place)
        answer: bytes = dumps((True, pickle.loads(function)(pickle.loads(item))))
    except FileNotFoundError as error:
        answer = dumps((False, WorkFailed(f"node {socket.gethostname()} does not see '{error.filename}'; {SHARED}")))
    except Exception as error:
        answer = _failed(error, dumps)
    return answer


def _failed(error: Exception, dumps: Callable[[Any], bytes]) -> bytes:
    """The error itself, with where it happened as a note; its words where it does not survive the journey."""
    error.add_note(f"on node {socket.gethostname()}:\n{traceback.format_exc()}")
    try:
        packed = dumps((False, error))
        pickle.loads(packed)
    except Exception:
        packed = dumps((False, WorkFailed(f"node {socket.gethostname()}: {type(error).__name__}: {error}")))
    return packed


SHARED = "inputs and --out must lie on storage that all nodes share, under the same path"


def _stand(place: Place) -> None:
    if code_version() != place.version:
        raise BadInput(
            f"node {socket.gethostname()} has another version of backcast ({code_version()}, here {place.version}); "
            "install the same on every node"
        )
    if os.getcwd() != place.folder and os.path.isdir(place.folder):
        os.chdir(place.folder)
    for name in place.modules:
        importlib.import_module(name)


def _knock(address: str) -> None:
    """Asks at HOST:PORT: Ray itself would wait for a minute."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise BadInput(f"--address '{address}' is not an address; give auto, local, or HOST:PORT of a cluster's head")
    try:
        socket.create_connection((host, int(port)), KNOCK).close()
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"--address {address}: nobody answers ({error}); give the address that 'ray start --head' printed"
        ) from None
