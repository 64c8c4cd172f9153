"""How likely a given text is, from servers that tell: three shapes of prompt log-probabilities, one meaning.

- vLLM: ``/v1/completions`` with ``prompt_logprobs`` (vLLM documentation, "OpenAI-Compatible Server", extra parameters
  of the Completions API).  ``choices[0].prompt_logprobs`` has one entry per prompt token: null for the first, else an
  object keyed by token id holding the most likely token *and* the prompt's own, in no promised order (vLLM issues
  2043, 3752, 10607), so the entry is looked up by id.  vLLM recomputes the whole prompt for such requests.
- SGLang: its own ``/generate`` with ``return_logprob`` and ``logprob_start_len`` (SGLang documentation, "Sampling
  Parameters" and "Native APIs").  ``meta_info.input_token_logprobs`` lists ``[logprob, id, text]`` from there on, and
  the first one's logprob is null, since its predictor was not run (strands-sglang issue 34): start one token early.
- The old OpenAI shape: ``/v1/completions`` with ``echo`` and ``logprobs`` (OpenAI API reference, "Create completion").
  ``choices[0].logprobs`` holds ``token_logprobs`` (null first) and ``text_offset``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from backcast.core.errors import BadInput, WorkFailed
from backcast.lm.base import TokenScores
from backcast.lm.endpoint.aligning import Spans, align_end
from backcast.lm.endpoint.client import Client, Json, Refused
from backcast.lm.endpoint.rendering import Tokenizer
from backcast.lm.endpoint.sampling import ask, choices

KNOWN = "The quick brown fox jumps over the lazy dog. One, two, three, four,"
"""The text that the self-check continues greedily and then scores."""

_GREEDY = 8  # tokens of it


class Scorer(Protocol):
    """One shape of prompt log-probabilities."""

    shape: str

    def score(self, before: str, text: str, start: int) -> TokenScores:
        """Scores of the tokens of ``text``, read after ``before``, that reach beyond its character ``start``."""
        ...

    def greedy(self, text: str, tokens: int) -> list[tuple[str, float]]:
        """The most likely continuation of ``text``: each token's text and log-probability as it was sampled."""
        ...


def find_scorer(client: Client, tokenizer: Tokenizer | None) -> Scorer:
    """The first shape that the server answers in. Raises BadInput, naming the kinds of server that have one."""
    shapes = ((_speaks_vllm, VllmScorer), (_speaks_sglang, SglangScorer), (_speaks_echo, EchoScorer))
    kind = next((kind for speaks, kind in shapes if _says(speaks, client)), None)
    if kind is None:
        raise BadInput(
            f"endpoint '{client.address.base}' gives no log-probabilities of a prompt, which scoring needs; vLLM, "
            "SGLang and servers with echo+logprobs do; or score with a local model (a folder, .gguf or alias)"
        )
    if tokenizer is None:
        raise BadInput(
            f"endpoint '{client.address.base}' cannot render a conversation (no /tokenize with messages); add the "
            f"model's tokenizer folder: {client.address.base}#{client.address.model}?tokenizer=DIR"
        )
    return kind(client, tokenizer)


def self_check(scorer: Scorer, client: Client) -> tuple[float, float]:
    """Compares two routes to the same numbers: a greedy continuation of ``KNOWN`` as sampled, and as part of a prompt.

    Returns the two mean log-probabilities (nats per token).  Raises WorkFailed with both numbers of the worst token if
    any differs by more than the tolerance: then positions, tokens or temperature are not what they seem.
    """
    sampled = scorer.greedy(KNOWN, _GREEDY)
    for count in range(len(sampled), 0, -1):  # the last tokens may merge with nothing after them: drop those
        pieces, first = zip(*sampled[:count], strict=True)
        second = scorer.score(KNOWN, "".join(pieces), 0).logprobs
        if len(second) == count:
            break
    else:
        raise WorkFailed(f"{client.address.base}: the self-check of scoring found no token of its own text again")
    gaps = np.abs(np.array(first) - second)
    worst = int(np.argmax(gaps))
    if not gaps[worst] <= client.address.options.tolerance:
        raise WorkFailed(
            f"{client.address.base}: self-check of scoring by {scorer.shape}: '{pieces[worst]}' in a known text has "
            f"log-probability {first[worst]:.4f} as sampled and {second[worst]:.4f} as part of a prompt; more than "
            f"{client.address.options.tolerance:g} is no rounding ('?tolerance=' after the model's name accepts more)"
        )
    return float(np.mean(first)), float(np.mean(second))


