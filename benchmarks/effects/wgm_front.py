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


def put_into_pages(tables: dict[str, list[dict[str, Any]]]) -> None:
    for page, wanted in (("wgm", ("",)), ("splitquant", ("RTN4", "SplitQuant", "RTN8 row", "original"))):
        path = Path(__file__).parents[2] / "docs" / "methods" / f"{page}.md"
        before, rest = path.read_text().split("<!-- front -->\n")
        after = rest.split("<!-- /front -->")[1]
        chosen = {title: [row for row in rows if row["setting"].startswith(wanted)] for title, rows in tables.items()}
        middle = "\n".join(f"**{title}**\n\n{markdown(rows)}\n" for title, rows in chosen.items())
        path.write_text(f"{before}<!-- front -->\n\n{middle}\n<!-- /front -->{after}")


def draw(tables: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(tables), 1, figsize=(9.5, 5.6 * len(tables)), squeeze=False)
    for axis, (title, rows) in zip(axes[:, 0], tables.items(), strict=True):
        line = sorted((row["true_bits"], row["kl"]) for row in rows if is_ours(row) and row["true_bits"] > 3)
        axis.plot(*zip(*line, strict=True), "o-", color="#0b6e4f", label="ours (default)", zorder=3)
        shown = [row for row in rows if is_peer(row) and row["true_bits"] < 7 and row["kl"] < 2]
        for row in shown:
            x, y = row["true_bits"], row["kl"]
            axis.plot(x, y, "s", color="#b3541e", markersize=5)
            # Slanted, so that the labels of neighbours do not run into each other.
            label = row["setting"].removeprefix("llama.cpp ")
            axis.annotate(label, (x, y), (3, 4), textcoords="offset points", fontsize=7.5, rotation=45)
        for row in rows:
            if row["setting"].startswith("GPTQ"):
                x, y = row["true_bits"], row["kl"]
                axis.plot(x, y, "D", color="#555555", markersize=5)
                axis.annotate(row["setting"], (x, y), (3, -9), textcoords="offset points", fontsize=7.5)
        axis.set_yscale("log")
        axis.set_ylim(top=2.5)
        axis.set_xlim(right=7)
        axis.set_xlabel("stored bits per weight, everything counted")
        axis.set_ylabel("KL to the original, nats per token")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


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
