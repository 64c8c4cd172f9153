"""Training on several processes (``accelerate launch``, ``torchrun``): the first does the run, the others train along.

Only the first process reads the recipe, searches, judges, writes and prints. Whatever is to be trained it hands to
``together``, and all processes do that at the same time; the others wait in ``follow`` until there is more, or the end.
"""

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from backcast.core.errors import BadInput, WorkFailed

T = TypeVar("T")

_WORLD = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_PATIENCE = timedelta(days=30)
"""How long the others wait while the first one searches or judges."""
_SETTLING = 10.0
"""Seconds in which a launcher has ended every process after one failed."""

_channel: Any = None


def processes() -> int:
    """How many processes were started together; 1 without a launcher."""
    return _from_environment(_WORLD, 1)


def rank() -> int:
    """Which of them this is; 0 does the run."""
    return _from_environment(_RANK, 0)


def _from_environment(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), default)


@contextlib.contextmanager
def led() -> Iterator[None]:
    """In the first process: the others are there for ``together`` while the block runs, and end with it."""
    global _channel
    if processes() == 1:
        yield
        return
    _refuse_shares()
    _channel = _join()
    try:
        yield
    finally:
        if _channel is not None:
            _tell(None)
            _channel = None


def follow() -> int:
    """In every other process: does what the first hands out, silently, until it ends. Returns the exit code."""
    import cloudpickle

    global _channel
    said = os.fdopen(os.dup(2), "w")
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what C++ says, too
        os.dup2(nothing, stream)
    try:
        _channel = _join()
        while (work := _tell(None)) is not None:
            cloudpickle.loads(work)()
    except (BadInput, WorkFailed) as error:
        after_the_first()
        said.write(f"backcast: process {rank()}: {' '.join(str(error).split())}\n")
        return 2 if isinstance(error, BadInput) else 1
    except BaseException:
        said.write(f"process {rank()}:\n{traceback.format_exc()}")
        return 1
    finally:
        said.close()
    return 0


def together(work: Callable[[], T]) -> T:
    """Does ``work`` in all processes at once and returns what it gave here; by itself without others.

    Raises BadInput when there are others and none of them follows (a library call outside of ``led``).
    """
    global _channel
    if processes() == 1:
        return work()
    if _channel is None:
        raise BadInput("several processes were started, but only the command 'run' leads them; start one")
    import cloudpickle

    channel, packed = _channel, cloudpickle.dumps(work)
    _tell(packed)
    _channel = None  # an error in the middle leaves the others where no message reaches them: their launcher ends them
    found = work()
    _channel = channel
    return found


def first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def after_the_first() -> None:
    """Before another process tells its own error: the first one's, usually the same, ends all of them."""
    if not first():
        time.sleep(_SETTLING)


def on_cpu() -> bool:
    """Whether training has to say that it wants no GPU: accelerate would not join processes without one."""
    import torch

    return processes() > 1 and not torch.cuda.is_available()


def share(rows: int, name: str) -> int:
    """How many of ``rows`` a process takes; BadInput when they cannot be shared out evenly."""
    count = processes()
    if rows % count:
        raise BadInput(f"{name} = {rows} cannot be shared out to {count} processes; make it a multiple of {count}")
    return rows // count


def _refuse_shares() -> None:
    """Raises BadInput where the launcher asks for a model cut up: what the first process saves would be a share."""
    for name, what in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(name, "").lower() == "true":
            raise BadInput(f"{what} cuts a model up, and a run saves that of one process; launch with MULTI_GPU or DDP")


def _join() -> Any:
    import torch.distributed
    from accelerate import PartialState

    found = PartialState(cpu=on_cpu()).num_processes
    if found != processes():
        raise BadInput(
            f"the launcher speaks of {processes()} processes, accelerate found {found}; start with accelerate "
            "launch or torchrun"
        )
    # Not the trainers' own group: messages wait for days, and on GPUs that one carries tensors only.
    return torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)


def _tell(message: bytes | None) -> bytes | None:
    """Sends from the first process, receives in the others."""
    import torch.distributed

    box = [message]
    torch.distributed.broadcast_object_list(box, src=0, group=_channel)
    return box[0]
