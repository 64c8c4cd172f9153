"""Batched decoding that can remember: what rows share is read once, and a next turn reads only what is new.

``transformers.generate`` reads a conversation from its beginning at every turn. Here keys and values of the last batch
are kept if asked for. Rows of different lengths share one rectangle of slots; a slot that holds nothing for a row is
masked, wherever it lies, and places come from the model's own rule (``get_rope_index``), so that the same is computed
as without memory.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Whose marks grow by one rule, and whose layers all attend to everything before."""
SHARED = 16
"""Least tokens of a common beginning that are worth a pass of their own."""


@dataclass
class Row:
    """One conversation on its way to the model, or as it was read."""

    text: str
    """Rendered, with a single mark for each picture."""
    pictures: Sequence[Any]
    keys: tuple[bytes, ...] = ()
    """One a picture: equal for equal pictures."""
    grids: list[torch.Tensor] = field(default_factory=list)
    """How many patches each picture has in time, height and width."""
    ids: list[int] = field(default_factory=list)
    """Its tokens, each picture's written out."""

    def __post_init__(self) -> None:
        self.keys = self.keys or tuple(_key(picture) for picture in self.pictures)


@dataclass
class Slots:
    """Keys and values of B conversations, T slots wide; row r's tokens are in the slots where ``mask[r]`` is 1."""

    rows: list[Row]
    mask: torch.Tensor
    """(B, T)"""
    cache: Any

    def kept(self, chosen: Sequence[int], counts: Sequence[int]) -> None:
        """Leaves the rows ``chosen``, in that order, each with its first tokens only."""
        at = torch.tensor(list(chosen), device=self.mask.device)
        counted = torch.tensor(list(counts), device=self.mask.device)[:, None]
        mask = self.mask[at]
        self.mask = mask * (mask.cumsum(1) <= counted)
        self.rows = [self.rows[row] for row in chosen]
        self.cache.batch_select_indices(at)


