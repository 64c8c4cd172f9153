"""A served model that sees: pictures as data URLs, tools as the server's own ``tools``."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

from backcast.core.errors import BadInput, WorkFailed
from backcast.lm.base import Sampling
from backcast.lm.endpoint.address import Address, Options
from backcast.lm.endpoint.client import Client, Json, Refused
from backcast.lm.endpoint.model import _find_model
from backcast.lm.endpoint.sampling import ask, choices, text_of
from backcast.lm.sight import Call, Reply, Tool, Turn

PNG_PIXELS = 1 << 21
"""Larger pictures travel as JPEG of quality 95: a photograph as PNG is ten times its size."""


class ServedSight:
    """An OpenAI-compatible server (vLLM, SGLang, llama.cpp, a hosted one) whose model takes pictures.

    A tool's turn becomes a ``tool`` message with its text, and one ``user`` message with the pictures of all tool turns
    in a row: the interface allows no pictures in a ``tool`` message. A call that stood in the text, because the server
    does not read calls, is answered by a ``user`` message alone.

    The model is not asked anything when this is made, so the fingerprint names the server's model card only.
    Raises BadInput if the server cannot be reached or does not have the model; ``reply`` raises BadInput if it refuses
    pictures, WorkFailed with its own words if it fails.
    """

    def __init__(self, url: str, options: Options | None = None) -> None:
        self.name = url
        self._client = Client(Address.parse(url, options))
        try:
            card = _find_model(self._client)
        except BaseException:
            self._client.close()
            raise
        address = self._client.address
        self._client.address = type(address)(address.base, str(card["id"]), address.tokenizer, address.options)
        facts = {key: card[key] for key in ("id", "root", "parent") if key in card}
        self.fingerprint = "sight-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def reply(self, conversations: Sequence[Sequence[Turn]], tools: Sequence[Tool], sampling: Sampling) -> list[Reply]:
        """As ``Sight.reply``: one request each, several under way at once."""
        return self._client.each(lambda turns: self._one(turns, tools, sampling), conversations)

    def _one(self, turns: Sequence[Turn], tools: Sequence[Tool], sampling: Sampling) -> Reply:
        body: Json = {"messages": messages(turns), "temperature": sampling.temperature, "top_p": sampling.top_p}
        body |= {"max_tokens": sampling.max_tokens, "seed": sampling.seed}
        if tools:
            body["tools"] = list(tools)
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        try:
            answer = ask(self._client, "chat/completions", body)
        except Refused as refusal:
            words = str(refusal).lower()
            if any(turn.pictures for turn in turns) and any(word in words for word in ("image", "multimodal")):
                raise BadInput(
                    f"'{self.name}' takes no pictures ({refusal}); serve a vision-language model, "
                    "or start this one with its image input (llama.cpp: --mmproj)"
                ) from None
            raise
        choice = choices(self._client, answer)[0]
        usage = answer.get("usage") or {}
        sampled, read = (usage.get(key) for key in ("completion_tokens", "prompt_tokens"))
        if not isinstance(sampled, int) or not isinstance(read, int):
            raise WorkFailed(f"{self._client.address.base}: the server does not say how many tokens it used (usage)")
        finished = choice.get("finish_reason") != "length"
        return Reply(text_of(choice), _calls(choice.get("message")), sampled, read, finished)


def messages(turns: Sequence[Turn]) -> list[Json]:
    """The conversation as OpenAI's chat interface takes it."""
    found: list[Json] = []
    waiting: list[Json] = []
    for turn in turns:
        if turn.role != "tool" and waiting:
            found.append({"role": "user", "content": waiting})
            waiting = []
        if turn.role == "tool" and turn.answers:
            found.append({"role": "tool", "tool_call_id": turn.answers, "content": turn.text})
            if turn.pictures:
                waiting += _content(turn.parts)
        elif turn.role == "tool":
            waiting += _content(turn.parts)
        else:
            found.append(_message(turn))
    return [*found, {"role": "user", "content": waiting}] if waiting else found


def _message(turn: Turn) -> Json:
    if not turn.pictures:
        message: Json = {"role": turn.role, "content": turn.text}
    else:
        message = {"role": turn.role, "content": _content(turn.parts)}
    if turn.calls:
        message["content"] = turn.text or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
            }
            for call in turn.calls
        ]
    return message


def _content(parts: Sequence[Any]) -> list[Json]:
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(part)}}
        for part in parts
    ]


def data_url(picture: Any) -> str:
    """A picture (PIL, RGB) as a data URL: PNG, or JPEG above ``PNG_PIXELS`` pixels."""
    kind = "png" if picture.width * picture.height <= PNG_PIXELS else "jpeg"
    held = io.BytesIO()
    picture.save(held, kind.upper(), **({"quality": 95} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"


def _calls(message: Any) -> tuple[Call, ...]:
    found = message.get("tool_calls") if isinstance(message, dict) else None
    return tuple(_call(item, number) for number, item in enumerate(found or []) if isinstance(item, dict))


def _call(item: Json, number: int) -> Call:
    function = item.get("function") or {}
    name, raw = str(function.get("name") or ""), function.get("arguments")
    id = str(item.get("id") or f"call_{number}")
    try:
        arguments = raw if isinstance(raw, dict) else json.loads(raw or "{}")
    except (TypeError, ValueError) as error:
        return Call(name, {}, id, f"the arguments are not JSON ({error})")
    if not isinstance(arguments, dict):
        return Call(name, {}, id, f"the arguments must be a JSON object, found {json.dumps(arguments)[:40]}")
    return Call(name, arguments, id)
