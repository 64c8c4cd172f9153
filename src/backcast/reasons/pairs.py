"""Reading what is asked and what answered it well: writing pairs, bare texts, and benchmark requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.problem import content_id, read_jsonl

ALIASES = {
    "prompt": ("prompt", "question", "instruction", "query", "request"),
    "answer": ("answer", "solution", "output", "response"),
    "text": ("text", "answer", "content"),
    "id": ("id", "index", "uid"),
}
"""Column names accepted for each, best first."""


@dataclass(frozen=True)
class Pair:
    """A request and a text known to answer it well."""

    id: str
    prompt: str
    answer: str
    item: Mapping[str, Any] = field(default_factory=dict)
    """The other columns of the input (source, licence, category, ...)."""


@dataclass(frozen=True)
class Request:
    """A writing request without an answer, as benchmarks give it."""

    id: str
    prompt: str
    layout: str
    """Which benchmark's layout it was read from: writingbench, longbench-write, hellobench or plain."""
    category: str | None = None
    words: int | None = None
    """The length asked for, where the benchmark states it."""
    criteria: tuple[str, ...] = ()
    """What a judge is to check, where the benchmark states it."""


def read_pairs(path: Path | str) -> list[Pair]:
    """The writing pairs of a JSON Lines file: ``{id?, prompt, answer}`` or an alias of these, other columns kept.

    An answer that holds its own thinking loses it (what follows the last ``</think>`` stays; REER's code). Raises
    BadInput for a missing column (naming those found), an empty request or answer, and an id that comes twice.
    """
    pairs = []
    for number, row in read_jsonl(path):
        asked, answer = _column(row, "prompt", path, number), _column(row, "answer", path, number)
        prompt, text = _text(row, asked, path, number), _text(row, answer, path, number).split("</think>")[-1].strip()
        if not text:
            raise BadInput(f"{path}, line {number}: empty '{answer}'; give a text or remove the line")
        name = _id(row, prompt, text)
        rest = {key: value for key, value in row.items() if key not in (asked, answer, "id")}
        pairs.append(Pair(name, prompt, text, rest))
    return _distinct(pairs, path)


def read_texts(path: Path | str) -> list[Pair]:
    """Bare good texts, ``{id?, text}``, as pairs whose request is still empty. Errors as in ``read_pairs``."""
    pairs = []
    for number, row in read_jsonl(path):
        column = _column(row, "text", path, number)
        text = _text(row, column, path, number)
        rest = {key: value for key, value in row.items() if key not in (column, "id")}
        pairs.append(Pair(_id(row, text), "", text, rest))
    return _distinct(pairs, path)


def read_requests(path: Path | str) -> list[Request]:
    """Writing requests in the layout of WritingBench, LongBench-Write or HelloBench, or plain ``{id?, prompt}``.

    The layout is told by the columns of each line. Raises BadInput for a line without any request column.
    """
    found = []
    for number, row in read_jsonl(path):
        layout = _layout(row)
        column = "chat_prompt" if layout == "hellobench" else _column(row, "prompt", path, number)
        prompt = _text(row, column, path, number)
        length = row.get("length")
        found.append(
            Request(
                id=_id(row, prompt),
                prompt=prompt,
                layout=layout,
                category=next((str(row[key]) for key in ("domain2", "type", "category") if row.get(key)), None),
                words=length if isinstance(length, int) else None,
                criteria=_criteria(row),
            )
        )
    return found


def _layout(row: Mapping[str, Any]) -> str:
    if "chat_prompt" in row:
        return "hellobench"
    if "query" in row and "checklist" in row:
        return "writingbench"
    return "longbench-write" if {"prompt", "type", "length"} <= row.keys() else "plain"


def _criteria(row: Mapping[str, Any]) -> tuple[str, ...]:
    # WritingBench: [{name, criteria_description, "1-2": ..., ...}]; HelloBench: ["question", ...].
    texts = []
    for entry in row.get("checklist") or row.get("checklists") or ():
        if isinstance(entry, Mapping):
            texts.append(f"{entry.get('name', '')}: {entry.get('criteria_description', '')}".strip(": "))
        else:
            texts.append(str(entry))
    return tuple(texts)


def _column(row: Mapping[str, Any], meaning: str, path: Path | str, number: int) -> str:
    found = next((name for name in ALIASES[meaning] if name in row), None)
    if found is None:
        wanted = f"'{meaning}' (or {', '.join(ALIASES[meaning][1:])})"
        hint = "; backcast reason --requests write makes requests" if meaning == "prompt" and "text" in row else ""
        raise BadInput(f"{path}, line {number}: no column {wanted}; found: {', '.join(row) or 'none'}{hint}")
    return found


def _text(row: Mapping[str, Any], column: str, path: Path | str, number: int) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise BadInput(f"{path}, line {number}: '{column}' must be text, found {type(value).__name__}")
    if not value.strip():
        raise BadInput(f"{path}, line {number}: empty '{column}'; give a text or remove the line")
    return value.strip()


def _id(row: Mapping[str, Any], *content: str) -> str:
    given = next((row[name] for name in ALIASES["id"] if row.get(name) is not None), None)
    return content_id(*content) if given is None else str(given)


def _distinct(pairs: Sequence[Pair], path: Path | str) -> list[Pair]:
    if not pairs:
        raise BadInput(f"{path}: no items; give at least one line")
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise BadInput(f"{path}: the id '{pair.id}' comes twice; make ids distinct or leave them out")
        seen.add(pair.id)
    return list(pairs)
