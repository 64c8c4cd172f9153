"""``backcast serve``: a model behind the OpenAI interface, with an engine that exists."""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from backcast.cli import tables

if TYPE_CHECKING:
    from backcast.lm.serving import Server

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Options:
    """Serves a model over the OpenAI interface (chat, streaming, tools) until you stop it; packed folders too."""

    model: Annotated[str, tyro.conf.Positional]
    """A folder (plain, or what `backcast compress` wrote), an alias, a hub id, or a .gguf file."""
    engine: Literal["auto", "transformers", "vllm", "llama.cpp"] = "auto"
    """auto: llama.cpp for .gguf files, vllm for plain folders where it is installed and a GPU is there, else
    transformers."""
    host: str = "127.0.0.1"
    """Only this machine can reach the default; 0.0.0.0 lets everybody in, without a password."""
    port: int = 8000
    """0 takes a free one."""
    name: str | None = None
    """By which clients ask for the model (default: the folder's or file's name)."""
    check: bool = False
    """Start, wait until it answers, ask once, stop."""


def main(options: Options) -> dict[str, Any]:
    """Starts the engine, waits until it answers, tells where on stderr, and serves until it is stopped."""
    from backcast.lm.serving import Server, Serving, choose

    choice = choose(options.model, options.engine)
    name = options.name or (Path(options.model).name if choice.engine == "llama.cpp" else _short(options.model))
    serving = Serving(name.removesuffix(".gguf"), options.host, options.port, ("backcast.compress",))
    if options.host not in LOOPBACK:
        _say(f"anybody who reaches {options.host} can use this server: it has no password")
    with _terminated_politely(), Server(choice, serving) as server:
        _say(f"{choice.engine} loads {choice.path}; its log: {server.log}")
        answer = server.wait_until_healthy()
        if not options.check:
            _tell(server)
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
    return {
        "url": server.url,
        "model": serving.name,
        "engine": choice.engine,
        "path": str(choice.path),
        "answer": answer["choices"][0]["text"],
    }


def show(result: dict[str, Any]) -> None:
    """Prints what was served."""
    tables.console().print(f"{result['engine']} served '{result['model']}' and answered; stopped", soft_wrap=True)


def _short(model: str) -> str:
    """The last part of a path or a hub id; an alias is its own."""
    return Path(model).expanduser().resolve().name or model


def _tell(server: "Server") -> None:
    name, url = server.serving.name, server.url
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}]})
    _say(f"{server.choice.engine} serves '{name}' at {url}; Ctrl-C stops it")
    _say(f"  curl {url}/chat/completions -H 'Content-Type: application/json' -d '{body}'")


@contextlib.contextmanager
def _terminated_politely() -> Iterator[None]:
    """SIGTERM ends the engine as Ctrl-C does, instead of leaving it to notice."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
