"""How likely texts are behind pictures: the ``logprobs`` of the LM protocol for a local model that sees."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from backcast.core.errors import BadInput
from backcast.lm.base import Prompt, Scoring, TokenScores
from backcast.lm.kv import fork
from backcast.lm.local_sight import LocalSight
from backcast.lm.sight import Turn

ROWS = 32
"""Continuations of one pass."""


class SightScores:
    """Scores continuations of conversations that hold pictures; a prompt stands for one of ``conversations``.

    A conversation with its pictures is run once, its cache is forked for every continuation; that of the last
    conversation is kept. Continuations are tokenised by themselves: a template ends where its line does.
    """

    def __init__(self, sight: LocalSight, conversations: Mapping[Prompt, Sequence[Turn]]) -> None:
        self.sight, self.conversations = sight, conversations
        self.name, self.fingerprint = sight.name, sight.fingerprint
        self._kept: tuple[Prompt, Any, torch.Tensor] | None = None
        self._places: Any = None

    @torch.inference_mode()
    def logprobs(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        """As ``LM.logprobs``; raises BadInput for what exceeds the model's context."""
        return [self._item(item) for item in items]

    def _item(self, item: Scoring) -> list[TokenScores]:
        cache, last = self._read(item.prompt)
        length = cache.get_seq_length()
        found: list[TokenScores] = []
        for first in range(0, len(item.continuations), ROWS):
            part = item.continuations[first : first + ROWS]
            rows, offsets = self._tokens(part, length)
            # Padding on the right needs no mask: nothing that is looked at comes after it.
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
            logits = self._after(fork(cache, torch.zeros(len(part), dtype=torch.long, device=last.device)), ids)
            whole = torch.cat([last.expand(len(part), 1, -1), logits[:, :-1]], 1)
            starts = item.starts[first : first + ROWS]
            found += [_scores(*row) for row in zip(whole, rows, offsets, starts, strict=True)]
        return found

    @torch.inference_mode()
    def logprobs_naive(self, item: Scoring) -> list[TokenScores]:
        """The same the plain way, a text and its pictures at a time. The oracle in tests."""
        found = []
        for text, start in zip(item.continuations, item.starts, strict=True):
            head = self._head(item.prompt)
            length = head["input_ids"].shape[1]
            (row,), (offsets,) = self._tokens([text], length)
            head["input_ids"] = torch.cat([head["input_ids"], torch.tensor([row])], 1)
            for key in ("attention_mask", "mm_token_type_ids"):
                if key in head:
                    tail = torch.full((1, len(row)), int(key == "attention_mask"))
                    head[key] = torch.cat([head[key], tail.to(head[key])], 1)
            logits = self.sight.model(**head).logits[0, length - 1 : -1]
            found.append(_scores(logits, row, offsets, start))
        return found

    def _head(self, prompt: Prompt) -> dict[str, Any]:
        turns = self.conversations[prompt]
        pictures = [picture for turn in turns for picture in turn.pictures]
        return self.sight.encode([self.sight.render(turns, ()) + prompt.prefill], [pictures])

    def _read(self, prompt: Prompt) -> tuple[Any, torch.Tensor]:
        if self._kept is None or self._kept[0] != prompt:
            out = self.sight.model(**self._head(prompt), use_cache=True)
            self._kept = (prompt, out.past_key_values, out.logits[:, -1:])
            # Qwen's models keep where a picture's places end to themselves, for one conversation at a time.
            self._places = getattr(self.sight.model.model, "rope_deltas", None)
        return self._kept[1], self._kept[2]

    def _after(self, cache: Any, ids: torch.Tensor) -> torch.Tensor:
        if self._places is not None:
            self.sight.model.model.rope_deltas = self._places
        out = self.sight.model(input_ids=ids.to(self.sight.device), past_key_values=cache, use_cache=True)
        logits: torch.Tensor = out.logits
        return logits

    def _tokens(self, texts: Sequence[str], length: int) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        coded = self.sight.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        longest = length + max(map(len, coded.input_ids))
        if longest > self.sight.context:
            raise BadInput(f"a text of {longest} tokens with its pictures; '{self.name}' takes {self.sight.context}")
        return coded.input_ids, coded.offset_mapping


def _scores(logits: torch.Tensor, row: Sequence[int], offsets: Sequence[tuple[int, int]], start: int) -> TokenScores:
    logs = logits[: len(row)].float().log_softmax(-1)
    each = logs[torch.arange(len(row)), torch.tensor(row, device=logs.device)].cpu().numpy()
    wanted = [i for i, (begin, end) in enumerate(offsets) if end > max(start, begin)]
    return TokenScores(
        np.asarray(each[wanted], np.float32), tuple((int(offsets[i][0]), int(offsets[i][1])) for i in wanted)
    )
