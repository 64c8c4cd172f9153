"""Kept traces as training data: chat rows with think tags (columns as TRL wants them), and a dataset folder."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from backcast.core.files import write_atomic
from backcast.core.trace import Trace
from backcast.lm.chat import join_thinking

COLUMNS = {
    "license": ("license", "licence"),
    "source": ("source",),
    "category": ("category", "kind", "type", "domain"),
}
"""Columns of the input that are carried over, by the names they may have there."""
WORDS = {
    None: "accepted",
    "not better": "scored, not chosen",
    "overlap": "rejected: copies the text",
    "duplicate": "rejected: repeats another",
    "unparsed": "rejected: could not be read",
    "empty": "rejected: empty",
}
"""What became of a candidate, in the words of the card."""


def rows(traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    """One row per kept trace: ``messages``, the same as ``prompt`` and ``completion``, and what is known of it.

    The assistant's turn is ``<think>``, the thinking, ``</think>``, a blank line and the answer: the text that was
    scored.
    """
    for trace in traces:
        if trace.outcome is None:
            continue
        data = trace.data
        asked = [{"role": "user", "content": data["prompt"]}]
        said = [{"role": "assistant", "content": join_thinking(trace.outcome, data["answer"])}]
        yield {
            "id": trace.id,
            "messages": asked + said,
            "prompt": asked,
            "completion": said,
            "thinking": trace.outcome,
            "answer": data["answer"],
            **{name: _carried(data["item"], aliases) for name, aliases in COLUMNS.items()},
            "request": data["lineage"]["request"],
            "nll_plain": data["nll"]["plain"],
            "nll_start": data["nll"]["start"],
            "nll_final": data["nll"]["final"],
            "overlap": data["overlap"]["ngram"],
            "content_overlap": data["overlap"]["content"],
        }


def write_dataset(folder: Path, traces: Sequence[Trace], lineage: Sequence[str] = ()) -> Path:
    """Writes ``train.jsonl``, ``train.parquet`` and the card ``README.md``; returns the folder.

    ``load_dataset(folder)`` reads the parquet file. ``lineage``: lines that say how the traces were made.
    """
    found = list(rows(traces))
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    write_atomic(folder / "train.jsonl", text)
    write_parquet(folder / "train.parquet", found)
    write_atomic(folder / "README.md", card(traces, found, lineage))
    return folder


def write_parquet(path: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """The rows as one parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    kinds = {"messages": turns, "prompt": turns, "completion": turns}
    names = [*kinds, "id", "thinking", "answer", *COLUMNS, "request"]
    numbers = ["nll_plain", "nll_start", "nll_final", "overlap", "content_overlap"]
    schema = pa.schema(
        [(name, kinds.get(name, pa.string())) for name in names] + [(name, pa.float64()) for name in numbers]
    )
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist([dict(row) for row in found], schema=schema), partial)
    partial.replace(path)


def card(traces: Sequence[Trace], found: Sequence[Mapping[str, Any]], lineage: Sequence[str]) -> str:
    """The dataset card: sources, licences, mix of categories, filter counts, overlap statistics."""
    licences = Counter(row["license"] or "not stated" for row in found)
    single = next(iter(licences)) if len(licences) == 1 else "other"
    head = {
        "license": "unknown" if single == "not stated" else single.lower(),
        "tags": ["reasoning", "backcast", "reer"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}],
    }
    fates = Counter(trace.data["dropped"] or "kept" for trace in traces)
    drawn = (c for trace in traces for step in trace.data["steps"] for c in step["candidates"])
    candidates = Counter(WORDS.get(c["rejected"], c["rejected"]) for c in drawn)
    parts = [
        "# Reasoning found backwards from good texts",
        "Each row is a request, thinking that makes a known good text likely, and that text. The thinking was found by "
        "REER (arXiv 2509.06160): it was edited segment by segment while a language model's likelihood of the text "
        "decided. It is a model's reconstruction and not what the author thought; it may be wrong about the text.",
        "## Made by\n\n" + "\n".join(f"- {line}" for line in lineage or ["not recorded"]),
        _table("Sources", Counter(row["source"] or "not stated" for row in found)),
        _table("Licences (column `license`, per row)", licences),
        _table("Categories", Counter(row["category"] or "not stated" for row in found)),
        _table("Requests", Counter(row["request"] for row in found)),
        _table("Items: kept, or dropped by a filter", fates, "items"),
        _table("Candidates of the search", candidates, "candidates"),
        "## Likelihood and overlap\n\n" + _statistics(found),
    ]
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    return f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n"


def _statistics(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "No row was kept."
    lines = ["| | mean | highest |", "|---|---|---|"]
    for name, meaning in {
        "nll_plain": "NLL of the text without thinking, nats/token",
        "nll_start": "... under the first thinking",
        "nll_final": "... under the thinking given here",
        "overlap": "n-gram overlap of thinking and text",
        "content_overlap": "share of the thinking's content words that the text holds",
    }.items():
        values = [row[name] for row in found]
        lines.append(f"| {meaning} | {fmean(values):.4f} | {max(values):.4f} |")
    return "\n".join(lines)


def _table(title: str, counts: Counter[str], what: str = "rows") -> str:
    total = counts.total()
    lines = [f"| {name} | {count} | {100 * count / total:.1f} % |" for name, count in counts.most_common()]
    return "\n".join([f"## {title}", "", f"| | {what} | share |", "|---|---|---|", *lines])


def _carried(item: Mapping[str, Any], aliases: Sequence[str]) -> str | None:
    return next((str(item[name]) for name in aliases if item.get(name) is not None), None)