class _Shape:
    """What the three have in common."""

    def __init__(self, client: Client, tokenizer: Tokenizer) -> None:
        self._client, self._tokenizer = client, tokenizer

    def _encoded(self, text: str) -> tuple[list[int], Spans | None]:
        ids, offsets = self._tokenizer.encode(text)
        assert ids is not None, "a server that scores token ids has a tokenizer that gives them"
        return ids, offsets

    def _aligned(self, pieces: Sequence[str], text: str, stop: int, all_but_first: bool) -> Spans:
        spans = align_end(pieces, text, stop, all_but_first=all_but_first)
        if spans is None:
            raise WorkFailed(
                f"{self._client.address.base}: cannot tell where the server's tokens lie in "
                f"'{text[stop : stop + 60]}'; add '?tokenizer=DIR' with the model's tokenizer folder after its name"
            )
        return spans

    def _wanted(self, values: Sequence[Any], spans: Spans, before: int, start: int) -> TokenScores:
        """Those of the last tokens that reach beyond character ``before + start``; offsets counted from ``before``."""
        pairs = zip(values[len(values) - len(spans) :], spans, strict=True)
        kept = [(value, span) for value, span in pairs if span[1] > max(before + start, span[0])]
        if any(not isinstance(value, int | float) for value, _ in kept):
            raise self._broken("a wanted token has no log-probability")
        logprobs = np.array([value for value, _ in kept], dtype=np.float32)
        return TokenScores(logprobs, tuple((max(0, first - before), last - before) for _, (first, last) in kept))

    def _completed(self, prompt: str | list[int], tokens: int, **asked: Any) -> Json:
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0.0, **asked}
        return choices(self._client, ask(self._client, "completions", body))[0]

    def _continued(self, prompt: str | list[int], tokens: int) -> list[tuple[str, float]]:
        choice = self._completed(prompt, tokens, logprobs=1)
        found = choice.get("logprobs") or {}
        text, read, kept = str(choice.get("text", "")), "", []
        for piece, value in zip(found.get("tokens") or [], found.get("token_logprobs") or [], strict=False):
            read += piece
            if not text.startswith(read):  # an end-of-text token is sampled, and is no part of the text
                break
            kept.append((str(piece), float(value)))
        return kept

    def _broken(self, what: str) -> WorkFailed:
        base = self._client.address.base
        return WorkFailed(f"{base}: prompt log-probabilities in a shape that is not understood: {what}")


class VllmScorer(_Shape):
    """Prompt log-probabilities in vLLM's shape."""

    shape = "vLLM's prompt_logprobs"

    def score(self, before: str, text: str, start: int) -> TokenScores:
        """One request; the prompt is sent as token ids, so that nothing is added to it."""
        ids, offsets = self._encoded(before + text)
        rows = self._completed(ids, 1, prompt_logprobs=1).get("prompt_logprobs") or []
        if len(rows) != len(ids):
            raise self._broken(f"{len(rows)} prompt_logprobs for {len(ids)} prompt tokens")
        # Nothing precedes the first token of all: it has no probability, and null stands in its place.
        entries = [self._entry(row, token) for row, token in zip(rows[1:], ids[1:], strict=True)]
        pieces = [str(entry.get("decoded_token") or "") for entry in entries]
        spans = offsets[1:] if offsets else self._aligned(pieces, before + text, len(before) + start, True)
        return self._wanted([entry.get("logprob") for entry in entries], spans, len(before), start)

    def greedy(self, text: str, tokens: int) -> list[tuple[str, float]]:
        """From ``/v1/completions`` with ``logprobs``."""
        return self._continued(self._encoded(text)[0], tokens)

    def _entry(self, row: Any, token: int) -> Json:
        entry = row.get(str(token)) if isinstance(row, dict) else None
        if not isinstance(entry, dict):
            raise self._broken(f"no entry for prompt token {token} in {str(row)[:80]}")
        return entry


