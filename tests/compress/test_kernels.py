"""The CPU kernels against plain decoding."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.compress import kernels, rtn, splitquant, wgm
from backcast.compress.layout import decode

M_PERTURB = -6  # of glibc's malloc.h


@pytest.fixture(autouse=True)
def freed_memory_is_overwritten():
    """The loops get addresses; were an array of theirs freed too early, its numbers would be wrong, not just luck."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_PERTURB, 165)
    yield
    if mallopt is not None:
        mallopt(M_PERTURB, 0)


def without_kept(encoded, values):
    values = values.copy()
    if encoded.layout.kept:
        values.ravel()[encoded.tensors["kept_index"]] = 0
    return values


def test_decoded_rows_are_those_of_the_layout_bit_for_bit(matrices):
    """Every kind, odd widths included, decodes in the kernel to the very numbers of the plain decoder."""
    weights, kinds = matrices
    for name, encoded in kinds.items():
        matrix = kernels.stored(encoded.layout, encoded.tensors)
        out = np.full(weights.shape, np.nan, dtype=np.float32)
        kernels.decode_rows(matrix, 0, len(weights), out)
        assert np.array_equal(without_kept(encoded, out), without_kept(encoded, decode(encoded))), name


@pytest.mark.parametrize("registers", [True, False])
def test_products_are_those_of_the_decoded_rows(matrices, monkeypatch, registers):
    """One and three vectors, in vector registers and without: dense products; rows outside the range stay untouched."""
    monkeypatch.setattr(kernels.vectors, "AVAILABLE", registers and kernels.vectors.AVAILABLE)
    weights, kinds = matrices
    for name, encoded in kinds.items():
        matrix = kernels.stored(encoded.layout, encoded.tensors)
        dense = np.empty(weights.shape, dtype=np.float32)
        kernels.decode_rows(matrix, 0, len(weights), dense)
        for n in (1, 3):
            vectors = np.random.default_rng(n).standard_normal((n, weights.shape[1])).astype(np.float32)
            out = np.full((n, len(weights)), np.nan, dtype=np.float32)
            kernels.multiply(matrix, vectors, 0, 20, out)
            assert np.isnan(out[:, 20:]).all()
            kernels.multiply(matrix, vectors, 20, len(weights), out)
            assert out == pytest.approx(vectors @ dense.T, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_width_in_registers(bits):
    """Codes of every width, shared tables and even grids, blocks of 64 with a short last one: dense products."""
    weights = np.random.default_rng(bits).standard_normal((9, 480)).astype(np.float32)
    ways = [(wgm.encode, wgm.preset("table", bits), bits <= 6), (rtn.encode, rtn.RTN(bits), True)]
    ways.append((wgm.encode, wgm.preset("ours", bits), True))
    for scope in ("row", "block"):
        for form in ("compact", "sparse", "planes"):
            ways.append((splitquant.encode, splitquant.SplitQuant(bits, scope, form=form), True))
    for encode, how, fits in ways:
        encoded = encode(weights, how)
        matrix = kernels.stored(encoded.layout, encoded.tensors)
        assert kernels.in_registers(matrix) == (kernels.vectors.AVAILABLE and fits)
        dense, out = np.empty(weights.shape, dtype=np.float32), np.empty((1, 9), dtype=np.float32)
        kernels.decode_rows(matrix, 0, 9, dense)
        x = np.random.default_rng(0).standard_normal((1, 480)).astype(np.float32)
        kernels.multiply(matrix, x, 0, 9, out)
        assert out == pytest.approx(x @ dense.T, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("lanes", ["bytes", "words"])
def test_a_trellis_of_whole_blocks(bits, lanes, monkeypatch):
    """Rows of nine blocks of 64, as the default has them, in lanes of bytes (below 8 bits) and of words."""
    available = kernels.bytewise.AVAILABLE
    monkeypatch.setattr(kernels.bytewise, "AVAILABLE", available and lanes == "bytes")
    weights = (np.random.default_rng(bits).standard_t(5, (21, 576)) * 0.05).astype(np.float32)
    encoded = wgm.encode(weights, wgm.preset("ours", bits))
    matrix = kernels.stored(encoded.layout, encoded.tensors)
    assert kernels.in_bytes(matrix) == (available and lanes == "bytes" and bits < 8)
    dense, out = np.empty(weights.shape, dtype=np.float32), np.zeros((2, 21), dtype=np.float32)
    kernels.decode_rows(matrix, 0, 21, dense)
    x = np.random.default_rng(0).standard_normal((2, 576)).astype(np.float32)
    kernels.multiply(matrix, x, 0, 21, out)
    assert out == pytest.approx(x @ dense.T, rel=1e-4, abs=1e-5)


WAYS = {
    "a codebook a row": lambda bits: (wgm.encode, wgm.WGM(2 ** (bits - 1), "row")),
    "a codebook per 64": lambda bits: (wgm.encode, wgm.WGM(2 ** (bits - 1), block=64)),
    "one codebook": lambda bits: (wgm.encode, wgm.WGM(2 ** (bits - 1), "tensor")),
    "scaled": lambda bits: (wgm.encode, wgm.preset("table", bits)),
    "trellis": lambda bits: (wgm.encode, wgm.preset("ours", bits)),
    "grid": lambda bits: (rtn.encode, rtn.RTN(bits)),
    "planes": lambda bits: (splitquant.encode, splitquant.SplitQuant(bits, form="planes")),
}


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from(sorted(WAYS)),
    bits=st.integers(1, 6),
    rows=st.integers(1, 9),
    columns=st.sampled_from([1, 31, 32, 33, 64, 100, 128, 192, 200]),
    cut=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_rows_are_multiplied_alike_wherever_they_are_cut(way, bits, rows, columns, cut, seed):
    """Few rows, odd widths, any share of the rows: the dense product, and bit for bit what all rows at once give."""
    draw = np.random.default_rng(seed)
    weights = (draw.standard_t(5, (rows, columns)) * 0.05).astype(np.float32)
    x = draw.standard_normal((2, columns)).astype(np.float32)
    encode, how = WAYS[way](bits)
    encoded = encode(weights, how)
    matrix = kernels.stored(encoded.layout, encoded.tensors)
    dense, whole = np.empty_like(weights), np.empty((2, rows), dtype=np.float32)
    kernels.decode_rows(matrix, 0, rows, dense)
    kernels.multiply(matrix, x, 0, rows, whole)
    assert whole == pytest.approx(x @ dense.T, rel=1e-4, abs=1e-5)
    shared, cut = np.full((2, rows), np.nan, dtype=np.float32), min(cut, rows)
    kernels.multiply(matrix, x, cut, rows, shared)
    assert np.isnan(shared[:, :cut]).all()
    kernels.multiply(matrix, x, 0, cut, shared)
    assert np.array_equal(shared, whole)


def test_half_precision_is_read_exactly():
    """All 63,488 finite half-precision numbers, subnormal ones too, through an affine layout's scale."""
    bits = np.arange(65536, dtype=np.uint16)
    values = bits.view(np.float16)
    finite = bits[np.isfinite(values)].view(np.int16)
    from backcast.compress.layout import Layout

    layout = Layout(len(finite), 1, "affine", 1, "row")
    tensors = {
        "weight": np.tile(np.array([1, 0, 0, 0], dtype=np.uint8), len(finite)),
        "unit": np.array([1], dtype=np.float32).view(np.int32),
        "scale": finite,
        "zero": np.zeros(len(finite), dtype=np.int16),
    }
    out = np.empty((len(finite), 1), dtype=np.float32)
    kernels.decode_rows(kernels.stored(layout, tensors), 0, len(finite), out)
    assert np.array_equal(out[:, 0], finite.view(np.float16).astype(np.float32))
