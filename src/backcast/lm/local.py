"""A language model in this process: transformers, batched, on any device."""

import functools
import hashlib
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from backcast.core.errors import BadInput, nearest
from backcast.lm.base import Completion, Prompt, Sampling, Scoring, TokenScores
from backcast.lm.chat import render
from backcast.lm.decode import Batch, Rules, decode, new_draw
from backcast.lm.kv import fork
from backcast.lm.likelihood import Item, Likelihood, Text
from backcast.lm.models import content_hash, no_bars, resolve, weight_files
from backcast.lm.network import Network, Rows

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_IDENTITY = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""Files beside the weights that decide what a model answers."""

Offsets = tuple[tuple[int, int], ...]


class LocalLM:
    """The model of a Hugging Face folder (``models.resolve`` gives one); code that ships with it is never run.

    ``dtype`` defaults to float32 on a CPU and bfloat16 on a GPU, ``device`` to CUDA when present. ``batch_tokens``
    bounds the tokens held in one batch. With ``share_passes`` (default: on a GPU) short items are scored several to a
    pass; without it every item is computed by itself, so not even the last bit of its scores depends on the others.
    Raises BadInput if the folder does not load completely.
    """

    def __init__(
        self,
        folder: Path | str,
        dtype: str | None = None,
        device: str | None = None,
        name: str | None = None,
        *,
        batch_tokens: int | None = None,
        share_passes: bool | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.name = name or str(folder)
        self._given = (dtype, device, batch_tokens, share_passes)
        self.device = _device(device)
        on_cpu = self.device.type == "cpu"
        self.dtype = _dtype(dtype or ("float32" if on_cpu else "bfloat16"))
        self.tokenizer, self.model = _loaded(self.folder, self.dtype, self.device)
        self.context: int = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        """The most tokens that a prompt and its continuation may have together."""
        self.batch_tokens = batch_tokens or (1 << 14 if on_cpu else 1 << 16)
        self.network = Network(self.model, self.device, self.batch_tokens)
        self._likelihood = Likelihood(
            self.network,
            block=128 if on_cpu else 512,
            batch_tokens=self.batch_tokens,
            share_passes=not on_cpu if share_passes is None else share_passes,
        )
        self.fingerprint = self._fingerprint()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """A model travels as its name; where it arrives it is loaded once a process, and must be the same model."""
        return revived, (self.name, str(self.folder.absolute()), self._given, self.fingerprint)

    def _fingerprint(self) -> str:
        files = {file for pattern in _IDENTITY for file in self.folder.glob(pattern)} | set(weight_files(self.folder))
        content = {file.name: content_hash(file) for file in sorted(files)}
        return hashlib.sha256(json.dumps([content, str(self.dtype)]).encode()).hexdigest()[:32]

    @property
    def tokens_forwarded(self) -> int:
        """Tokens that the model was run on so far, padding excluded."""
        return self.network.tokens_forwarded

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """As ``LM.sample``: each prompt is read once, its cache is forked ``n`` times, and rows decode together.

        A text is a function of prompt, index and ``sampling`` up to rounding, which depends on the batch: in float32
        it hardly ever decides between two tokens, in half precision sometimes. The same call always repeats.
        Raises BadInput for a prompt without tokens, or if a prompt and ``max_tokens`` exceed the model's context.
        """
        texts = [render(self.tokenizer, prompt) for prompt in prompts]
        rows = self.tokenizer(texts, add_special_tokens=False).input_ids if texts else []
        for ids in rows:
            if not ids:
                raise BadInput("a prompt without a single token cannot be continued; give a message or a prefill")
            self._check_length(len(ids) + sampling.max_tokens, f"a prompt of {len(ids)} + {sampling.max_tokens} new")
        copies = n if sampling.temperature > 0 else 1  # greedy copies are all the same
        found: list[list[Completion]] = [[] for _ in prompts]
        for group in self._groups([len(ids) for ids in rows], copies, sampling.max_tokens):
            drawn = self._sample([texts[i] for i in group], [rows[i] for i in group], copies, sampling)
            for i, completions in zip(group, drawn, strict=True):
                found[i] = completions if copies == n else completions * n
        return found

    def logprobs(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        """As ``LM.logprobs``: what the continuations of an item share is run once, and only scored positions reach
        the output layer. Log-softmax in float32.

        Each text is tokenised as a whole, so a token may straddle prompt and continuation; it counts if any of its
        characters is at or after the start. The very first token of a text has no probability and is never scored.
        Raises BadInput if a text exceeds the model's context.
        """
        asked = [self._texts(item) for item in items]
        forks = self.network.continues
        scores = self._likelihood.scores([Item([text for text, _ in texts], forks) for texts in asked])
        return [
            [TokenScores(found, offsets) for found, (_, offsets) in zip(row, texts, strict=True)]
            for row, texts in zip(scores, asked, strict=True)
        ]

    def offsets(self, texts: Sequence[str], start: int) -> list[Offsets]:
        """(begin, end) of the tokens of each text that reach beyond ``start``, nothing coming before the text.

        What comes before seldom changes them; ``logprobs`` says what it cut.
        """
        rows = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return [tuple((begin, end) for begin, end in row if end > max(start, begin)) for row in rows]

    def logprobs_naive(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        """The same scores the plain way: each text from its beginning, logits at all positions. The oracle in tests."""
        return [[self._score_plainly(*text) for text in self._texts(item)] for item in items]

    def _texts(self, item: Scoring) -> list[tuple[Text, Offsets]]:
        if len(item.continuations) != len(item.starts):
            raise ValueError(f"{len(item.continuations)} continuations and {len(item.starts)} starts")
        if not item.continuations:
            return []
        head = render(self.tokenizer, item.prompt)
        full = [head + continuation for continuation in item.continuations]
        encoded = self.tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
        found = []
        for ids, offsets, start in zip(encoded.input_ids, encoded.offset_mapping, item.starts, strict=True):
            self._check_length(len(ids), f"a text of {len(ids)}")
            # A token without characters (begin == end) is never scored.
            scored = [at for at in range(1, len(ids)) if offsets[at][1] > max(len(head) + start, offsets[at][0])]
            shown = ((max(0, offsets[at][0] - len(head)), offsets[at][1] - len(head)) for at in scored)
            found.append((Text(ids, scored), tuple(shown)))
        return found

    def _check_length(self, tokens: int, what: str) -> None:
        if tokens > self.context:
            raise BadInput(
                f"{what} tokens is more than the {self.context} that '{self.name}' takes; shorten it or ask for fewer"
            )

    @torch.inference_mode()
    def _score_plainly(self, text: Text, offsets: Offsets) -> TokenScores:
        if not text.scored:
            return TokenScores(np.zeros(0, np.float32), offsets)
        logits = self.model(torch.tensor([text.ids], device=self.device), use_cache=False).logits[0].float()
        at = torch.tensor(text.scored, device=self.device)
        targets = torch.tensor(text.ids, device=self.device)[at]
        found = torch.log_softmax(logits[at - 1], -1).gather(1, targets[:, None])[:, 0]
        return TokenScores(found.cpu().numpy(), offsets)

    def _groups(self, lengths: Sequence[int], copies: int, room: int) -> Iterator[list[int]]:
        """Indices of the prompts that are sampled together: those of like length, as many as fit."""
        group: list[int] = []
        for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
            if group and (len(group) + 1) * copies * (lengths[i] + room) > self.batch_tokens:
                yield group
                group = []
            group.append(i)
        if group:
            yield group

    @torch.inference_mode()
    def _sample(
        self, texts: Sequence[str], prompts: Sequence[list[int]], copies: int, sampling: Sampling
    ) -> list[list[Completion]]:
        """``copies`` completions of each prompt of one batch; more rows than fit decode one part after the other."""
        rows = Rows(prompts, [0] * len(prompts), left=True)
        ids, positions, mask = rows.tensors(self.device)
        cache = self.network.new_cache()
        logits = self.network.next_logits(ids, positions, mask, cache)
        rules = Rules(sampling, self.tokenizer, self._ends(), frozenset(self.tokenizer.all_special_ids))
        samples = [(i, j) for i in range(len(prompts)) for j in range(copies)]
        step = max(1, self.batch_tokens // (rows.width + sampling.max_tokens))
        drawn: list[Completion] = []
        for first in range(0, len(samples), step):
            part = samples[first : first + step]
            draws = [new_draw(texts[i], prompts[i], j, sampling.seed, self.device) for i, j in part]
            index = torch.tensor([i for i, _ in part], device=self.device)
            branch = fork(cache, index, room=sampling.max_tokens)
            here = None if mask is None else mask[index]
            batch = Batch(draws, branch, logits[index], positions[index, -1] + 1, here)
            drawn += decode(self.network.next_logits, batch, rules)
        return [drawn[i * copies : (i + 1) * copies] for i in range(len(prompts))]

    def _ends(self) -> frozenset[int]:
        """Tokens that end a turn, by the model's or the tokenizer's word."""
        ends: set[int] = set()
        for holder in (self.model.generation_config, self.model.config, self.tokenizer):
            found = getattr(holder, "eos_token_id", None)
            ends.update(found if isinstance(found, list) else [] if found is None else [found])
        return frozenset(ends)


def _device(device: str | None) -> torch.device:
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(f"device '{name}' cannot be used here: {str(error).splitlines()[0]}; leave it out") from error
    return found


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise BadInput(f"unknown dtype '{name}'{nearest(name, DTYPES)}")
    return DTYPES[name]


def _loaded(folder: Path, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """(tokenizer, model) of a folder; BadInput if either does not load, or if weights are missing."""
    auto: Any = AutoModelForCausalLM
    only_files = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **only_files)
        with no_bars():
            model, report = auto.from_pretrained(folder, dtype=dtype, output_loading_info=True, **only_files)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"'{folder}' cannot be loaded: {reason[:300]}; check that the folder is complete") from error
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        raise BadInput(f"'{folder}' lacks {len(names)} weights ('{names[0]}', ...); its files are incomplete")
    if not tokenizer.is_fast:
        raise BadInput(f"the tokenizer of '{folder}' gives no offsets; save it with a tokenizer.json")
    return tokenizer, model.eval().requires_grad_(False).to(device)


@functools.lru_cache(maxsize=4)
def revived(name: str, folder: str, given: tuple[Any, ...], fingerprint: str) -> LocalLM:
    """The model that a ``LocalLM`` was, in another process: its folder if it is seen there, else what its name finds.

    Raises BadInput when that is another model.
    """
    dtype, device, batch_tokens, share_passes = given
    where = Path(folder) if Path(folder).is_dir() else resolve(name)
    found = LocalLM(where, dtype, device, name, batch_tokens=batch_tokens, share_passes=share_passes)
    if found.fingerprint != fingerprint:
        raise BadInput(
            f"the model '{name}' is another one on node {socket.gethostname()}: other weights, or another dtype; give "
            "the same folder to all nodes"
        )
    return found
