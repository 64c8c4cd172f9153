"""What the processes of engines share: they end when whoever started them does, however that ended."""

import os
import sys
import threading


def end_with_parent() -> None:
    """Ends this process when its standard input closes: the starter holds the other end until it dies."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
