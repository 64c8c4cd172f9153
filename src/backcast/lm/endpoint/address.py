"""Where a model is served: ``http(s)://host:port/v1#name?option=value``, in parts."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from backcast.core.errors import BadInput, nearest


@dataclass(frozen=True)
class Options:
    """How to talk to the server; times in seconds. ``in_flight``, ``timeout``, ``tolerance`` may stand in the URL."""

    timeout: float = 600.0
    """For one answer; generous, because long completions on a busy server take minutes."""
    retries: int = 6
    """Further attempts after a 408, 425, 429, any 5xx, a lost connection or a time-out."""
    backoff: float = 0.5
    """First pause; doubles each time, with jitter of a half either way. The server's ``Retry-After`` goes first."""
    longest_wait: float = 60.0
    """No pause is longer, whatever the server asks for."""
    in_flight: int = 16
    """Requests under way at once."""
    tolerance: float = 0.05
    """Largest difference, nats per token, that the self-check of scoring accepts. Servers compute in half precision,
    where two routes to one number differ by a few hundredths; a shifted token or a temperature differs by far more."""


@dataclass(frozen=True)
class Address:
    """A parsed endpoint address."""

    base: str
    """The OpenAI interface, without a slash at the end: ``http://localhost:8000/v1``."""
    model: str = ""
    """Name at the server; empty means: the only one it serves."""
    tokenizer: Path | None = None
    """Folder of the model's tokenizer, for servers that cannot render a conversation."""
    options: Options = field(default_factory=Options)

    @property
    def root(self) -> str:
        """The server itself, where its own interface (``/tokenize``, ``/generate``) lives."""
        return self.base.removesuffix("/v1")

    @classmethod
    def parse(cls, url: str, options: Options | None = None) -> "Address":
        """The parts of ``url``. Raises BadInput for an address without host or path, a password, an unknown option."""
        base, _, rest = url.partition("#")
        model, _, query = rest.partition("?")
        parts = urlsplit(base)
        if parts.username or parts.password:
            raise BadInput("endpoint address holds a user name or password; put the key into BACKCAST_API_KEY instead")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise BadInput(f"endpoint: '{url}' is no address; give http://HOST:PORT/v1 or http://HOST:PORT/v1#MODEL")
        if parts.path in ("", "/"):
            raise BadInput(f"endpoint: '{url}' has no path; the OpenAI interface is usually {base.rstrip('/')}/v1")
        address = cls(base.rstrip("/"), model, options=options or Options())
        for option in filter(None, query.split("&")):
            name, _, value = option.partition("=")
            address = address._with(name, value)
        return address

    def _with(self, name: str, value: str) -> "Address":
        if name == "tokenizer":
            folder = Path(value).expanduser()
            if not folder.is_dir():
                raise BadInput(f"endpoint option tokenizer: '{value}' is no folder; give the model's tokenizer folder")
            return replace(self, tokenizer=folder)
        kinds = {"timeout": float, "tolerance": float, "in_flight": int}
        if name not in kinds:
            raise BadInput(f"endpoint option '{name}' is unknown{nearest(name, [*kinds, 'tokenizer'])}")
        try:
            number = kinds[name](value)
        except ValueError:
            number = 0
        if not 0 < number < float("inf"):
            raise BadInput(f"endpoint option {name}: '{value}' is no positive number")
        return replace(self, options=replace(self.options, **{name: number}))