class Memory:
    """Decodes for one model of ``FAMILIES`` and may remember its last batch."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.picture: int = model.config.image_token_id
        self.device = next(model.parameters()).device
        self.keeps = False
        """Whether a batch is remembered for its next turn."""
        self.slots: Slots | None = None
        self.stamp: int | None = None
        self.read = 0
        """Tokens that went through the model so far, padding not counted: what remembering saves shows here."""

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether this can decode for the model; ``transformers.generate`` can for any."""
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
        return model.config.model_type in FAMILIES and kinds == {"full_attention"}

    def decode(
        self,
        rows: Sequence[Row],
        draw: Callable[[Any, torch.Tensor], torch.Tensor],
        longest: int,
        ends: Collection[int],
        check: Callable[[int], None],
    ) -> list[list[int]]:
        """The tokens drawn for each of ``rows``, an end included; at most ``longest``.

        ``draw`` turns logits (rows, vocabulary) into scores, of which the highest is taken; ``check`` is told how long
        the longest row is before anything is read.
        """
        with torch.inference_mode():
            slots, starts, pixels = self._remembered(rows) or self._anew(rows)
            check(max(len(row.ids) for row in rows))
            places, following = self._places(rows)
            if slots is None:
                slots, starts = self._shared(rows, places)
            new = [row.ids[start:] for row, start in zip(rows, starts, strict=True)]
            behind = [place[:, start:] for place, start in zip(places, starts, strict=True)]
            logits = self._step(slots, new, behind, pixels)
            drawn = []
            done = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
            stops = torch.tensor(sorted(ends), dtype=torch.long, device=self.device)
            while True:
                token = draw(None, logits).argmax(-1)
                drawn.append(token.masked_fill(done, -1))
                done = done | torch.isin(token, stops)
                if len(drawn) == longest or bool(done.all()):
                    break
                place = (following + len(drawn) - 1)[None, :, None].expand(3, -1, -1)
                logits = self._forward(slots, token[:, None], (~done)[:, None].long(), place, {})
        table = torch.stack(drawn, 1).tolist()
        found = [[token for token in row if token >= 0] for row in table]
        fed = [tokens[: len(drawn) - 1] for tokens in found]
        fed = [tokens[:-1] if tokens and tokens[-1] in ends else tokens for tokens in fed]
        for row, tokens in zip(rows, fed, strict=True):
            self.read += len(tokens)
            row.ids = row.ids + tokens
        slots.rows = list(rows)
        self.slots = slots if self.keeps else None
        return found

    def _remembered(self, rows: Sequence[Row]) -> tuple[Slots, list[int], dict[str, Any]] | None:
        """(slots of the rows that ``rows`` go on from, how many tokens of each are known, pixels of the new pictures).

        None unless each of ``rows`` goes on from a row of the last batch, and the weights are the same.
        """
        slots, self.slots = self.slots, None
        stamp = _stamp(self.model)
        same, self.stamp = stamp == self.stamp, stamp
        if slots is None or not same:
            return None
        chosen: list[int] = []
        for row in rows:
            before = (
                number
                for number, old in enumerate(slots.rows)
                if number not in chosen and row.text.startswith(old.text) and row.keys[: len(old.keys)] == old.keys
            )
            if (found := next(before, None)) is None:
                return None
            chosen.append(found)
        olds = [slots.rows[number] for number in chosen]
        pixels = self._prepared(rows, [old.grids for old in olds])
        starts = [_common(old.ids, row.ids[:-1]) for old, row in zip(olds, rows, strict=True)]
        for row, old, start in zip(rows, olds, starts, strict=True):
            if old.ids.count(self.picture) != row.ids[:start].count(self.picture):
                return None  # the tokens changed within what was read: nothing is known of this picture
        slots.kept(chosen, starts)
        return slots, starts, pixels

    def _anew(self, rows: Sequence[Row]) -> tuple[None, list[int], dict[str, Any]]:
        return None, [0] * len(rows), self._prepared(rows, [[] for _ in rows])

    def _prepared(self, rows: Sequence[Row], known: Sequence[list[torch.Tensor]]) -> dict[str, Any]:
        """Fills in tokens and grids; the pixels of the pictures that are not known, row after row."""
        new = [picture for row, grids in zip(rows, known, strict=True) for picture in row.pictures[len(grids) :]]
        pixels: dict[str, Any] = {}
        if new:
            found = self.processor.image_processor(images=new, return_tensors="pt")
            pixels = {name: found[name].to(self.device) for name in ("pixel_values", "image_grid_thw")}
        fresh = iter(pixels["image_grid_thw"] if new else ())
        mark, merged = self.processor.image_token, self.processor.image_processor.merge_size**2
        texts = []
        for row, grids in zip(rows, known, strict=True):
            row.grids = [*grids, *(next(fresh) for _ in row.pictures[len(grids) :])]
            pieces = row.text.split(mark)
            marks = [mark * (int(grid.prod()) // merged) for grid in row.grids]
            texts.append(pieces[0] + "".join(a + b for a, b in zip(marks, pieces[1:], strict=True)))
        ids = self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
        for row, tokens in zip(rows, ids, strict=True):
            row.ids = tokens
        return pixels

    def _places(self, rows: Sequence[Row]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """((3, tokens) places of each row's tokens, (rows,) the place that follows)."""
        ids, mask = _left([row.ids for row in rows])
        grids = [grid for row in rows for grid in row.grids]
        kinds = ((ids == self.picture) & (mask > 0)).int()
        found, _ = self.model.model.get_rope_index(
            ids,
            mm_token_type_ids=kinds,
            image_grid_thw=torch.stack(grids).cpu() if grids else None,
            attention_mask=mask,
        )
        found = found.to(self.device)
        places = [found[:, row, found.shape[2] - len(one.ids) :] for row, one in enumerate(rows)]
        return places, torch.stack([place.max() + 1 for place in places])

    def _shared(self, rows: Sequence[Row], places: Sequence[torch.Tensor]) -> tuple[Slots, list[int]]:
        """Slots that hold what all rows begin with, read once, and how many tokens of each that is."""
        first = rows[0].ids
        count = min(len(row.ids) for row in rows) - 1
        count = min(count, *(_common(first, row.ids) for row in rows))
        count = first.index(self.picture) if self.picture in first[:count] else count
        if len(rows) == 1 or count < SHARED:
            empty = torch.zeros(len(rows), 0, dtype=torch.long, device=self.device)
            return Slots(list(rows), empty, DynamicCache()), [0] * len(rows)
        one = Slots(list(rows), torch.zeros(1, 0, dtype=torch.long, device=self.device), DynamicCache())
        self._step(one, [first[:count]], [places[0][:, :count]], {})
        one.cache.batch_repeat_interleave(len(rows))
        one.mask = one.mask.expand(len(rows), -1)
        return one, [count] * len(rows)

    def _step(
        self, slots: Slots, new: Sequence[list[int]], places: Sequence[torch.Tensor], pixels: dict[str, Any]
    ) -> torch.Tensor:
        """Reads further tokens; the logits behind the last of each row."""
        ids, mask = _left(new)
        where = torch.zeros(3, *ids.shape, dtype=torch.long, device=self.device)
        for row, place in enumerate(places):
            where[:, row, ids.shape[1] - place.shape[1] :] = place
        self.read += sum(map(len, new))
        return self._forward(slots, ids.to(self.device), mask.to(self.device), where, pixels)

    def _forward(
        self, slots: Slots, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor, pixels: dict[str, Any]
    ) -> torch.Tensor:
        slots.mask = torch.cat([slots.mask, mask], 1)
        out = self.model(
            input_ids=ids,
            attention_mask=slots.mask,
            position_ids=places,
            past_key_values=slots.cache,
            use_cache=True,
            logits_to_keep=1,
            **pixels,
        )
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits


def _left(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, which of them are there), padded on the left with 0."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _key(picture: Any) -> bytes:
    found = hashlib.sha256(f"{picture.mode} {picture.size}".encode())
    found.update(picture.tobytes())
    return found.digest()


def _stamp(model: Any) -> int:
    """Changes whenever a weight is changed or replaced, so that nothing read with other weights is used."""
    return hash(tuple((weight.data_ptr(), weight._version) for weight in model.parameters()))
