"""A running server: started, waited for, asked once, stopped."""

import contextlib
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import cache_folder
from backcast.lm.serving.choice import Choice

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Serving:
    """Where and under which name a model is served."""

    name: str
    """By which clients ask for it."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    preload: tuple[str, ...] = ()
    """Modules that the engine's process imports before it loads the model."""
    patience: float = 900.0
    """Seconds for loading the model."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInput(f"the name '{self.name}' must be letters, digits, '.', '_', '-'; choose one by --name")
        if not 0 <= self.port < 65536:
            raise BadInput(f"the port must be 0 (any free one) to 65535, found {self.port}")


class Server:
    """An engine's process that answers. Leaving the context stops it; it also ends when this process dies.

    Raises BadInput if the port is taken, WorkFailed if the engine ends or stays silent before it answered once.
    """

    def __init__(self, choice: Choice, serving: Serving) -> None:
        self.port = _free(serving.host, serving.port)
        reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(serving.host, serving.host)
        self.url = f"http://{reached}:{self.port}/v1"
        """The OpenAI interface."""
        self.log = _log(f"{serving.name}-{self.port}.log")
        """What the engine prints."""
        self.choice, self.serving = choice, serving
        command = choice.command(serving.name, serving.host, self.port, serving.preload)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_healthy(self) -> dict[str, Any]:
        """Waits for the model to load, then asks for one token; that answer."""
        until = time.monotonic() + self.serving.patience
        while not self._healthy():
            if self.process.poll() is not None:
                raise WorkFailed(f"{self.choice.engine} ended while loading: {self._last_words()} (log: {self.log})")
            if time.monotonic() > until:
                raise WorkFailed(f"{self.choice.engine} is silent after {self.serving.patience:g} s (log: {self.log})")
            time.sleep(0.2)
        return self.ask("Hello", 1)

    def ask(self, prompt: str, tokens: int) -> dict[str, Any]:
        """The completion of ``prompt``, as the server words it; greedy."""
        body = {"model": self.serving.name, "prompt": prompt, "max_tokens": tokens, "temperature": 0.0}
        try:
            answer = httpx.post(f"{self.url}/completions", json=body, timeout=self.serving.patience)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise WorkFailed(f"{self.choice.engine} is up and does not answer: {error} (log: {self.log})") from error
        return found

    def wait(self) -> None:
        """Until the engine ends by itself, which it should not: then WorkFailed."""
        code = self.process.wait()
        raise WorkFailed(f"{self.choice.engine} ended with code {code}: {self._last_words()} (log: {self.log})")

    def stop(self) -> None:
        """Ends the engine: politely, after ten seconds by force."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _healthy(self) -> bool:
        try:
            return httpx.get(self.url.removesuffix("/v1") + "/health", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"


def _free(host: str, port: int) -> int:
    """``port``, or a free one for 0. Raises BadInput if another process has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            raise BadInput(f"cannot listen on {host}:{port}: {error}; choose another --port or --host") from error
        found: int = probe.getsockname()[1]
        return found


def _log(name: str) -> Path:
    folder = cache_folder() / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
