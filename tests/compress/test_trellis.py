"""The trellis: the cheapest path against brute force, windows, stored numbers, and what it gains."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.compress import trellis
from backcast.compress.affine import steps
from backcast.compress.bits import window_bits, windows
from backcast.compress.layout import Layout, brief, decode, single_brief, squares
from backcast.compress.viterbi import cheapest
from backcast.compress.wgm import encode, preset


def layout(rows: int, columns: int, bits: int, block: int) -> Layout:
    return Layout(rows, columns, "trellis", bits, "block", block, 1 << window_bits(bits))


def cost(rest, scale, table, codes, shape: Layout) -> np.ndarray:
    """The squared error of every row, by the definition."""
    row_step, width = steps(shape)
    found = windows(codes, shape.bits)
    wrong = np.zeros(len(rest))
    for r, c in np.ndindex(rest.shape):
        if not np.isnan(rest[r, c]):
            wrong[r] += (rest[r, c] - scale[r * row_step + c // width] * table[found[r, c]]) ** 2
    return wrong


@given(st.sampled_from([(1, 7), (2, 4), (3, 3)]), st.integers(0, 999), st.booleans())
@settings(deadline=None, max_examples=30)
def test_no_codes_are_cheaper(size, seed, gap):
    """All codes of short rows: none has less error than the path found, with blocks of two and a free weight."""
    bits, columns = size
    drawn = np.random.default_rng(seed)
    shape = layout(2, columns, bits, 2)
    rest = drawn.standard_normal((2, columns)).astype(np.float32)
    if gap:
        rest[0, columns // 2] = np.nan
    scale = drawn.uniform(0.5, 2, shape.scopes).astype(np.float32)
    table = drawn.standard_normal(shape.entries).astype(np.float32)
    found = cost(rest, scale, table, cheapest(rest, scale, table, bits, steps(shape)), shape)
    every = np.array(list(product(range(1 << bits), repeat=columns)), dtype=np.uint8)
    for r in range(2):
        alone = layout(len(every), columns, bits, 2)
        here = np.tile(scale[r * shape.per_row : (r + 1) * shape.per_row], len(every))
        least = cost(np.tile(rest[r], (len(every), 1)), here, table, every, alone).min()
        assert found[r] == pytest.approx(least, rel=1e-4, abs=1e-6)


def test_rows_do_not_depend_on_their_neighbours():
    """Seventeen rows go in lanes of sixteen; each has the codes it has alone."""
    rest = np.random.default_rng(0).standard_normal((17, 70)).astype(np.float32)
    table = trellis.start(3).astype(np.float32)
    whole = layout(17, 70, 3, 64)
    scale = np.random.default_rng(1).uniform(0.5, 2, whole.scopes).astype(np.float32)
    together = cheapest(rest, scale, table, 3, steps(whole))
    for r in range(17):
        alone = cheapest(rest[r : r + 1], scale[2 * r : 2 * r + 2], table, 3, steps(layout(1, 70, 3, 64)))
        assert np.array_equal(together[r], alone[0])


def test_windows_by_hand():
    """Three-bit codes 1, 2, 3, 4: seven bits of the stream 001 010 011 100 at each; seven-bit codes stand alone."""
    assert windows(np.array([[1, 2, 3, 4]], dtype=np.uint8), 3).tolist() == [[1, 0b001010, 0b1010011, 0b0011100]]
    alone = np.array([[100, 27, 3]], dtype=np.uint8)
    assert np.array_equal(windows(alone, 7), alone)
    assert window_bits(8) == 8


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@settings(deadline=None)
def test_brief_numbers_are_bfloat16(values):
    """Rounding to bfloat16 and back is torch's, ties to even."""
    numbers = np.array(values, dtype=np.float32)
    expected = torch.from_numpy(numbers).bfloat16().float().numpy()
    assert np.array_equal(single_brief(brief(numbers)), expected)


def test_scales_in_bytes_are_near():
    """A byte stands for its square: scales down to a hundredth of the largest are within 6 %, the largest exact."""
    scale = np.geomspace(0.01, 1, 300)
    stored, factor = trellis.bytes_of(scale)
    assert (squares(stored) * factor) == pytest.approx(scale, rel=0.06)
    assert squares(stored)[-1] * factor == pytest.approx(1)
    assert trellis.bytes_of(np.zeros(3))[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("bits", "gain"), [(1, 0.85), (2, 0.75), (3, 0.82), (4, 0.88), (5, 0.92), (6, 0.95)])
def test_less_error_than_codes_that_choose_alone_in_fewer_bits(bits, gain):
    """Normal and heavy-tailed weights: error well below the best single table's, with bytes of scale instead of two."""
    for weights in (
        np.random.default_rng(0).standard_normal((64, 512)),
        np.random.default_rng(1).standard_t(5, (64, 512)),
    ):
        weights = weights.astype(np.float32)
        ours, alone = encode(weights, preset("ours", bits)), encode(weights, preset("table", bits))
        assert ours.layout.true_bits() < alone.layout.true_bits()
        wrong = [np.square(decode(e) - weights, dtype=np.float64).sum() for e in (ours, alone)]
        assert wrong[0] < gain * wrong[1]


def test_refitting_never_makes_it_worse():
    """Least squares for codes and codes for least squares: the error falls with every round."""
    weights = np.random.default_rng(0).standard_normal((32, 256)).astype(np.float32)
    shape = layout(32, 256, 3, 64)
    wrong = []
    for rounds in range(4):
        table, scale = trellis.fit(weights, trellis.start(3), shape, rounds)
        codes = trellis._path(weights, scale, table, shape)
        wrong.append(trellis._errors(weights, codes, table, scale, 3, steps(shape)).sum())
    assert wrong == sorted(wrong, reverse=True)
    assert wrong[-1] < 0.99 * wrong[0]


def test_the_first_tables_are_those_of_the_script():
    """One table a width, one level a window, all different, none beyond four times the mean square's root."""
    for bits in range(1, 9):
        table = trellis.start(bits)
        assert len(table) == 1 << window_bits(bits)
        assert len(np.unique(table)) > 0.9 * len(table)
        assert 1 < np.abs(table).max() < 6
