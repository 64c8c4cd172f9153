"""A served model as an ``LM``: which model it is, and how likely texts are under it; drawing is ``sampling``."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

from backcast.core.errors import BadInput, nearest
from backcast.lm.base import Completion, Prompt, Sampling, Scoring, TokenScores
from backcast.lm.endpoint.address import Address, Options
from backcast.lm.endpoint.client import Client, Json, Refused
from backcast.lm.endpoint.sampling import PLAIN, Sampler, ask, choices, text_of
from backcast.lm.endpoint.scoring import KNOWN, Scorer, find_scorer, self_check

_TELLING = Prompt((("user", "Write the first sentence of a story about a lighthouse keeper."),))
_SURE = Prompt((("user", "Count from one to ten in words."),))
_PROBE_TOKENS = 32


class EndpointLM:
    """An OpenAI-compatible server. ``url`` is ``http(s)://host:port/v1#model``; the name may be left out.

    **Sampling.** A prompt without prefill is a chat completion, so the server applies its template; thinking that the
    server took out of the text is put back in tags.  With a prefill, the rendered conversation goes to ``/completions``
    where rendering is possible (see ``rendering``); otherwise the server must be seen to continue a last assistant
    message (``continue_final_message`` of vLLM and SGLang, or by itself).  Servers of known kinds are told to leave out
    their own ``top_k``, ``min_p`` and ``repetition_penalty``, which would otherwise bend the distribution silently
    (llama.cpp defaults to 40 and 0.05; vLLM takes them from the model's generation_config.json).  Where ``n`` is not
    honoured, or its completions cannot be counted, n requests are made with seeds ``seed .. seed + n - 1``.  The same
    seed gives the same text as far as the server keeps that promise; the call cache keeps it in any case.

    **Scoring.** See ``scoring``. The first call compares two routes to the same numbers and fails if they disagree.

    **Fingerprint.** The model's id, root, parent and size as reported by ``/models`` (``created`` is the time of the
    request on some servers and is left out), the tokenizer folder's files, and the greedy answer to a fixed question:
    other weights under the same name are noticed, another host is not.  Servers of known kinds repeat themselves when
    idle and are asked for the beginning of a story, which even little training changes; others (hosted ones are not
    deterministic) are asked to count to ten, so that a cache survives a restart.  No log-probability is part of it:
    rounded numbers flip when a busy server's last digits move.

    Raises BadInput if the server cannot be reached or does not have the model.
    """

    def __init__(self, url: str, options: Options | None = None) -> None:
        self.name, self._options = url, options
        self._client = Client(Address.parse(url, options))
        try:
            self._connect()
        except BaseException:
            self._client.close()
            raise

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """A server travels as its address; the key comes from the environment where it arrives."""
        return _reached, (self.name, self._options)

    def __repr__(self) -> str:
        return f"EndpointLM('{self.name}')"

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """As ``LM.sample``. Raises WorkFailed with the server's own words if it fails or refuses."""
        return self._sampler.sample(prompts, n, sampling) if prompts else []

    def logprobs(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        """As ``LM.logprobs``; the first call checks the server before it scores anything.

        Raises BadInput if the server has no prompt log-probabilities or cannot render a conversation, WorkFailed if its
        two routes to the same numbers disagree, or its answers are not understood.
        """
        if not items:
            return []
        scorer, tokenizer = self._scorer, self._sampler.tokenizer
        assert tokenizer is not None, "there is no scorer without one"
        before = self._client.each(lambda item: tokenizer.render(item.prompt), items)
        jobs = [
            (read, text, start)
            for read, item in zip(before, items, strict=True)
            for text, start in zip(item.continuations, item.starts, strict=True)
        ]
        flat = iter(self._client.each(lambda job: scorer.score(*job), jobs))
        return [[next(flat) for _ in item.continuations] for item in items]

    @cached_property
    def _scorer(self) -> Scorer:
        scorer = find_scorer(self._client, self._sampler.tokenizer)
        self_check(scorer, self._client)
        return scorer

    def _connect(self) -> None:
        card = _find_model(self._client)
        self.address = self._client.address = replace(self._client.address, model=str(card["id"]))
        plain = PLAIN if card.get("owned_by") in ("vllm", "sglang", "llamacpp") else {}
        path, said = _probe(self._client, _TELLING if plain else _SURE, plain)
        self._sampler = Sampler(self._client, plain, chats=path != "completions")
        self.fingerprint = self._identify(card, said)

    def _identify(self, card: Json, said: str) -> str:
        facts: Json = {name: card[name] for name in ("id", "root", "parent") if name in card}
        meta = card["meta"] if isinstance(card.get("meta"), dict) else {}
        facts |= {name: meta[name] for name in ("n_params", "n_vocab", "n_embd", "size", "ftype") if name in meta}
        tokenizer = self._sampler.tokenizer if self.address.tokenizer else None
        parts = ["endpoint", facts, said, tokenizer.identity if tokenizer else ""]
        return "endpoint-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _find_model(client: Client) -> Json:
    """The server's card of the model that the address names, or of its only model."""
    wanted, base = client.address.model, client.address.base
    try:
        listed = client.get("models").get("data")
    except Refused:  # some servers list nothing and serve whatever is named
        listed = None
    cards = [card for card in listed or [] if isinstance(card, dict) and card.get("id")]
    for card in cards:
        if wanted in (card["id"], *(card.get("aliases") or [])):
            return card
    known = [str(card["id"]) for card in cards]
    if wanted and cards:
        raise BadInput(f"endpoint '{base}' has no model '{wanted}'{nearest(wanted, known)}")
    if not wanted and len(cards) != 1:
        what = f"serves {len(known)} models ({', '.join(known[:8])})" if cards else "does not list its models"
        raise BadInput(f"endpoint '{base}' {what}; name one: {base}#NAME")
    return cards[0] if cards else {"id": wanted}


def _probe(client: Client, question: Prompt, plain: Json) -> tuple[str, str]:
    """The interface that answers, and what the model says, greedily; a base model goes on with ``KNOWN`` instead."""
    asked = {"max_tokens": _PROBE_TOKENS, "temperature": 0.0, "seed": 0, **plain}
    try:
        path, body = "chat/completions", {"messages": question.chat(), **asked}
        answer = ask(client, path, body)
    except Refused as refusal:
        path, body = "completions", {"prompt": KNOWN, **asked}
        try:
            answer = ask(client, path, body)
        except Refused:
            raise refusal from None
    return path, text_of(choices(client, answer)[0])


@lru_cache(maxsize=4)
def _reached(url: str, options: Options | None) -> EndpointLM:
    return EndpointLM(url, options)
