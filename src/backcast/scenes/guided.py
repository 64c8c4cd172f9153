"""Free generation under the grammar of a request, masked by llguidance: the only place that knows it.

``chances`` scores without it; this is for a text to read, and for servers that take a grammar (``lark``).
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from backcast.core.errors import BadInput, WorkFailed
from backcast.lm.base import Prompt
from backcast.lm.chat import render
from backcast.lm.local import LocalLM
from backcast.scenes.grammar import Labelling, Listing
from backcast.scenes.problems.vocabulary import Group
from backcast.scenes.render import END, NONE, NOTHING


def lark(request: Listing | Labelling) -> str:
    """The request's grammar as Lark writes it: the same texts as ``request.slot`` allows, and no others."""
    words = request.vocabulary
    rules: list[str] = []
    if isinstance(request, Listing):
        names = [words.objects[o] for o in words.candidates]
        rules += _ascending("objects", names, True)
        line = f"({_quoted(NOTHING)} | objects_0)"
    else:
        for number, group in enumerate(words.groups):
            rules += _group(f"group_{number}", group)
        line = ' "; " '.join(f"group_{number}" for number in range(len(words.groups)))
    frames = " ".join(f'{_quoted(f"Frame {frame}: ")} {line} "\\n"' for frame in request.frames)
    return "\n".join([f"start: {frames} {_quoted(END)}", *rules]) + "\n"


def _group(name: str, group: Group) -> list[str]:
    rules = _ascending(f"{name}_names", group.predicates, group.arity == "many")
    first = f"{name}_names_0" + (f" | {_quoted(NONE)}" if group.allow_empty else "")
    return [f"{name}: {first}", *rules]


def _ascending(name: str, words: Sequence[str], many: bool) -> list[str]:
    """Rules name_0, name_1, ...: a list of names from that one on, in order; a single one unless ``many``."""
    if not many:
        return [f"{name}_0: {' | '.join(map(_quoted, words))}"]
    rules = []
    for i, word in enumerate(words):
        last = i == len(words) - 1
        more = "" if last else f' (", " {name}_{i + 1})? | {name}_{i + 1}'
        rules.append(f"{name}_{i}: {_quoted(word)}{more}")
    return rules


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class Guide:
    """Which tokens of a Hugging Face tokenizer may come next in a text of the request."""

    def __init__(self, tokenizer: Any, request: Listing | Labelling) -> None:
        try:
            from llguidance import LLMatcher
            from llguidance.hf import from_tokenizer
        except ImportError:
            raise BadInput("generation under a grammar needs llguidance; install backcast[grammar]") from None
        self.size = len(tokenizer)
        self._matcher = LLMatcher(from_tokenizer(tokenizer), LLMatcher.grammar_from_lark(lark(request)))
        self._check()

    def allowed(self) -> np.ndarray:
        """(V,) bool."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, bitorder="little")[: self.size].astype(bool)

    def take(self, token: int) -> None:
        """Goes on behind ``token``; raises BadInput for one that is not allowed."""
        if not self.allowed()[token]:
            raise BadInput(f"token {token} may not stand there")
        self._matcher.consume_token(token)
        self._check()

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return bool(self._matcher.is_accepting())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise WorkFailed(f"llguidance: {self._matcher.get_error()}")


@torch.inference_mode()
def generate(lm: LocalLM, prompt: Prompt, request: Listing | Labelling, temperature: float = 0.0, seed: int = 0) -> str:
    """A text of the request's grammar drawn token by token; it parses by construction. 0 takes the likeliest token."""
    guide, rng = Guide(lm.tokenizer, request), np.random.default_rng(seed)
    ids = lm.tokenizer(render(lm.tokenizer, prompt), add_special_tokens=False).input_ids
    cache, said = lm.network.new_cache(), list[int]()
    step, place = ids, 0
    while not guide.complete:
        row = torch.tensor([step], device=lm.device)
        positions = torch.arange(place, place + len(step), device=lm.device)[None]
        logits = lm.network.next_logits(row, positions, None, cache)[0].cpu().numpy().astype(float)
        logits = np.where(guide.allowed(), logits[: guide.size], -np.inf)
        if temperature > 0:
            logits = logits / temperature + rng.gumbel(size=len(logits))
        token, place = int(logits.argmax()), place + len(step)
        guide.take(token)
        said.append(token)
        step = [token]
    return str(lm.tokenizer.decode(said))
