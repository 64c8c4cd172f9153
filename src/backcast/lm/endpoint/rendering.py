"""From a conversation to the text and the tokens that the served model reads.

Scoring, and going on from a prefill, need the exact text that the model sees, without the template's end of turn.  The
assistant's text is never sent through the template, because templates of reasoning models cut or move ``<think>``
blocks: the template is applied up to the opening of the assistant's turn, and the text is appended.

Three ways, the first that is there is taken:

- a tokenizer folder, named in the address (``#name?tokenizer=DIR``): everything is done here, offsets are exact;
- ``/tokenize`` with messages and ``/detokenize``, as served by vLLM ("Tokenizer API" in its OpenAI-compatible server
  documentation) and by SGLang since 2026 (its native API documentation);
- ``/apply-template`` of llama.cpp's server (tools/server/README.md): text only; the server adds a first token itself.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import digest
from backcast.lm import chat
from backcast.lm.base import Prompt
from backcast.lm.endpoint.client import Client, Json, Refused

_HELLO = Prompt((("user", "Hi"),))

Offsets = list[tuple[int, int]]


class Tokenizer(Protocol):
    """Renders conversations and, except llama.cpp's, turns text into token ids."""

    templated: bool
    """False for a base model that has no chat template."""
    identity: str
    """What of it belongs into the fingerprint of the model; empty if it is the server's own."""

    def render(self, prompt: Prompt) -> str:
        """The text that the model reads before it goes on, prefill included, special tokens spelled out."""
        ...

    def encode(self, text: str) -> tuple[list[int] | None, Offsets | None]:
        """Token ids of a rendered text and their character offsets; None for what is not known."""
        ...

    def bare(self, text: str) -> str:
        """A rendered text without the first token that a server puts before a prompt sent as text."""
        ...


def find_tokenizer(client: Client) -> Tokenizer | None:
    """The first of the three ways that works with this server; None if none does."""
    if client.address.tokenizer is not None:
        return FolderTokenizer(client.address.tokenizer)
    for way in (_server_tokenizer, _server_template):
        found = way(client)
        if found is not None:
            return found
    return None


class FolderTokenizer:
    """A Hugging Face tokenizer folder on this machine."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **only)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(f"tokenizer folder '{folder}' cannot be loaded ({reason})") from error
        if not self._tokenizer.is_fast:
            raise BadInput(
                f"tokenizer folder '{folder}' has no tokenizer.json (a fast tokenizer is needed for offsets)"
            )
        self.templated = bool(self._tokenizer.chat_template)
        named = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
        self.identity = " ".join(f"{name}:{digest(folder / name)}" for name in named if (folder / name).exists())

    def render(self, prompt: Prompt) -> str:
        """As ``chat.render``."""
        return chat.render(self._tokenizer, prompt)

    def encode(self, text: str) -> tuple[list[int] | None, Offsets | None]:
        """Ids and offsets of the whole text; nothing is added to it."""
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(found["input_ids"]), [(int(start), int(end)) for start, end in found["offset_mapping"]]

    def bare(self, text: str) -> str:
        """Without the beginning-of-text token."""
        return text.removeprefix(self._tokenizer.bos_token or "")


class ServerTokenizer:
    """The server's ``/tokenize`` and ``/detokenize``."""

    identity = ""

    def __init__(self, client: Client, templated: bool) -> None:
        self._client, self.templated = client, templated
        # Each conversation costs three requests, and search asks about the same one hundreds of times.
        self._opening = lru_cache(maxsize=1024)(self._ask_opening)
        self._first = lru_cache(maxsize=1)(self._ask_first)

    def render(self, prompt: Prompt) -> str:
        """Raises WorkFailed if the text that the server makes of its tokens does not give the same tokens again."""
        if prompt.messages and self.templated:
            return chat.open_turn(self._opening(prompt.messages), prompt.prefill)
        return self._first() + chat.plain(prompt)

    def encode(self, text: str) -> tuple[list[int] | None, Offsets | None]:
        """Ids of the text; the server tells no offsets."""
        return self._tokens(prompt=text, add_special_tokens=False), None

    def bare(self, text: str) -> str:
        """Without the token that the server's own tokenizer puts first."""
        return text.removeprefix(self._first())

    def _tokens(self, **body: Any) -> list[int]:
        found = self._client.post("/tokenize", {"model": self._client.address.model, **body}).get("tokens")
        if not isinstance(found, list) or not all(isinstance(token, int) for token in found):
            raise WorkFailed(f"{self._client.address.root}/tokenize answered no list of token ids: {str(found)[:80]}")
        return found

    def _text(self, tokens: list[int]) -> str:
        # vLLM keeps special tokens and calls the answer "prompt"; SGLang drops them unless told not to, "text".
        body: Json = {"model": self._client.address.model, "tokens": tokens, "skip_special_tokens": False}
        found = self._client.post("/detokenize", body)
        text = found.get("prompt", found.get("text"))
        if not isinstance(text, str):
            raise WorkFailed(f"{self._client.address.root}/detokenize answered no text: {str(found)[:80]}")
        return text

    def _ask_opening(self, messages: tuple[tuple[str, str], ...]) -> str:
        tokens = self._tokens(messages=Prompt(messages).chat(), add_generation_prompt=True)
        text = self._text(tokens)
        if self._tokens(prompt=text, add_special_tokens=False) != tokens:
            raise WorkFailed(
                f"{self._client.address.root}: the text of a conversation ('{text[:60]}...') has other tokens than the "
                "conversation itself; add '?tokenizer=DIR' with the model's tokenizer folder after the model's name"
            )
        return text

    def _ask_first(self) -> str:
        bare, whole = (self._tokens(prompt="a", add_special_tokens=special) for special in (False, True))
        return self._text(whole[: len(whole) - len(bare)]) if whole != bare and whole[-len(bare) :] == bare else ""


class ServerTemplate:
    """llama.cpp's ``/apply-template``; its tokenizer adds the first token by itself."""

    templated = True
    identity = ""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._opening = lru_cache(maxsize=1024)(self._ask_opening)

    def render(self, prompt: Prompt) -> str:
        """The template's text with the prefill behind it."""
        return chat.open_turn(self._opening(prompt.messages), prompt.prefill) if prompt.messages else prompt.prefill

    def encode(self, text: str) -> tuple[list[int] | None, Offsets | None]:
        """Nothing: ``text`` is sent as text."""
        del text
        return None, None

    def bare(self, text: str) -> str:
        """``text``: the template leaves the first token out."""
        return text

    def _ask_opening(self, messages: tuple[tuple[str, str], ...]) -> str:
        return str(self._client.post("/apply-template", {"messages": Prompt(messages).chat()})["prompt"])


def _server_tokenizer(client: Client) -> ServerTokenizer | None:
    try:
        found = client.post("/tokenize", {"model": client.address.model, "messages": _HELLO.chat()})
    except Refused as error:
        # A base model has tokens but no template, and vLLM says so. Any other no (an older SGLang knows texts only)
        # must not be taken for that: the conversation would silently be rendered without its template.
        if "chat template" in str(error).replace("_", " ").lower():
            return ServerTokenizer(client, templated=False)
        return None
    return ServerTokenizer(client, templated=True) if found.get("tokens") else None


def _server_template(client: Client) -> ServerTemplate | None:
    try:
        found = client.post("/apply-template", {"messages": _HELLO.chat()})
    except Refused:
        return None
    return ServerTemplate(client) if isinstance(found.get("prompt"), str) else None
