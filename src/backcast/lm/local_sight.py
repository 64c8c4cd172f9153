"""A vision-language model in this process: template, pictures, batched drawing; transformers underneath."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, GenerationConfig, LogitsProcessor, LogitsProcessorList

from backcast.core.errors import BadInput
from backcast.lm.base import Sampling
from backcast.lm.models import content_hash, no_bars, weight_files
from backcast.lm.processors import open_processor
from backcast.lm.sight import Reply, Tool, Turn
from backcast.lm.sight_memory import Memory, Row

HERMES = """You have tools. Their signatures, one a line:
<tools>
{tools}
</tools>
To use one, end your turn with its name and arguments as JSON, like this:
<tool_call>
{{"name": "NAME", "arguments": {{}}}}
</tool_call>"""
"""What a template without tools of its own gets as (the end of) the system's turn; the form of Qwen's templates."""


class LocalSight:
    """A vision-language model of transformers and its processor.

    Tools go through ``apply_chat_template(tools=)``; a template that shows nothing of them gets ``HERMES`` as the end
    of the system's turn instead, and ``tools_by`` says which it was. A tool's turn keeps its role and its pictures
    where the template knows tools and renders pictures there (``results`` is ``"tool"``); where it knows tools and
    drops pictures, they follow in a user's turn (``"tool+user"``); where it knows no tools, the result is a user's turn
    (``"user"``). That no picture is lost is checked in every prompt.
    """

    def __init__(self, model: Any, processor: Any, name: str = "model", fingerprint: str = "") -> None:
        self.name, self.fingerprint = name, fingerprint
        self.model, self.processor, self.tokenizer = model.eval(), processor, processor.tokenizer
        self.tokenizer.padding_side = "left"  # as generation needs it
        self.device = next(model.parameters()).device
        self.context: int = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        self.ends = self._ends()
        # The folder's own generation settings (top_k, penalties) would bend what ``Sampling`` asks for.
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.ends)
        self._plain = {"do_sample": False, "eos_token_id": sorted(self.ends), "pad_token_id": pad}
        model.generation_config = _generation(**self._plain)
        self.memory = Memory(model, processor) if Memory.fits(model) else None
        """Decodes where it can, and remembers within ``remembering``."""
        self.results = self._probe()
        self.tools_by: str | None = None
        """Set when tools are first rendered: ``template`` or ``system``."""

    @classmethod
    def open(
        cls, folder: Path, dtype: str | None = None, device: str | None = None, name: str | None = None
    ) -> "LocalSight":
        """The model of a Hugging Face folder. Raises BadInput if it does not load or takes no pictures."""
        from backcast.lm.local import _device, _dtype

        where = _device(device)
        kind = _dtype(dtype or ("float32" if where.type == "cpu" else "bfloat16"))
        processor = open_processor(folder)
        auto: Any = AutoModelForImageTextToText
        try:
            with no_bars(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = auto.from_pretrained(folder, dtype=kind, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BadInput(f"'{folder}' cannot be loaded: {reason[:300]}; check that the folder is complete") from error
        found = hashlib.sha256(str(kind).encode())
        names = ("config.json", "*processor*.json", "tokenizer*", "chat_template*")
        files = {file for pattern in names for file in folder.glob(pattern)} | set(weight_files(folder))
        for file in sorted(files):
            found.update(file.name.encode() + content_hash(file).encode())
        return cls(model.to(where), processor, name or str(folder), found.hexdigest()[:32])

    @property
    def cell(self) -> int | None:
        """Pixels along a side of what becomes one token, if the model has such a grid (Qwen: patch times merge)."""
        pixels = self.processor.image_processor
        merge = getattr(pixels, "merge_size", None)
        return int(pixels.patch_size) * int(merge) if merge else None

    def reply(self, conversations: Sequence[Sequence[Turn]], tools: Sequence[Tool], sampling: Sampling) -> list[Reply]:
        """As ``Sight.reply``: all conversations in one batch; each row draws from its own stream.

        Within ``remembering``, conversations that all go on from the last batch's are not read again from their
        beginning. Raises BadInput for a prompt that does not fit the model's context.
        """
        if self.memory is None or sampling.stop or not conversations:
            return self.reply_anew(conversations, tools, sampling)
        rows = [Row(text, pictures) for text, pictures in self._rendered(conversations, tools)]
        draw = _Draw(sampling, [_stream(row.text, row.pictures, sampling.seed) for row in rows], self.never)
        lengths = list[int]()

        def check(longest: int) -> None:
            self._check(longest, sampling)
            lengths.extend(len(row.ids) for row in rows)

        drawn = self.memory.decode(rows, draw, sampling.max_tokens, self.ends, check)
        return [self._read(row, count, ()) for row, count in zip(drawn, lengths, strict=True)]

    def reply_anew(
        self, conversations: Sequence[Sequence[Turn]], tools: Sequence[Tool], sampling: Sampling
    ) -> list[Reply]:
        """``reply`` by ``transformers.generate``, which reads every conversation from its beginning."""
        if not conversations:
            return []
        texts, pictures = zip(*self._rendered(conversations, tools), strict=True)
        inputs = self.encode(texts, pictures)
        read = inputs["attention_mask"].sum(1).tolist()
        self._check(max(read), sampling)
        draw = _Draw(sampling, [_stream(*row, sampling.seed) for row in zip(texts, pictures, strict=True)])
        config = _generation(**self._plain, max_new_tokens=sampling.max_tokens, suppress_tokens=self.never or None)
        stops = {"stop_strings": list(sampling.stop), "tokenizer": self.tokenizer} if sampling.stop else {}
        with torch.inference_mode():
            out = self.model.generate(
                **inputs, generation_config=config, logits_processor=LogitsProcessorList([draw]), **stops
            )
        rows = out[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._read(row, count, sampling.stop) for row, count in zip(rows, read, strict=True)]

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within it, the last batch of conversations is remembered for their next turn; then it is dropped."""
        if self.memory is None:
            yield
            return
        self.memory.keeps = True
        try:
            yield
        finally:
            self.memory.keeps, self.memory.slots = False, None

    def _rendered(self, conversations: Sequence[Sequence[Turn]], tools: Sequence[Tool]) -> list[tuple[str, list[Any]]]:
        return [
            (self.render(turns, tools), [picture for turn in turns for picture in turn.pictures])
            for turns in conversations
        ]

    def _check(self, longest: int, sampling: Sampling) -> None:
        if longest + sampling.max_tokens > self.context:
            raise BadInput(
                f"a prompt of {longest} tokens + {sampling.max_tokens} new is more than the {self.context} that "
                f"'{self.name}' takes; show smaller pictures or allow shorter replies"
            )

    def render(self, turns: Sequence[Turn], tools: Sequence[Tool], opened: bool = True) -> str:
        """The exact text that the model reads, with its marks for pictures; ``opened`` begins the assistant's turn.

        Raises BadInput if the template refuses the conversation, or if a picture (or a picture's mark) is lost.
        """
        plain = self._apply(turns, (), opened)
        if not tools:
            return plain
        told = self._apply(turns, tools, opened)
        self.tools_by = "system" if told == plain else "template"
        return self._apply(with_tools(turns, tools), (), opened) if told == plain else told

    def encode(self, texts: Sequence[str], pictures: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Tensors of rendered conversations and their pictures, padded on the left, on the model's device."""
        nested = [list(row) for row in pictures]
        asked = {"images": nested} if any(nested) else {}
        found = self.processor(text=list(texts), **asked, padding=True, return_tensors="pt", add_special_tokens=False)
        return {key: value.to(self.device) for key, value in found.items()}

    def encode_with_offsets(
        self, text: str, pictures: Sequence[Any]
    ) -> tuple[dict[str, Any], list[tuple[int, int]], list[tuple[int, int]]]:
        """(tensors of one rendered conversation, the characters of each token, how the text grew before tokenising).

        Marks of pictures are written out as many tokens first; the characters count in that longer text. The last part
        holds, for each mark, where it ended in ``text`` and how many characters it grew by.
        """
        asked = {"images": [list(pictures)]} if pictures else {}
        found = self.processor(
            text=[text],
            **asked,
            return_tensors="pt",
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
        )
        offsets = [(int(start), int(end)) for start, end in found.pop("offset_mapping")[0]]
        replaced = found.pop("text_replacement_offsets", [[]])[0]
        shifts = [
            (part["span"][1], part["new_span"][1] - part["new_span"][0] - (part["span"][1] - part["span"][0]))
            for part in replaced
        ]
        return {key: value.to(self.device) for key, value in found.items()}, offsets, shifts

    def _apply(self, turns: Sequence[Turn], tools: Sequence[Tool], opened: bool) -> str:
        from jinja2 import TemplateError

        try:
            text = self.processor.apply_chat_template(
                chat(turns, self.results), tools=list(tools) or None, tokenize=False, add_generation_prompt=opened
            )
        except TemplateError as error:
            roles = ", ".join(turn.role for turn in turns)
            raise BadInput(
                f"the chat template of '{self.name}' refuses the roles {roles}: {error}; change the messages"
            ) from error
        wanted = sum(len(turn.pictures) for turn in turns)
        marks = str(text).count(self.processor.image_token)
        if marks != wanted:
            raise BadInput(
                f"the chat template of '{self.name}' shows {marks} of {wanted} pictures; is the mark "
                f"'{self.processor.image_token}' part of a text, or the template made for texts only?"
            )
        return str(text)

    def _probe(self) -> str:
        from PIL import Image

        template = self.processor.chat_template or self.tokenizer.chat_template
        if not template:
            raise BadInput(f"'{self.name}' has no chat template (chat_template.jinja), so it cannot be talked to")
        self.results = "user"
        if "'tool'" not in str(template) and '"tool"' not in str(template):
            return "user"
        result = Turn("tool", ("probe-7391", Image.new("RGB", (64, 64))))
        turns = [Turn("user", ("look",)), Turn("assistant", ("probe",)), result]
        for form in ("tool", "tool+user"):
            self.results = form
            try:
                if "probe-7391" in self._apply(turns, (), True):
                    return form
            except BadInput:
                continue
        return "user"

    def _ends(self) -> frozenset[int]:
        ends: set[int] = set()
        for holder in (self.model.generation_config, self.model.config, self.tokenizer):
            found = getattr(holder, "eos_token_id", None)
            ends.update(found if isinstance(found, list) else [] if found is None else [found])
        return frozenset(ends)

    @property
    def never(self) -> list[int]:
        """Tokens that stand for pictures: one that the model wrote itself would have no picture behind it."""
        names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        found = {getattr(self.model.config, name, None) for name in names}
        return sorted(token for token in found if isinstance(token, int))

    def _read(self, row: list[int], prompt: int, stop: Sequence[str]) -> Reply:
        end = next((at for at, token in enumerate(row) if token in self.ends), None)
        text = self.tokenizer.decode(row[:end], skip_special_tokens=False)
        cuts = [text.index(word) for word in stop if word in text]
        if cuts:
            text = text[: min(cuts)]
        return Reply(text, (), len(row) if end is None else end + 1, prompt, end is not None or bool(cuts))


def with_tools(turns: Sequence[Turn], tools: Sequence[Tool]) -> list[Turn]:
    """The conversation with the tools described at the end of its system's turn, which is put there if need be."""
    import json

    told = HERMES.format(tools="\n".join(json.dumps(tool) for tool in tools))
    if turns and turns[0].role == "system":
        return [Turn("system", (f"{turns[0].text}\n\n{told}",)), *turns[1:]]
    return [Turn("system", (told,)), *turns]


def chat(turns: Sequence[Turn], results: str) -> list[dict[str, Any]]:
    """The conversation as chat templates take it; ``results`` is the form of tools' turns (see ``LocalSight``)."""
    found: list[dict[str, Any]] = []
    for turn in turns:
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
            for part in turn.parts
        ]
        if turn.role != "tool" or results == "tool":
            found.append({"role": turn.role, "content": parts})
        elif results == "user":
            found.append({"role": "user", "content": parts})
        else:
            found.append({"role": "tool", "content": [part for part in parts if part["type"] == "text"]})
            if turn.pictures:
                found.append({"role": "user", "content": [part for part in parts if part["type"] == "image"]})
    return found


