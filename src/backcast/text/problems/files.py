"""Question files: JSON Lines, JSON, CSV and parquet, in any of the known layouts, one layout a file."""

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.problem import content_id, read_jsonl
from backcast.text.problems.cells import cell
from backcast.text.problems.layouts import LAYOUTS, Layout, recognise
from backcast.text.problems.question import Question, by_id

MMLU_HEADER = ("question", "A", "B", "C", "D", "answer")
"""MMLU's own tables have no header."""


def read_questions(path: Path | str, seed: int = 0) -> list[Question]:
    """The questions of a file.

    The layout is told by the columns; a set whose right answer stands first in the file (GPQA) is shuffled by ``seed``.
    Raises BadInput with the line for a layout that is not known, a second layout in the same file, and whatever
    ``Question.checked`` refuses (the first such line in words, the others by number); for ids that come twice; and for
    a file without questions. A question without an id is named by its content; where it comes again, with a number.
    """
    path = Path(path)
    rows = list(_rows(path))
    if not rows:
        raise BadInput(f"{path}: no questions; give at least one")
    layout = _layout(path, rows)
    first = _first_index(path, rows) if layout.name == "MedMCQA" else 0
    found, refused, names = [], dict[int, str](), Counter[str]()
    for line, row in rows:
        try:
            made = _question(layout, row, first)
        except BadInput as error:
            refused[line] = f"line {line} ({layout.name}): {error}"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            refused[line] = f"line {line}: not what {layout.name} rows hold ({_said(error)})"
        else:
            found.append(made if made.id else _named(made, names))
    if refused:
        raise BadInput(f"{path}, {next(iter(refused.values()))}{_others(list(refused)[1:])}")
    by_id(found, str(path))
    return [question.shuffled(seed) for question in found] if layout.shuffle else found


def _question(layout: Layout, row: dict[str, Any], first: int) -> Question:
    fields = layout.read({**row, "cop": _index(row["cop"]) - first} if layout.name == "MedMCQA" else row)
    name = fields.pop("id", None)
    return Question(id="" if name is None else str(name), **fields, item=dict(row)).checked()


def _others(lines: Sequence[int]) -> str:
    if not lines:
        return ""
    shown = ", ".join(map(str, lines[:10])) + (", ..." if len(lines) > 10 else "")
    return f" ({len(lines)} more {'line' if len(lines) == 1 else 'lines'} cannot be used: {shown})"


def is_questions(row: dict[str, Any]) -> bool:
    """Whether a file whose first row this is holds questions that a rule can check, rather than writing pairs."""
    layout = recognise(row)
    return layout is not None and (layout.name != "verifiable" or row.get("kind") in ("choice", "numeric", "exact"))


def split(questions: Sequence[Question], heldout: float, seed: int = 0) -> tuple[list[Question], list[Question]]:
    """(to learn from, held out): a share ``heldout``, at least one of each, drawn by ``seed``."""
    if len(questions) < 2:
        raise BadInput(f"{len(questions)} questions cannot be split; give at least 2")
    order = list(questions)
    random.Random(seed).shuffle(order)
    count = min(len(order) - 1, max(1, round(heldout * len(order))))
    return order[count:], order[:count]


def _named(question: Question, names: Counter[str]) -> Question:
    name = content_id(question.context, question.question, *question.options, question.answer)
    names[name] += 1
    return replace(question, id=name if names[name] == 1 else f"{name}-{names[name]}")


def _layout(path: Path, rows: Sequence[tuple[int, dict[str, Any]]]) -> Layout:
    found: dict[str, int] = {}
    last: Layout | None = None
    for line, row in rows:
        layout = recognise(row)
        if layout is None:
            columns, known = ", ".join(map(str, row)) or "none", ", ".join(dict.fromkeys(k.name for k in LAYOUTS))
            raise BadInput(f"{path}, line {line}: its columns ({columns}) are no known layout of questions ({known})")
        found.setdefault(layout.name, line)
        last = last or layout
    if len(found) > 1:
        places = ", ".join(f"{name} from line {line}" for name, line in found.items())
        raise BadInput(f"{path} mixes layouts ({places}); put each into a file of its own")
    assert last is not None
    return last


def _first_index(path: Path, rows: Sequence[tuple[int, dict[str, Any]]]) -> int:
    """Whether MedMCQA's ``cop`` counts from 0 (as its tables are distributed) or 1 (the original files)."""
    seen: dict[int, int] = {}
    for line, row in rows:
        try:
            seen.setdefault(_index(row["cop"]), line)
        except (TypeError, ValueError):
            raise BadInput(f"{path}, line {line} (MedMCQA): cop '{row['cop']}' is no number") from None
    if -1 in seen:
        raise BadInput(
            f"{path}, line {seen[-1]} (MedMCQA): cop is -1, as in the test split, whose answers are kept back"
        )
    if 0 in seen and 4 in seen:
        raise BadInput(f"{path}: cop is 0 in line {seen[0]} and 4 in line {seen[4]}; it counts from 0 or from 1")
    return 1 if 4 in seen else 0


def _index(value: Any) -> int:
    return int(float(value))


def _said(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)[:80]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) pairs; the line of a parquet row or a JSON entry is its number, from 1."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _parquet(path)
    if kind in (".csv", ".tsv"):
        return _table(path, "\t" if kind == ".tsv" else ",")
    if kind == ".json":
        return _json(path)
    return read_jsonl(path)


def _json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """A list of objects, or an object of objects whose keys are the ids (PubMedQA's own file)."""
    text = _read(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if "\n{" in text.strip():  # JSON Lines under another name
            yield from read_jsonl(path)
            return
        raise BadInput(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    entries: list[Any]
    if isinstance(value, dict) and value and all(isinstance(entry, dict) for entry in value.values()):
        entries = [{"id": key, **entry} for key, entry in value.items()]
    else:
        entries = value if isinstance(value, list) else [value]
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise BadInput(f"{path}, entry {number}: expected an object, found {type(entry).__name__}")
        yield number, entry


def _table(path: Path, mark: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Only line ends end a line: texts copied from pages hold U+2028 and its like without quotes.
    reader = csv.reader(io.StringIO(_read(path), newline=""), delimiter=mark, strict=True)
    header: Sequence[str] | None = None
    for line, cells in _lines(path, reader):
        if not any(text.strip() for text in cells):
            continue
        if header is None:
            bare = len(cells) == len(MMLU_HEADER) and cells[-1].strip() in tuple("ABCD")
            header = MMLU_HEADER if bare else [text.strip() for text in cells]
            if not bare:
                continue
        if len(cells) != len(header):
            raise BadInput(f"{path}, line {line}: {len(cells)} cells under {len(header)} columns")
        yield line, {name: cell(name, text) for name, text in zip(header, cells, strict=True)}


def _lines(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line on which it ends, cells)."""
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: not a table ({error})") from None


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise BadInput("parquet files need pyarrow; run: pip install 'backcast[text]'") from None
    if not path.is_file():
        raise BadInput(f"no such file: '{path}'; give the path of a question file")
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read '{path}': {str(error).splitlines()[0]}") from None
    yield from enumerate(rows, start=1)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; give the path of a question file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read '{path}': {error}; give a UTF-8 file") from None
