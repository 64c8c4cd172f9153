"""Traces as training data: rows, parquet, and the card's counts."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backcast.core.problem import Score
from backcast.core.trace import Trace
from backcast.reasons.export import rows, write_dataset


def trace(name: str, thinking: str | None, dropped: str | None = None, **item: Any) -> Trace:
    nlls = {"plain": 3.0, "empty": 3.1, "start": 3.2, "final": 2.5}
    data = {
        "prompt": f"Ask {name}.",
        "answer": f"Say {name}.",
        "item": item,
        "lineage": {"request": "given"},
        "dropped": dropped,
        "nll": nlls,
        "overlap": {"ngram": 0.05, "content": 0.4},
        "steps": [{"candidates": [{"rejected": fate} for fate in (None, "not better", "overlap", "overlap")]}],
    }
    return Trace(name, name, "reer", thinking, Score(2.5, nlls, 3.0), data)


TRACES = [
    trace("a", "Think a.", kind="story", license="CC0-1.0", source="s1"),
    trace("b", "Think b.", kind="letter", licence="CC0-1.0", source="s1"),
    trace("c", None, "overlap", kind="letter"),
]


def test_rows_are_chat_with_think_tags() -> None:
    """A kept trace is one user turn and one assistant turn that thinks, closes the tag, and answers."""
    first, second = rows(TRACES)
    assert first["messages"] == [
        {"role": "user", "content": "Ask a."},
        {"role": "assistant", "content": "<think>\nThink a.\n</think>\n\nSay a."},
    ]
    assert first["prompt"] + first["completion"] == first["messages"]
    assert (second["license"], second["category"], second["source"]) == ("CC0-1.0", "letter", "s1")


def test_dataset_folder(tmp_path: Path) -> None:
    """JSONL and parquet hold the same rows; the card counts sources, licences, categories and dropped items."""
    write_dataset(tmp_path / "d", TRACES, ["generator: m"])
    lines = [json.loads(line) for line in (tmp_path / "d/train.jsonl").read_text().splitlines()]
    assert pq.read_table(tmp_path / "d/train.parquet").to_pylist() == [
        {key: line[key] for key in pq.read_schema(tmp_path / "d/train.parquet").names} for line in lines
    ]
    card = (tmp_path / "d/README.md").read_text()
    for said in (
        'license: "cc0-1.0"',
        "- generator: m",
        "| s1 | 2 | 100.0 % |",
        "| CC0-1.0 | 2 | 100.0 % |",
        "| story | 1 | 50.0 % |",
        "| overlap | 1 | 33.3 % |",
        "| n-gram overlap of thinking and text | 0.0500 | 0.0500 |",
        "| share of the thinking's content words that the text holds | 0.4000 | 0.4000 |",
        "| rejected: copies the text | 6 | 50.0 % |",
        "| scored, not chosen | 3 | 25.0 % |",
    ):
        assert said in card


def test_datasets_reads_the_folder(tmp_path: Path) -> None:
    """``load_dataset`` on the folder gives the rows, once."""
    datasets = pytest.importorskip("datasets")
    write_dataset(tmp_path / "d", TRACES)
    found = datasets.load_dataset(str(tmp_path / "d"), cache_dir=str(tmp_path / "cache"), split="train")
    assert found["id"][:] == ["a", "b"]
    assert found[0]["messages"][1]["content"].startswith("<think>\nThink a.")


def test_licences_that_differ_are_said_to() -> None:
    """A dataset of several licences is 'other'; without any it is 'unknown'."""
    from backcast.reasons.export import card

    mixed = [TRACES[0], trace("d", "t", license="MIT")]
    assert 'license: "other"' in card(mixed, list(rows(mixed)), [])
    bare = [trace("e", "t")]
    assert 'license: "unknown"' in card(bare, list(rows(bare)), [])