class SglangScorer(_Shape):
    """Prompt log-probabilities in SGLang's own shape."""

    shape = "SGLang's input_token_logprobs"

    def score(self, before: str, text: str, start: int) -> TokenScores:
        """One request that computes logits from just before the first wanted token on, so the prefix stays cached."""
        ids, offsets = self._encoded(before + text)
        first = max(1, self._first(ids, offsets, (before + text)[: len(before) + start]))
        asked = {"return_logprob": True, "logprob_start_len": first - 1, "return_text_in_logprobs": True}
        rows = self._generate(ids, 0, asked).get("input_token_logprobs") or []
        rows = rows[first - len(ids) :] if first < len(ids) else []
        if [row[1] for row in rows] != ids[first:]:
            raise self._broken("input_token_logprobs are not those of the prompt's tokens")
        pieces = [str(row[2] if len(row) > 2 and row[2] is not None else "") for row in rows]
        spans = offsets[first:] if offsets else self._aligned(pieces, before + text, len(before) + start, first == 1)
        return self._wanted([row[0] for row in rows], spans, len(before), start)

    def greedy(self, text: str, tokens: int) -> list[tuple[str, float]]:
        """From ``output_token_logprobs``."""
        asked = {"return_logprob": True, "return_text_in_logprobs": True}
        rows = self._generate(self._encoded(text)[0], tokens, asked).get("output_token_logprobs") or []
        return [(str(row[2]), float(row[0])) for row in rows]

    def _first(self, ids: Sequence[int], offsets: Spans | None, unwanted: str) -> int:
        """The first token that may be wanted: those shared with the text before it lie wholly in that text."""
        if offsets is not None:
            return next((i for i, span in enumerate(offsets) if span[1] > len(unwanted)), len(ids))
        shared, _ = self._encoded(unwanted)
        pairs = zip(ids, shared, strict=False)
        return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(ids), len(shared)))

    def _generate(self, ids: Sequence[int], tokens: int, asked: Json) -> Json:
        sampling = {"max_new_tokens": tokens, "temperature": 0.0}
        answer = self._client.post("/generate", {"input_ids": list(ids), "sampling_params": sampling, **asked})
        meta = answer.get("meta_info")
        return meta if isinstance(meta, dict) else {}


class EchoScorer(_Shape):
    """Prompt log-probabilities in the old OpenAI shape."""

    shape = "echo with logprobs"

    def score(self, before: str, text: str, start: int) -> TokenScores:
        """One request; the prompt is sent as text. One further token is sampled, because some servers refuse none."""
        whole = self._tokenizer.bare(before + text)
        head = len(whole) - len(text)
        found = self._completed(whole, 1, echo=True, logprobs=1).get("logprobs") or {}
        offsets = [at for at in found.get("text_offset") or [] if at < len(whole)]
        rows = list(zip(found.get("tokens") or [], found.get("token_logprobs") or [], strict=False))[: len(offsets)]
        if not offsets or len(rows) < len(offsets) or sorted(offsets) != offsets:
            raise self._broken("text_offset and token_logprobs do not fit the prompt")
        spans = [(at, max(end, at + 1)) for at, end in zip(offsets, [*offsets[1:], len(whole)], strict=True)]
        self._same(whole, [str(piece) for piece, _ in rows], spans)
        return self._wanted([value for _, value in rows[1:]], spans[1:], head, start)

    def greedy(self, text: str, tokens: int) -> list[tuple[str, float]]:
        """From ``/v1/completions`` with ``logprobs``."""
        return self._continued(text, tokens)

    def _same(self, whole: str, pieces: Sequence[str], spans: Spans) -> None:
        """Servers that add a first token may count it in ``text_offset``: better no score than a shifted one."""
        for piece, (first, last) in zip(pieces, spans, strict=True):
            readable = "\ufffd" not in piece and not piece.startswith("bytes:")
            if readable and piece.strip() != whole[first:last].strip():
                raise self._broken(f"text_offset {first} holds '{whole[first:last]}', its token is '{piece}'")


def _speaks_vllm(client: Client) -> bool:
    body = {"prompt": "Hello there", "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 1}
    return isinstance(choices(client, ask(client, "completions", body))[0].get("prompt_logprobs"), list)


def _speaks_sglang(client: Client) -> bool:
    sampling = {"max_new_tokens": 0, "temperature": 0.0}
    body = {"text": "Hello there", "sampling_params": sampling, "return_logprob": True, "logprob_start_len": 0}
    meta = client.post("/generate", body).get("meta_info")
    return isinstance(meta, dict) and isinstance(meta.get("input_token_logprobs"), list)


def _speaks_echo(client: Client) -> bool:
    body = {"prompt": "Hello there", "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
    found = choices(client, ask(client, "completions", body))[0].get("logprobs")
    return isinstance(found, dict) and min(found.get("text_offset") or [1]) == 0


def _says(speaks: Callable[[Client], bool], client: Client) -> bool:
    try:
        return speaks(client)
    except Refused:
        return False
