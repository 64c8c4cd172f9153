"""Ctrl-C as a user gives it: a process of its own, ended once it has found something."""

import signal
import subprocess
import sys
import time

CODE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from backcast.cli import main; "


def interrupted(words: list[str]) -> tuple[subprocess.Popen, str, str]:
    """The ended process of ``backcast WORDS``, its stdout, and what it said after the interrupt."""
    running = subprocess.Popen(
        [sys.executable, "-c", f"{CODE} raise SystemExit(main({words!r}))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in running.stderr:
        if "cost" in line:  # the bar's second line: something has been found
            break
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    out, said = running.communicate(timeout=120)
    return running, out, said
