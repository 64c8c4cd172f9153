"""One map for everything that goes over items: serial, processes or threads on this machine (joblib), or a cluster
(Ray)."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from backcast.core.errors import BadInput, nearest
from backcast.core.progress import Progress

In = TypeVar("In")
Out = TypeVar("Out")
Done = Generator[tuple[int, Out], None, None]

_elsewhere: ContextVar["Elsewhere | None"] = ContextVar("elsewhere", default=None)


class Elsewhere:
    """A cluster in use, and how much was given to it."""

    def __init__(self) -> None:
        self.items = 0
        self.largest = 0
        """Bytes of the largest item sent."""

    def sent(self, size: int) -> None:
        """Counts an item of ``size`` bytes."""
        self.items += 1
        self.largest = max(self.largest, size)


@contextlib.contextmanager
def on_cluster(address: str = "auto") -> Iterator[Elsewhere]:
    """Within the block every ``pmap`` goes to the Ray cluster at ``address`` (``cluster.connected`` says which).

    Only "serial", said outright, stays here. Raises BadInput when Ray is not installed or nobody answers.
    """
    from backcast.core.cluster import connected

    with connected(address):
        token = _elsewhere.set(Elsewhere())
        try:
            found = _elsewhere.get()
            assert found is not None
            yield found
        finally:
            _elsewhere.reset(token)


def pmap(
    function: Callable[[In], Out],
    items: Sequence[In],
    *,
    jobs: int = 1,
    engine: str | None = None,
    label: str | None = None,
    size: Callable[[In], int] = lambda _: 1,
    done: Callable[[Out], None] = lambda _: None,
) -> list[Out]:
    """``[function(item) for item in items]``, spread over ``jobs`` workers (-1: all cores); results in item order.

    ``engine``: "serial", "processes", "threads" for work that lets go of the interpreter, or "ray" within
    ``on_cluster``, where it takes the place of the last two and of the default, and uses every processor of the
    cluster; by default serial for one job. The results do not depend on it. The first error stops the map and is
    raised here. A ``label`` shows progress, in which an item counts for ``size(item)``. ``done`` hears of each result
    here, in item order, as soon as that allows.
    """
    chosen = engine or ("serial" if jobs == 1 else "processes")
    if chosen not in ENGINES:
        raise BadInput(f"unknown engine '{chosen}'{nearest(chosen, ENGINES)}")
    if _elsewhere.get() is not None and engine != "serial":
        chosen = "ray"
    results = ENGINES[chosen](function, items, jobs)
    shown: contextlib.AbstractContextManager[Progress | None] = contextlib.nullcontext()
    if label is not None:
        shown = Progress(label, sum(map(size, items)))
    found: dict[int, Out] = {}
    told = 0
    with shown as progress, contextlib.closing(results):
        for index, result in results:
            found[index] = result
            if progress is not None:
                progress.advance(size(items[index]))
            while told in found:
                done(found[told])
                told += 1
    return [found[index] for index in range(len(items))]


def _serial(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Done[Out]:
    del jobs
    yield from ((index, function(item)) for index, item in enumerate(items))


def _processes(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Done[Out]:
    yield from _joblib(function, items, jobs, "loky")


def _threads(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Done[Out]:
    yield from _joblib(function, items, jobs, "threading")


def _joblib(function: Callable[[In], Out], items: Sequence[In], jobs: int, backend: str) -> Done[Out]:
    from joblib import Parallel, delayed

    # One item a task: items here take from milliseconds to minutes, and auto-batching would hold results back.
    parallel = Parallel(n_jobs=jobs, backend=backend, return_as="generator_unordered", batch_size=1)
    results: Iterator[tuple[int, Out]] = parallel(
        delayed(_numbered)(function, index, item) for index, item in enumerate(items)
    )
    yield from results


def _numbered(function: Callable[[In], Out], index: int, item: In) -> tuple[int, Out]:
    return index, function(item)


def _ray(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Done[Out]:
    del jobs  # a cluster has as many as it has processors
    from backcast.core.cluster import spread

    here = _elsewhere.get()
    if here is None:
        raise BadInput("engine 'ray' needs a cluster: with on_cluster(address): ..., or --engine ray --address auto")
    yield from spread(function, items, here.sent)


ENGINES: dict[str, Callable[[Callable[..., Any], Sequence[Any], int], Done[Any]]] = {
    "serial": _serial,
    "processes": _processes,
    "threads": _threads,
    "ray": _ray,
}
"""The engines by name; each yields (index, result) as results come."""