def _generation(**settings: Any) -> Any:
    build: Any = GenerationConfig  # untyped upstream
    return build(**settings)


def _stream(text: str, pictures: Sequence[Any], seed: int) -> torch.Generator:
    """A conversation's own random stream: the same in any batch."""
    found = hashlib.sha256(f"{seed}|{text}".encode("utf-8", "replace"))
    for picture in pictures:
        found.update(picture.tobytes())
    return torch.Generator().manual_seed(int.from_bytes(found.digest()[:8], "big") >> 1)


class _Draw(LogitsProcessor):
    """Turns greedy decoding into drawing, a stream for each row: argmax of log p + Gumbel noise is a draw from p."""

    def __init__(self, sampling: Sampling, streams: Sequence[torch.Generator], never: Sequence[int] = ()) -> None:
        self.sampling, self.streams, self.never = sampling, streams, list(never)

    def __call__(self, input_ids: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        if self.never:
            scores[:, self.never] = -torch.inf
        if self.sampling.temperature <= 0:
            return scores
        logp = torch.log_softmax(scores.float() / self.sampling.temperature, -1)
        if self.sampling.top_p < 1:
            ordered, order = logp.sort(-1, descending=True)
            before = ordered.exp().cumsum(-1) - ordered.exp()
            out = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= self.sampling.top_p)
            logp = logp.masked_fill(out, -torch.inf)
        noise = torch.stack([torch.rand(logp.shape[-1], generator=stream) for stream in self.streams])
        gumbel: torch.Tensor = -torch.log(-torch.log(noise.clamp(1e-20, 1 - 1e-7)))
        return logp + gumbel.to(logp.device)
