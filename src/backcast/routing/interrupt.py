"""Ctrl-C as a request: the first ends the search with the best so far, the second is an ordinary interrupt."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def stops_at_interrupt(stop: threading.Event) -> Iterator[None]:
    """Within it SIGINT sets ``stop``, a second one raises KeyboardInterrupt; not in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: Any) -> None:
        del number, frame
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
