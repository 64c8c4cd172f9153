"""Strategic grams: the phrases that steer a solution; matching them in tokens, and mining them from solutions.

HICRA (2509.03646) names tokens "planning" when they belong to such a phrase. The list that ships with us is our own.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Any

import numpy as np

from backcast.core.errors import BadInput

LONGEST = 8
"""Words in the longest gram."""

_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"'})


@dataclass(frozen=True)
class Match:
    """A gram found in a text: its characters ``text[start:end]`` and its number in the list."""

    start: int
    end: int
    gram: int


def shipped() -> list[str]:
    """Our own list of English planning phrases for mathematics and reasoning, one to six words each."""
    lines = files("backcast.learn").joinpath("grams.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("//")]


def words(text: str) -> list[tuple[str, int, int]]:
    """The words and punctuation marks of a text in lower case with straight quotes, each with its span in ``text``."""
    plain = _plain(text)
    return [(found.group(), found.start(), found.end()) for found in _WORD.finditer(plain)]


def _plain(text: str) -> str:
    """Lower case with straight quotes, letter by letter: spans in it are those of the text."""
    straight = text if text.isascii() else text.translate(_STRAIGHT)
    low = straight.lower()
    if len(low) == len(straight) and "Σ" not in straight:
        return low
    # A letter whose lower case is longer ("İ") stays; a capital sigma's depends on what stands behind it.
    return "".join(low if len(low := char.lower()) == 1 else char for char in straight)


class Matcher:
    """Finds grams in text: by whole words, in any case, the longest first at every word.

    ``grams`` are phrases, or what ``mine`` found. A gram that lies inside a longer match is not counted; grams that
    overlap otherwise are all found. Raises BadInput for an empty list, a single text, and a gram of no word or of more
    than ``LONGEST``.
    """

    def __init__(self, grams: Iterable[Any]) -> None:
        if isinstance(grams, str):
            raise BadInput(f"grams must be a list of phrases, found the text '{grams[:40]}'; write [...]")
        self.grams = list(dict.fromkeys(str(getattr(gram, "text", gram)) for gram in grams))
        if not self.grams:
            raise BadInput("the list of grams is empty; give phrases, or mine them with backcast.learn.mine")
        self._known: dict[tuple[str, ...], int] = {}
        self._lengths: dict[str, list[int]] = {}
        for number, gram in enumerate(self.grams):
            key = tuple(word for word, _, _ in words(gram))
            if not 1 <= len(key) <= LONGEST:
                raise BadInput(f"gram '{gram}' has {len(key)} words; give 1 to {LONGEST}")
            self._known.setdefault(key, number)
            lengths = self._lengths.setdefault(key[0], [])
            if len(key) not in lengths:
                self._lengths[key[0]] = sorted([*lengths, len(key)], reverse=True)

    def find(self, text: str) -> list[Match]:
        """The matches in ``text``, from left to right."""
        return self.find_in(words(text))

    def find_in(self, parts: Sequence[tuple[str, int, int]]) -> list[Match]:
        """The matches in the words of a text (as ``words`` gives them), from left to right."""
        found: list[Match] = []
        reached = 0
        lengths_of = self._lengths
        for i, (word, start, _) in enumerate(parts):
            if word not in lengths_of:
                continue
            for length in lengths_of[word]:
                number = self._known.get(tuple(part[0] for part in parts[i : i + length]))
                if number is None or i + length > len(parts):
                    continue
                if i + length > reached:
                    found.append(Match(start, parts[i + length - 1][2], number))
                    reached = i + length
                break
        return found

    def mask(self, text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
        """True for each token whose characters ``[start, end)`` share at least one non-space character with a match."""
        return cover(text, self.find(text), offsets)


def cover(text: str, found: Iterable[Match], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """The mask of ``Matcher.mask`` from matches already found."""
    found = list(found)
    if not found:
        return np.zeros(len(offsets), dtype=bool)
    marked = np.zeros(len(text) + 1, dtype=np.int64)
    for match in found:
        marked[match.start + 1 : match.end + 1] = [not char.isspace() for char in text[match.start : match.end]]
    upto = np.cumsum(marked)
    spans = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    return upto[spans[:, 1]] > upto[spans[:, 0]]


class TokenText:
    """Token ids back to text with the characters of every token; works on ids that no tokenizer would produce.

    Special tokens have no characters. Raises BadInput for a slow tokenizer, which knows no offsets.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise BadInput(
                f"{type(tokenizer).__name__} gives no character offsets, which grams need; use a fast tokenizer "
                "(a folder with tokenizer.json)"
            )
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_ids)
        self._bytes: dict[int, bytes] = {}
        decoder = type(getattr(tokenizer.backend_tokenizer, "decoder", None)).__name__
        self._by_bytes = decoder == "ByteLevel"

    def __call__(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        """The text, and for each id its span of characters ``[start, end)`` in it."""
        return self._from_bytes(ids) if self._by_bytes else self._from_windows(ids)

    def _from_bytes(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        known = self._bytes
        pieces = [known[token] if token in known else self._piece(token) for token in ids]
        whole = b"".join(pieces)
        edges = np.fromiter(accumulate(map(len, pieces), initial=0), dtype=np.int64, count=len(pieces) + 1)
        # Bytes that are no UTF-8 become one stand-in character each, so that characters and bytes can be counted.
        text = whole.decode("utf-8", "surrogateescape")
        if len(text) == len(whole):
            starts, ends = edges[:-1], edges[1:]
        else:
            at = _characters(text)
            starts, ends = at[edges[:-1]], at[edges[1:]]
            # A token that ends inside a character covers it.
            last = np.maximum(edges[1:] - 1, 0)
            inside = (edges[1:] > edges[:-1]) & (edges[1:] < len(whole)) & (at[edges[1:]] == at[last])
            ends = ends + inside
        return text, list(zip(starts.tolist(), ends.tolist(), strict=True))

    def _piece(self, token: int) -> bytes:
        if token not in self._bytes:
            piece = "" if token in self.special else (self.tokenizer.convert_ids_to_tokens(token) or "")
            table = _byte_table()
            known = all(char in table for char in piece)
            self._bytes[token] = bytes(table[char] for char in piece) if known else piece.encode()
        return self._bytes[token]

    def _from_windows(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        # The text of a token may depend on the tokens before it: decode a short window with and without it.
        text, spans = "", []
        for i, token in enumerate(ids):
            start = len(text)
            if token not in self.special:
                before = self.tokenizer.decode(ids[max(0, i - 6) : i], skip_special_tokens=True)
                after = self.tokenizer.decode(ids[max(0, i - 6) : i + 1], skip_special_tokens=True)
                text += after[_shared(before, after) :]
            spans.append((start, len(text)))
        return text, spans


def _characters(text: str) -> np.ndarray:
    """For each byte of a text (stand-ins count one byte) the number of its character, and the count of all behind."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    widths[(codes >= 0xDC80) & (codes <= 0xDCFF)] = 1
    return np.append(np.repeat(np.arange(len(text)), widths), len(text))


def _shared(a: str, b: str) -> int:
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@cache
def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-in of every byte, inverted."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}
