"""How likely given texts are: what they share is run once, and only their scored tokens reach the output layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers.cache_utils import Cache

from backcast.lm.kv import KeptPrefixes, fork, shared_length
from backcast.lm.network import Network, Rows

_ALONE = 1024
"""Tokens from which an item fills a pass by itself, even on a GPU."""
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Text:
    """A whole text in tokens, and which of them are asked about."""

    ids: list[int]
    scored: list[int]
    """Ascending indices into ``ids``; never 0, which nothing precedes."""


@dataclass(frozen=True)
class Item:
    """Texts that begin alike: a trunk, which all share, and a branch each.

    A token's log-probability comes from the position before it: the trunk gives that of a branch's first token, too.
    """

    texts: Sequence[Text]
    forks: bool = True
    """False where the network cannot go on from a cache: then every text is all branch."""

    @cached_property
    def trunk(self) -> int:
        """Tokens that all texts share."""
        return shared_length([text.ids for text in self.texts]) if self.forks else 0

    @cached_property
    def first_scored(self) -> int:
        """Index of the first scored token of any text; the trunk's length if it is later or there is none."""
        return min((text.scored[0] for text in self.texts if text.scored), default=self.trunk)

    @cached_property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return sum(len(text.ids) for text in self.texts)

    def wanted(self, k: int, *, branch: bool) -> list[tuple[int, int]]:
        """(index of the position before, token) of the scored tokens of text ``k`` that its branch, or trunk, gives.

        Indices count from the beginning of the branch, or of the trunk.
        """
        text, begin = self.texts[k], self.trunk if branch else 0
        return [(at - 1 - begin, text.ids[at]) for at in text.scored if (at > self.trunk) == branch]


class Likelihood:
    """Scores items on one network; the caches of long trunks are kept for the next items that begin alike."""

    def __init__(self, network: Network, block: int, batch_tokens: int, *, share_passes: bool) -> None:
        self.network = network
        self.batch_tokens = batch_tokens
        self.share_passes = share_passes
        self._prefixes = KeptPrefixes(block)

    @torch.inference_mode()
    def scores(self, items: Sequence[Item]) -> list[list[np.ndarray]]:
        """Per item and text, the log-probabilities of its scored tokens, float32."""
        found: list[list[np.ndarray]] = [[] for _ in items]
        for group in self._groups(items):
            for i, scores in zip(group, self._score([items[i] for i in group]), strict=True):
                found[i] = scores
        return found

    def _groups(self, items: Sequence[Item]) -> Iterator[list[int]]:
        """Indices of the items scored together: each alone, or, to share passes, short ones of like length."""
        group: list[int] = []
        for i in sorted((i for i, item in enumerate(items) if item.texts), key=lambda i: (items[i].tokens, i)):
            item = items[i]
            alone = not self.share_passes or item.tokens >= _ALONE or item.trunk == 0
            if group and (alone or (len(group) + 1) * item.tokens > self.batch_tokens):
                yield group
                group = []
            group.append(i)
            if alone:
                yield group
                group = []
        if group:
            yield group

    def _score(self, items: Sequence[Item]) -> list[list[np.ndarray]]:
        cut, cache = self._prefix(items[0]) if len(items) == 1 else (0, self.network.new_cache())
        trunks = Rows([item.texts[0].ids[cut : item.trunk] for item in items], [cut] * len(items), left=True)
        asked = [[item.wanted(k, branch=False) for k in range(len(item.texts))] for item in items]
        near = [_NOTHING] * len(items)
        if trunks.width:
            wanted = [[(at - cut, token) for pairs in row for at, token in pairs] for row in asked]
            near = self.network.logprobs(trunks, cache, wanted)
        # A trunk alone is never padded; several are, up to where the longest begins.
        padded = None if len(items) == 1 else trunks.tensors(self.network.device)[2]
        far = self._branches(items, cache, padded)
        found = []
        for row, scores, rest in zip(asked, near, far, strict=True):
            parts = np.split(scores, np.cumsum([len(pairs) for pairs in row])[:-1])
            found.append([np.concatenate(pair) for pair in zip(parts, rest, strict=True)])
        return found

    def _branches(self, items: Sequence[Item], cache: Cache, padded: torch.Tensor | None) -> list[list[np.ndarray]]:
        """What each text has of its own, behind its item's trunk in ``cache``."""
        found = [[_NOTHING] * len(item.texts) for item in items]
        # A row ends before its last scored token, which nobody goes on from; so texts that differ there are one row.
        own: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for i, item in enumerate(items):
            for k, text in enumerate(item.texts):
                if text.scored and text.scored[-1] > item.trunk:
                    own.setdefault((i, tuple(text.ids[item.trunk : text.scored[-1]])), []).append(k)
        widest = max((items[i].trunk + len(ids) for i, ids in own), default=1)
        step = max(1, self.batch_tokens // widest)
        for first in range(0, len(own), step):
            part = list(own.items())[first : first + step]
            index = torch.tensor([i for (i, _), _ in part], device=self.network.device)
            rows = Rows(
                [ids for (_, ids), _ in part],
                [items[i].trunk for (i, _), _ in part],
                None if padded is None else padded[index],
            )
            wanted = [[items[i].wanted(k, branch=True) for k in mine] for (i, _), mine in part]
            flat = [[pair for pairs in row for pair in pairs] for row in wanted]
            scored = self.network.logprobs(rows, fork(cache, index), flat)
            for ((i, _), mine), each, scores in zip(part, wanted, scored, strict=True):
                for k, one in zip(mine, np.split(scores, np.cumsum([len(pairs) for pairs in each])[:-1]), strict=True):
                    found[i][k] = one
        return found

    def _prefix(self, item: Item) -> tuple[int, Cache]:
        """(tokens, cache) of the longest beginning of a trunk, in whole blocks, whose logits nobody wants."""
        block, network = self._prefixes.block, self.network
        end = max(0, min(item.trunk, item.first_scored) - 1) // block * block
        if end == 0:
            return 0, network.new_cache()
        ids = item.texts[0].ids[:end]
        done, kept = self._prefixes.longest(ids)
        only = torch.zeros(1, dtype=torch.long, device=network.device)
        cache = network.new_cache() if kept is None else fork(kept, only)
        for begin in range(done, end, block):
            network.logprobs(Rows([ids[begin : begin + block]], [begin]), cache, [[]])
        self._prefixes.keep(ids, cache)
        return end, fork(cache, only)
