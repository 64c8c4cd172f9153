"""Makes ``src/backcast/compress/trellis_tables.npy``: for each width of code, the table that a fit begins with.

    python scripts/trellis_tables.py [--check]

Drawn numbers stand in for weights: rows of normal and of Student t (8 degrees) values, in blocks of 64. Several first
tables are fitted to them (normal quantiles in random order, and in the order of a set partition: neighbours to
different windows), and the one with the least error on fresh draws is kept, in half precision. With --check it only
prints the errors of the kept tables.
"""

import argparse
from statistics import NormalDist

import numpy as np

from backcast.compress import trellis
from backcast.compress.affine import steps
from backcast.compress.bits import window_bits
from backcast.compress.layout import Layout, half

ROWS, COLUMNS, ROUNDS, ORDERS = 192, 512, 12, 24
PATH = "src/backcast/compress/trellis_tables.npy"


def draw(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal((ROWS // 2, COLUMNS))
    heavy = generator.standard_t(8, (ROWS // 2, COLUMNS)) / np.sqrt(8 / 6)
    return np.concatenate([normal, heavy]).astype(np.float32)


def first_tables(bits: int) -> list[np.ndarray]:
    levels = 1 << window_bits(bits)
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / levels) for i in range(levels)])
    memory = window_bits(bits) - bits
    # Levels for a density to the power of a third are quantiles of a normal distribution of three times the variance.
    ordered = np.empty(levels)
    for before in range(1 << memory):
        offset = int(f"{before:0{memory}b}"[::-1], 2) if memory else 0
        ordered[(before << bits) + np.arange(1 << bits)] = 1.5 * quantiles[(np.arange(1 << bits) << memory) + offset]
    return [ordered, *(np.random.default_rng(seed).permutation(quantiles) for seed in range(ORDERS))]


def error(values: np.ndarray, table: np.ndarray, bits: int) -> float:
    """Mean squared error of a fit that begins with this table."""
    layout = Layout(*values.shape, "trellis", bits, "block", 64, 1 << window_bits(bits))
    table, scale = trellis.fit(values, table, layout)
    codes = trellis._path(values, scale, table, layout)
    return float(trellis._errors(values, codes, table, scale, bits, steps(layout)).mean() / 64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    train, fresh = draw(1), draw(2)
    kept = []
    for bits in range(1, 9):
        layout = Layout(ROWS, COLUMNS, "trellis", bits, "block", 64, 1 << window_bits(bits))
        if check:
            tables = [trellis.start(bits)]
        else:
            tables = [trellis.fit(train, table, layout, ROUNDS)[0] for table in first_tables(bits)]
        errors = [error(fresh, table, bits) for table in tables]
        print(bits, " ".join(f"{found:.6f}" for found in errors), flush=True)
        kept.append(tables[int(np.argmin(errors))])
    if not check:
        np.save(PATH, np.stack([half(np.pad(table, (0, 256 - len(table)))) for table in kept]))


if __name__ == "__main__":
    main()
