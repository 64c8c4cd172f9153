"""Progress on stderr: a bar on a terminal, a line every five seconds elsewhere. Nothing here touches stdout."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

HEARTBEAT = 5.0
"""Seconds between lines where there is no terminal, so that a log shows that work goes on."""


class Progress:
    """A labelled count with an ETA and a few live figures. Use as a context manager; ``advance`` from any thread."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.figures: dict[str, str] = {}
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self._bar = _terminal_bar()
            self._task = self._bar.add_task(self.label, total=self.total, figures="")
            self._bar.start()
        else:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        if self._bar is not None:
            self._bar.stop()
        else:
            self._thread.join()
            if time.monotonic() - self._started > 1:
                print(self.line(), file=sys.stderr, flush=True)  # noqa: T201

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Progress is shown here only: in another process it is None."""
        return type(None), ()

    def advance(self, count: int = 1, **figures: object) -> None:
        """Counts ``count`` more as done and shows ``figures`` (name=value) beside the bar."""
        self.done += count
        self.figures.update({name: str(value) for name, value in figures.items()})
        if self._bar is not None:
            shown = " ".join(f"{name} {value}" for name, value in self.figures.items())
            self._bar.update(self._task, completed=self.done, figures=shown)

    def line(self) -> str:
        """The state as one line: label, count, figures, elapsed time, time left."""
        elapsed = time.monotonic() - self._started
        parts = [f"{self.label}: {self.done}/{self.total}"]
        parts += [f"{name} {value}" for name, value in self.figures.items()]
        parts.append(f"{clock(elapsed)} elapsed")
        if 0 < self.done < self.total:
            parts.append(f"about {clock(elapsed / self.done * (self.total - self.done))} left")
        return ", ".join(parts)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            print(self.line(), file=sys.stderr, flush=True)  # noqa: T201


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yields the items while showing how many are done; ``total`` when the items have no length."""
    count = total if total is not None else len(items)  # type: ignore[arg-type]
    with Progress(label, count) as progress:
        for item in items:
            yield item
            progress.advance()


def clock(seconds: float) -> str:
    """Seconds as ``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _terminal_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", style="cyan"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
