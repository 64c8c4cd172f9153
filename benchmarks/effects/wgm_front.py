"""Rows of ``benchmarks/wgm_table.py`` as a dated result file and a picture of the front.

    python benchmarks/effects/wgm_front.py rows.jsonl ... [--settings FILE] [--offgrid FILE ...] [--picture FILE.png]
        [--pages]

The file ``results/wgm-front.json`` holds every row as it was measured, and for each row of ours the peers that are at
least as good in perplexity with no more bits: an empty list is the aim. Beside it the mean difference in nats per token
to each peer that has no more bits, paired by window, with its bootstrap interval. ``--settings`` is a run of every
setting of the papers, which has a table of its own. The picture has bits against KL; ``--pages`` puts the tables
between the marks of docs/methods/wgm.md and splitquant.md.
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

ACCOUNT = {
    "RTN8 row": (27.41, 0.0022), "RTN8 tensor": (27.98, 0.0365), "RTN6 g64": (27.97, 0.0172),
    "exact tensor g32 + top 64": (28.41, 0.029), "exact tensor g32": (28.86, 0.0443),
    "WGM paper w64 lam .75 g32": (84.2, 0.991), "WGM paper w512 lam .75 g32": (2839, 4.48),
    "RTN6 tensor": (38.95, 0.4375), "MSB block 64 g8": (33.42, 0.1235),
    "MSB block 64 g8, 8-bit scales": (33.34, 0.1229), "MSB block 64 g8, greedy, raw lam .75": (177114, 8.54),
    "RTN5 g64": (29.13, 0.0731), "exact tensor g16": (36.68, 0.2505), "exact tensor g16 + top 1e-4": (33.22, 0.158),
    "RTN4 g32": (33.40, 0.288), "RTN4 g64": (34.31, 0.2727), "NF4 g64": (32.13, 0.2193),
    "absmax of 64 x exact table of 16": (36.67, 0.2408), "rms of 64 x exact table of 16": (81.8, 1.007),
    "exact row g8": (39.46, 0.3258), "RTN4 row": (43.98, 0.6073), "RTN4 tensor": (244687, 8.83),
    "exact tensor g8": (350113, 9.52), "exact tensor g8 + top 1e-4": (71.1, 0.835), "RTN3 g64": (80.4, 1.139),
    "exact row g4": (1131, 3.58), "exact block 64 g2": (641138, 9.92), "honest 1 bit: block 64 g1": (1203422, 10.3),
    "SplitQuant8 row, three planes": (27.23, 0.0002), "SplitQuant4 row": (29.11, 0.0607),
    "SplitQuant4 g64": (27.90, 0.0287), "SplitQuant4 tensor": (80.6, 0.971),
    "SplitQuant4 tensor, masked": (62.6, 0.717), "SplitQuant2 row": (464.7, 2.85), "original": (27.238, 0.0),
}  # fmt: skip
"""Perplexity and KL in the account of the papers that we worked from: the same model, protocol and place in the text,
but the text joined into prose, so that perplexities compare in order and KL in size."""


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


def settings(rows: list[dict[str, Any]]) -> str:
    """The table of the papers' settings, by true bits, with what the account has for each."""
    lines = [
        "| setting | advertised bits | true bits | relative error | perplexity | KL | in the account |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["true_bits"], -row["kl"])):
        claimed = "" if row.get("claimed_bits") is None else f"{row['claimed_bits']:.3f}"
        theirs = "{:,.2f}, {:.4f}".format(*ACCOUNT[row["setting"]]) if row["setting"] in ACCOUNT else ""
        bits = f"{claimed} | {row['true_bits']:.3f} | {row.get('relative_mse', 0):.5f}"
        lines.append(f"| {row['setting']} | {bits} | {row['perplexity']:,.2f} | {row['kl']:.4f} | {theirs} |")
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


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="+", type=Path)
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--offgrid", nargs="*", type=Path, default=[])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--pages", action="store_true")
    options = parser.parse_args()
    rows = [row for path in options.rows for row in lines_of(path)]
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
    if options.settings:
        figures["settings of the papers"] = lines_of(options.settings)
    print(write("wgm-front", figures))
    for key in ("peers as good in no more bits", "nats per token to peers of no more bits"):
        print(key, json.dumps(figures[key], indent=1))
    if options.pages:
        put_into_pages(tables)
    if options.pages and options.settings:
        page = Path(__file__).parents[2] / "docs" / "methods" / "wgm.md"
        _between(page, "settings", settings(figures["settings of the papers"]) + "\n")
    if options.picture:
        draw(tables, options.picture)


if __name__ == "__main__":
    main()
