"""Rows of ``benchmarks/wgm_table.py`` as a dated result file and a picture of the front.

    python benchmarks/effects/wgm_front.py rows.jsonl ... [--offgrid FILE ...] [--picture FILE.png] [--pages]

The file ``results/wgm-front.json`` holds every row as it was measured, and for each row of ours the peers that are at
least as good in perplexity with no more bits: an empty list is the aim. Beside it the mean difference in nats per token
to each peer that has no more bits, paired by window, with its bootstrap interval. The picture has bits against KL;
``--pages`` puts the tables between the marks of docs/methods/wgm.md and splitquant.md.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from effects_file import write

from backcast.core import stats

OURS = "ours "
NOT_PEERS = ("original", "exact", "WGM", "MSB", "honest", "SplitQuant", "GPTQ")


def is_ours(row: dict[str, Any]) -> bool:
    return row["setting"].startswith(OURS) and "," not in row["setting"]


def is_peer(row: dict[str, Any]) -> bool:
    return not row["setting"].startswith((*NOT_PEERS, "ours"))


def beaten(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """For each row of ours, the peers of the same table that are as good in no more bits."""
    peers = [row for row in rows if is_peer(row)]
    return {
        mine["setting"]: [
            row["setting"]
            for row in peers
            if row["true_bits"] <= mine["true_bits"] and row["perplexity"] <= mine["perplexity"]
        ]
        for mine in rows
        if is_ours(mine)
    }


def cheaper(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """For each row of ours, the peers that it beats in KL although they have more bits."""
    peers = [row for row in rows if is_peer(row)]
    return {
        mine["setting"]: [
            row["setting"] for row in peers if row["true_bits"] > mine["true_bits"] and row["kl"] >= mine["kl"]
        ]
        for mine in rows
        if is_ours(mine)
    }


def differences(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """For each row of ours and each peer that has no more bits: ours minus it in nats per token, with interval."""
    found: dict[str, dict[str, list[float]]] = {}
    for mine in filter(is_ours, rows):
        for row in filter(is_peer, rows):
            # Two bits fewer are no rival.
            if mine["true_bits"] - 1 < row["true_bits"] <= mine["true_bits"]:
                gap = stats.paired(mine["nll_by_window"], row["nll_by_window"])
                values = [round(float(value), 4) for value in (gap.value, gap.low, gap.high)]
                found.setdefault(mine["setting"], {})[row["setting"]] = values
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the pages, by bits."""
    lines = [
        "| setting | true bits | perplexity | KL, nats per token | same top token |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["true_bits"], -row["kl"])):
        numbers = f"{row['true_bits']:.3f} | {row['perplexity']:.2f} | {row['kl']:.4f} | {row['agreement']:.3f}"
        lines.append(f"| {row['setting']} | {numbers} |")
    return "\n".join(lines)


def aims(tables: dict[str, list[dict[str, Any]]]) -> str:
    """Per model off its grid: the peers that are as good as ours in no more bits, or that there are none."""
    lines = ["| model | 3 bits | 4 bits | 5 bits | 6 bits |", "|---|---|---|---|---|"]
    for title, rows in tables.items():
        found = beaten(rows)
        if ", off its grid" in title:
            cells = (found.get(f"ours {bits}") for bits in (3, 4, 5, 6))
            said = ("not measured" if cell is None else ", ".join(cell) or "none" for cell in cells)
            lines.append(f"| {title.split(', ')[0]} | {' | '.join(said)} |")
    return "\n".join(lines)


def put_into_pages(tables: dict[str, list[dict[str, Any]]]) -> None:
    folder = Path(__file__).parents[2] / "docs" / "methods"
    for page, wanted in (("wgm", ("",)), ("splitquant", ("RTN4", "SplitQuant", "RTN8 row", "original"))):
        chosen = {title: [row for row in rows if row["setting"].startswith(wanted)] for title, rows in tables.items()}
        blocks = [f"**{title}**\n\n{markdown(rows)}\n" for title, rows in chosen.items() if len(rows) > 1]
        _between(folder / f"{page}.md", "front", "\n".join(blocks))
    _between(folder / "wgm.md", "aim", aims(tables) + "\n")


def _between(path: Path, mark: str, text: str) -> None:
    before, rest = path.read_text().split(f"<!-- {mark} -->\n")
    path.write_text(f"{before}<!-- {mark} -->\n\n{text}\n<!-- /{mark} -->{rest.split(f'<!-- /{mark} -->')[1]}")


def draw(tables: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(tables), 1, figsize=(9.5, 5.6 * len(tables)), squeeze=False)
    for axis, (title, rows) in zip(axes[:, 0], tables.items(), strict=True):
        line = sorted((row["true_bits"], row["kl"]) for row in rows if is_ours(row) and row["true_bits"] > 3)
        axis.plot(*zip(*line, strict=True), "o-", color="#0b6e4f", label="ours (default)", zorder=3)
        shown = [row for row in rows if is_peer(row) and row["true_bits"] < 7 and row["kl"] < 2]
        marks = [(row, "s", "#b3541e") for row in shown]
        marks += [(row, "D", "#555555") for row in rows if row["setting"].startswith("GPTQ")]
        for row, mark, colour in marks:
            axis.plot(row["true_bits"], row["kl"], mark, color=colour, markersize=5)
        axis.set_yscale("log")
        axis.set_ylim(top=2.5)
        axis.set_xlim(right=7)
        axis.set_xlabel("stored bits per weight, everything counted")
        axis.set_ylabel("KL to the original, nats per token")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.tight_layout()
    for axis, rows in zip(axes[:, 0], tables.values(), strict=True):
        _label(axis, [row for row in rows if row["true_bits"] < 7 and row["kl"] < 2 and not is_ours(row)])
    figure.savefig(path, dpi=110)


def _label(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Names beside the points, moved up until they stand clear of each other, with a line to the point."""
    placed: list[tuple[float, float, float]] = []
    points = 72 / axis.figure.dpi
    for row in sorted(rows, key=lambda row: row["kl"]):
        if not is_peer(row) and not row["setting"].startswith("GPTQ"):
            continue
        name = row["setting"].removeprefix("llama.cpp ")
        x, y = axis.transData.transform((row["true_bits"], row["kl"]))
        left, at, width = x + 14, y - 4, 5.2 * len(name)
        while any(left < b and a < left + width and abs(at - c) < 11 for a, b, c in placed):
            at += 2
        placed.append((left, left + width, at))
        axis.annotate(
            name, (row["true_bits"], row["kl"]), ((left - x) * points, (at - y) * points),
            textcoords="offset points", fontsize=7.5,
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="+", type=Path)
    parser.add_argument("--offgrid", nargs="*", type=Path, default=[])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--pages", action="store_true")
    options = parser.parse_args()
    rows = [json.loads(line) for path in options.rows for line in path.read_text().splitlines()]
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault(f"{row['model']}, {row['grid']} its grid, {row['metric']}", []).append(row)
    figures = {
        "references": [json.loads(path.read_text()) for path in options.offgrid],
        "tables": tables,
        "peers as good in no more bits": {title: beaten(table) for title, table in tables.items()},
        "nats per token to peers of no more bits": {title: differences(table) for title, table in tables.items()},
        "peers beaten in KL with fewer bits": {title: cheaper(table) for title, table in tables.items()},
    }
    print(write("wgm-front", figures))
    for key in ("peers as good in no more bits", "nats per token to peers of no more bits"):
        print(key, json.dumps(figures[key], indent=1))
    if options.pages:
        put_into_pages(tables)
    if options.picture:
        draw(tables, options.picture)


if __name__ == "__main__":
    main()
