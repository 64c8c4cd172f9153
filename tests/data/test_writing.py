"""The bundled writing pairs keep the promises of the README beside them."""

import json
import re
from collections import Counter
from importlib.resources import files
from itertools import combinations

FOLDER = files("backcast.data") / "writing"
KINDS = {"story", "explanation", "letter", "argument", "how-to", "plan"}


def lines(split: str) -> list[str]:
    return (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()


def pairs(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in lines(split)]


def everything() -> list[dict[str, str]]:
    return pairs("search") + pairs("heldout")


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def subject(pair: dict[str, str]) -> str:
    return pair["id"].removeprefix(pair["kind"] + "-").rsplit("-", 1)[0]


def test_every_line_is_one_object_of_six_text_fields() -> None:
    """Each line parses by itself into the promised fields, none empty or padded, all plain ASCII; all are CC0."""
    for pair in everything():
        assert list(pair) == ["id", "kind", "prompt", "answer", "source", "license"]
        assert pair["license"] == "CC0-1.0"
        for value in pair.values():
            assert value
            assert value == value.strip()
            assert value.isascii()


def test_ids_are_unique_and_name_their_kind() -> None:
    """An id is kind, subject and number; ids and subjects are unique over both splits together."""
    ids = [pair["id"] for pair in everything()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(rf"{pair['kind']}-[a-z]+-\d\d", pair["id"]) for pair in everything())
    assert len({subject(pair) for pair in everything()}) == len(ids)


def test_kinds_are_balanced_over_both_splits() -> None:
    """All six kinds, at least four of each in all, and equally many of each kind within a split."""
    counts = {split: Counter(pair["kind"] for pair in pairs(split)) for split in ("search", "heldout")}
    assert set(counts["search"]) == set(counts["heldout"]) == KINDS
    assert min((counts["search"] + counts["heldout"]).values()) >= 4
    assert all(len(set(count.values())) == 1 for count in counts.values())
    assert len(pairs("search")) >= 16
    assert len(pairs("heldout")) >= 12


def test_readme_counts_are_the_counts() -> None:
    """The table of the README says how many pairs of each kind there are, and it names the licence."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    search, heldout = (Counter(pair["kind"] for pair in pairs(split)) for split in ("search", "heldout"))
    for kind in KINDS:
        assert f"| {kind} | {search[kind]} | {heldout[kind]} |" in readme
    assert f"| all | {search.total()} | {heldout.total()} |" in readme
    assert "CC0-1.0" in readme


def test_answers_split_into_paragraphs_long_enough_to_search() -> None:
    """Answers have 170-280 words in 3 to 5 paragraphs of at least 120 characters, so that a splitter finds them all."""
    for pair in everything():
        paragraphs = pair["answer"].split("\n\n")
        assert 3 <= len(paragraphs) <= 5, pair["id"]
        assert all(len(p) >= 120 and p == p.strip() for p in paragraphs), pair["id"]
        assert 170 <= len(pair["answer"].split()) <= 280, pair["id"]


def test_prompts_are_one_line_and_do_not_give_the_answer_away() -> None:
    """A prompt is one line of 4 to 45 words and shares no run of six words with its own answer."""
    for pair in everything():
        assert "\n" not in pair["prompt"]
        assert 4 <= len(pair["prompt"].split()) <= 45, pair["id"]
        assert not grams(pair["prompt"], 6) & grams(pair["answer"], 6), pair["id"]


def test_no_two_texts_share_a_run_of_eight_words() -> None:
    """No 8-gram of one pair (prompt or answer) occurs in another, within a split or across the splits."""
    seen = {pair["id"]: grams(pair["prompt"], 8) | grams(pair["answer"], 8) for pair in everything()}
    for one, other in combinations(seen, 2):
        assert not seen[one] & seen[other], (one, other)


def test_openings_differ() -> None:
    """No two answers begin with the same two words, salutations apart: the set is no template."""
    openings = Counter(
        tuple(pair["answer"].lower().split()[:2]) for pair in everything() if not pair["answer"].startswith("Dear ")
    )
    assert max(openings.values()) == 1, openings.most_common(3)
