"""SplitQuant: three layers that add up exactly, and what their quantisation costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.compress.layout import decode
from backcast.compress.rtn import RTN
from backcast.compress.rtn import encode as round_to_nearest
from backcast.compress.splitquant import SplitQuant, bounds, encode, split
from backcast.core.errors import BadInput


def error(weights: np.ndarray, stored: np.ndarray) -> float:
    return float(((weights - stored).astype(np.float64) ** 2).sum())


@given(st.lists(st.floats(-10, 10, allow_nan=False, width=32), min_size=1, max_size=80))
@settings(deadline=None, max_examples=150)
def test_the_three_parts_add_up_bit_for_bit(values):
    """Supports are disjoint and cover everything, ties, zeros and one-valued vectors (a bias of zeros) included."""
    weights = np.array(values, dtype=np.float32)
    parts = split(weights, bounds(weights))
    assert np.array_equal(parts[0] + parts[1] + parts[2], weights)
    assert not (np.stack(parts) != 0).sum(axis=0).max() > 1
    assert all(part.shape == weights.shape for part in parts)


def test_clusters_by_hand():
    """-5, -4 | 0, 1 | 6: centres -4.5, 0.5 and 6, cuts at -2 and 3.25."""
    assert bounds(np.array([-5.0, -4.0, 0.0, 1.0, 6.0])) == pytest.approx((-2.0, 3.25))


@pytest.mark.parametrize("scope", ["tensor", "row", "block"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_compact_and_three_planes_are_the_same_numbers(scope, bits):
    """Compact and sparse forms decode to what the published planes add up to, in less than half the bits."""
    weights = np.random.default_rng(0).standard_t(4, (6, 160)).astype(np.float32)
    compact = encode(weights, SplitQuant(bits, scope))
    planes = encode(weights, SplitQuant(bits, scope, form="planes"))
    sparse = encode(weights, SplitQuant(bits, scope, form="sparse"))
    assert np.array_equal(decode(compact), decode(planes))
    assert np.array_equal(decode(sparse), decode(planes))
    assert planes.layout.bits * 3 <= planes.layout.true_bits()
    for stored in (compact, sparse, planes):
        assert sum(tensor.nbytes for tensor in stored.tensors.values()) == stored.layout.bytes()


def test_honest_bits():
    """INT4 split per row: 12 and a little as published, 5.6 and a little compactly; never 4."""
    weights = np.random.default_rng(0).standard_normal((64, 3200)).astype(np.float32)
    compact, planes = (encode(weights, SplitQuant(4, "row", form=form)).layout for form in ("compact", "planes"))
    assert compact.true_bits() == pytest.approx(5.6 + 6 * 16 / 3200, abs=1e-3)
    assert planes.true_bits() == pytest.approx(12 + 6 * 16 / 3200, abs=1e-3)
    assert SplitQuant(4).claimed(compact) == 4
    sparse = encode(weights, SplitQuant(4, "row", form="sparse")).layout
    assert sparse.outer == pytest.approx(0.54 * weights.size, rel=0.01)
    assert sparse.true_bits() == pytest.approx(5 + sparse.outer / weights.size + 6 * 16 / 3200, abs=1e-3)
    assert sparse.true_bits() < compact.true_bits()


@pytest.mark.parametrize("scope", ["tensor", "row", "block"])
def test_less_error_than_rounding_at_the_same_granularity(scope):
    """Splitting cuts the INT4 error of heavy-tailed weights at every granularity; masked ranges more."""
    weights = np.random.default_rng(1).standard_t(5, (32, 512)).astype(np.float32)
    plain = error(weights, decode(round_to_nearest(weights, RTN(4, scope))))
    halves = error(weights, decode(encode(weights, SplitQuant(4, scope))))
    masked = error(weights, decode(encode(weights, SplitQuant(4, scope, masked=True))))
    assert max(masked, halves) < 0.6 * plain
    # One coarse grid for a whole tensor: where its levels fall is luck.
    assert masked < halves or scope == "tensor"


@given(
    st.integers(0, 500), st.sampled_from([1, 2, 3, 4, 8]), st.booleans(), st.sampled_from(["tensor", "row", "block"])
)
@settings(deadline=None, max_examples=80)
def test_degenerate_rows_give_no_nan(seed, bits, masked, scope):
    """Rows of zeros, of one value, of one cluster, and empty clusters decode to finite numbers; zero stays zero."""
    weights = np.random.default_rng(seed).standard_normal((6, 70)).astype(np.float32)
    weights[0], weights[1], weights[2], weights[3] = 0, 3.0, -0.01, np.abs(weights[3])
    stored = decode(encode(weights, SplitQuant(bits, scope, masked=masked)))
    assert np.isfinite(stored).all()
    if scope == "row" and not masked:
        assert not stored[0].any()
        assert stored[1] == pytest.approx(weights[1], rel=1e-3)


def test_a_narrow_cluster_far_from_zero_keeps_its_values():
    """Masked, two values a millionth apart: the zero point is bounded, and both come back to a part in a thousand."""
    weights = np.array([[-1.0, 1.0, 1.000001, 0.0, 0.1, -0.1]], dtype=np.float32)
    stored = decode(encode(weights, SplitQuant(8, "row", masked=True)))
    assert stored == pytest.approx(weights, abs=1e-3)


def test_what_cannot_be_is_refused():
    """Masked three planes (their zeros would not be zero), bits out of range, infinities."""
    weights = np.ones((2, 32), dtype=np.float32)
    with pytest.raises(BadInput, match="compact"):
        encode(weights, SplitQuant(4, masked=True, form="planes"))
    with pytest.raises(BadInput, match="'0'"):
        encode(weights, SplitQuant(0))
    weights[1, 4] = np.inf
    with pytest.raises(BadInput, match=r"down_proj.*\[1, 4\]"):
        encode(weights, SplitQuant(4), "down_proj")
