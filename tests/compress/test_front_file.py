"""The pages quote the measured front as its result file has it, and the file says where we stand."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACCURACY = ROOT / "benchmarks" / "effects" / "results" / "compress-accuracy.json"
GAP = ROOT / "benchmarks" / "effects" / "results" / "wgm-gap.json"
FILE = ROOT / "benchmarks" / "effects" / "results" / "wgm-front.json"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the benchmarks are not beside the tests")


def line(row: dict) -> str:
    """A row as the pages print it."""
    return (
        f"| {row['setting']} | {row['true_bits']:.3f} | {row['perplexity']:.2f} | {row['kl']:.4f} | "
        f"{row['agreement']:.3f} |"
    )


@pytest.mark.parametrize(("page", "groups"), [("wgm", None), ("splitquant", ("RTN4", "SplitQuant", "RTN8 row"))])
def test_the_page_quotes_every_row(page, groups):
    """Bits, perplexity, KL and agreement of every row (of these settings) stand on the page, digit for digit."""
    text = (ROOT / "docs" / "methods" / f"{page}.md").read_text()
    assert FILE.name in text
    rows = [row for table in json.loads(FILE.read_text())["tables"].values() for row in table]
    quoted = [row for row in rows if groups is None or row["setting"].startswith(groups)]
    assert quoted
    for row in quoted:
        assert line(row) in text, row["setting"]


def test_the_page_says_who_is_as_good_in_no_more_bits():
    """Per model off its grid and number of bits, the peers of the file, or none; computed here from the rows again."""
    found, text = json.loads(FILE.read_text()), (ROOT / "docs" / "methods" / "wgm.md").read_text()
    peers = ("RTN", "NF4", "HQQ", "torchao", "AutoRound", "llama.cpp")
    off = {title: rows for title, rows in found["tables"].items() if ", off its grid" in title}
    assert len(off) >= 3
    for title, rows in off.items():
        mine = {row["setting"]: row for row in rows if row["setting"].startswith("ours")}
        cells = []
        for our in (mine[f"ours {bits}"] for bits in (3, 4, 5, 6)):
            rivals = [row for row in rows if row["setting"].startswith(peers) and row["true_bits"] <= our["true_bits"]]
            better = [row["setting"] for row in rivals if row["perplexity"] <= our["perplexity"]]
            assert better == found["peers as good in no more bits"][title][our["setting"]]
            cells.append(", ".join(better) or "none")
        assert f"| {title.split(', ')[0]} | {' | '.join(cells)} |" in text


@pytest.fixture(scope="module")
def settings() -> dict[str, dict]:
    """The run of every setting of the papers, on the model as it comes, by setting."""
    return {row["setting"]: row for row in json.loads(FILE.read_text())["settings of the papers"]}


def test_the_page_quotes_every_setting_of_the_papers(settings):
    text = (ROOT / "docs" / "methods" / "wgm.md").read_text()
    assert len(settings) >= 39
    for row in settings.values():
        claimed = "" if row.get("claimed_bits") is None else f"{row['claimed_bits']:.3f}"
        bits = f"{claimed} | {row['true_bits']:.3f} | {row.get('relative_mse', 0):.5f}"
        assert f"| {row['setting']} | {bits} | {row['perplexity']:,.2f} | {row['kl']:.4f} | " in text


def test_which_settings_of_the_papers_work(settings):
    """The optimum of 32 groups keeps the model, the windows do not, and one honest bit is nothing."""
    best, base = settings["exact tensor g32"], settings["original"]["perplexity"]
    assert best["perplexity"] <= 1.12 * base
    assert best["kl"] <= 0.06
    narrow, wide = settings["WGM paper w64 lam .75 g32"], settings["WGM paper w512 lam .75 g32"]
    assert best["perplexity"] < narrow["perplexity"] < wide["perplexity"]
    assert settings["honest 1 bit: block 64 g1"]["perplexity"] > 1e4
    for groups, guard in (("g32", "top 64"), ("g16", "top 1e-4"), ("g8", "top 1e-4")):
        assert settings[f"exact tensor {groups} + {guard}"]["kl"] <= settings[f"exact tensor {groups}"]["kl"]


def test_the_split_helps_at_every_granularity_and_eight_plain_bits_do_better(settings):
    for scope in ("tensor", "row", "g64"):
        assert settings[f"SplitQuant4 {scope}"]["perplexity"] < settings[f"RTN4 {scope}"]["perplexity"]
    plain, published = settings["RTN8 row"], 12.0
    assert plain["true_bits"] < published
    assert plain["kl"] < settings["SplitQuant4 row"]["kl"]


def test_the_page_quotes_the_gap_at_four_bits():
    """Every draw's nats above the original, and the differences with and without the token that makes them."""
    found, text = json.loads(GAP.read_text()), (ROOT / "docs" / "methods" / "wgm.md").read_text()
    assert GAP.name in text
    shown = "{:.3f} [{:.3f}, {:.3f}]".format
    for about in found["texts"].values():
        for draw, row in about["draws"].items():
            assert draw == "original" or f"| {draw} | {shown(*row['nats above the original'])} |" in text
        pairs = {name: gap for name, gap in about["gaps"].items() if name.startswith("ours") and " - NF4" in name}
        assert len(pairs) == 4
        for name, gap in pairs.items():
            token, added = next(iter(gap["tokens that add most"].items()))
            cells = f"{shown(*gap['nats'])} | {added['adds']:.3f} | {shown(*gap['nats without the first of them'])}"
            assert f"| {name} | {cells} |" in text
            assert token == "<unk>"
            assert gap["nats without the first of them"][2] < 0


def test_every_reference_is_off_its_grid_and_as_good_as_before():
    for reference in json.loads(FILE.read_text())["references"]:
        assert abs(reference["perplexity_after"] / reference["perplexity_before"] - 1) < 0.1
        assert reference["grid_after"] > 0.95


def test_the_page_quotes_the_accuracies():
    """Accuracy, paired difference and how often the option stayed, each with its interval, digit for digit."""
    found, text = json.loads(ACCURACY.read_text()), (ROOT / "docs" / "methods" / "splitquant.md").read_text()
    assert ACCURACY.name in text
    assert found["sets"]
    for name, about in found["sets"].items():
        for setting, row in about["rows"].items():
            cells = [row["accuracy"], row["difference"], row["same option"]]
            shown = " | ".join("{:.3f} [{:.3f}, {:.3f}]".format(*cell) for cell in cells)
            assert f"| {name} | {setting} | {shown} |" in text, (name, setting)
            value, low, high = row["accuracy"]
            assert 0 <= low <= value <= high <= 1


def test_the_page_quotes_what_grouping_costs():
    found = json.loads((FILE.parent / "wgm-grouping.json").read_text())["cpu_seconds_per_million"]
    text = (ROOT / "docs" / "methods" / "wgm.md").read_text()
    exact = found["exact grouping and 4-bit packing"]
    for name, seconds in found.items():
        assert f"| {name} | {1e3 * seconds:.2f} | {seconds / exact:.2f} |" in text, name
    # The optimum is cheaper than the sort that the published heuristics begin with.
    assert exact < found["sorting alone, numpy"]
