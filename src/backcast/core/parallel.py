"""One map for everything that goes over items: serial, or processes or threads on this machine (joblib)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from backcast.core.errors import BadInput, nearest
from backcast.core.progress import track

In = TypeVar("In")
Out = TypeVar("Out")


def pmap(
    function: Callable[[In], Out],
    items: Sequence[In],
    *,
    jobs: int = 1,
    engine: str | None = None,
    label: str | None = None,
) -> list[Out]:
    """``[function(item) for item in items]``, spread over ``jobs`` workers (-1: all cores); results in item order.

    ``engine``: "serial", "processes", or "threads" for work that lets go of the interpreter; by default serial for one
    job. The results do not depend on it. The first
    error stops the map and is raised here. A ``label`` shows progress.
    """
    chosen = engine or ("serial" if jobs == 1 else "processes")
    if chosen not in ENGINES:
        raise BadInput(f"unknown engine '{chosen}'{nearest(chosen, ENGINES)}")
    results: Iterable[Any] = ENGINES[chosen](function, items, jobs)
    if label is not None:
        results = track(results, label, len(items))
    return list(results)


def _serial(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Iterator[Out]:
    del jobs
    return map(function, items)


def _processes(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Iterator[Out]:
    from joblib import Parallel, delayed

    # One item a task: items here take from milliseconds to minutes, and auto-batching would hold results back.
    parallel = Parallel(n_jobs=jobs, backend="loky", return_as="generator", batch_size=1)
    results: Iterator[Out] = parallel(delayed(function)(item) for item in items)
    return results


def _threads(function: Callable[[In], Out], items: Sequence[In], jobs: int) -> Iterator[Out]:
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, backend="threading", return_as="generator", batch_size=1)
    results: Iterator[Out] = parallel(delayed(function)(item) for item in items)
    return results


ENGINES: dict[str, Callable[[Callable[..., Any], Sequence[Any], int], Iterator[Any]]] = {
    "serial": _serial,
    "processes": _processes,
    "threads": _threads,
}
"""The engines by name; a cluster back-end joins by one more entry."""
