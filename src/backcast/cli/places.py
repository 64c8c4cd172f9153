"""Where a command's work is done: here, on a Ray cluster, or on the processes that a launcher started."""

import contextlib
import sys
from collections.abc import Iterator

from backcast.core.errors import BadInput

SPREAD = (
    *("compress", "judge", "reason", "game gap", "route solve"),
    *(f"run {name}" for name in ("alphamed", "games", "reer", "routing", "splitquant", "story", "study", "wgm")),
)
"""What goes over items, and so takes ``--engine ray``."""

TRAINED = tuple(f"run {name}" for name in ("alphamed", "hicra", "rethinker", "story", "study"))
"""What trains through TRL, and so may be started as several processes."""

_JOINED = ("--engine=ray", "--address=")


def address(words: list[str]) -> tuple[list[str], str | None]:
    """The words without ``--engine ray --address A``, and A (None without them).

    Where the work is done is no setting of it: the results are the same, and a run may go on elsewhere. Other engines
    are settings of their verbs.
    """
    kept, engine, found = list[str](), False, None
    rest = [part for word in words for part in (word.split("=", 1) if word.startswith(_JOINED) else [word])]
    while rest:
        word = rest.pop(0)
        if word == "--engine" and rest[:1] == ["ray"]:
            engine = bool(rest.pop(0))
        elif word == "--address":
            if not rest:
                raise BadInput("--address needs one: auto, local, or HOST:PORT of a cluster's head")
            found = rest.pop(0)
        else:
            kept.append(word)
    if found is not None and not engine:
        raise BadInput(f"--address {found} is where a cluster is: give --engine ray with it")
    return kept, (found or "auto") if engine else None


@contextlib.contextmanager
def placed(address: str | None, name: str) -> Iterator[None]:
    """On the cluster at ``address``, if any; BadInput for a command that goes over no items."""
    if address is None:
        yield
        return
    from backcast.core.parallel import on_cluster

    if name not in SPREAD:
        raise BadInput(
            f"'{name}' has nothing to spread over a cluster; leave --engine ray out (it is for {', '.join(SPREAD)})"
        )
    with on_cluster(address) as there:
        yield
    if there.items == 0:
        print("backcast: --engine ray: everything had been done before, nothing was sent", file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def led(name: str) -> Iterator[None]:
    """With the other processes of the launch, if there are any; BadInput for a command that trains nothing."""
    from backcast.learn import ranks

    if ranks.processes() == 1:
        yield
        return
    if name not in TRAINED:
        raise BadInput(
            f"'{name}' works in one process, and {ranks.processes()} were started; start one (several are for "
            f"{', '.join(TRAINED)})"
        )
    with ranks.led():
        yield
