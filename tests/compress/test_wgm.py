"""WGM's presets: what is stored, what it costs, and where each stands to the optimum."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.compress.kept import extremes
from backcast.compress.layout import Layout, decode
from backcast.compress.line import exact, magnitudes
from backcast.compress.wgm import PRESETS, WGM, encode, preset
from backcast.core.errors import BadInput


def normal(rows: int, columns: int, seed: int = 0, sigma: float = 0.02) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((rows, columns)) * sigma).astype(np.float32)


def relative_error(weights: np.ndarray, stored: np.ndarray) -> float:
    return float(((weights - stored).astype(np.float64) ** 2).sum() / (weights.astype(np.float64) ** 2).sum())


@given(
    st.sampled_from(sorted(PRESETS)),
    st.integers(1, 6),
    st.sampled_from([(1, 1), (3, 5), (2, 100), (7, 64), (1, 200)]),
    st.integers(0, 99),
    st.sampled_from(["normal", "zeros", "one value", "few", "huge", "tiny"]),
)
@settings(deadline=None, max_examples=120)
def test_every_preset_stores_any_matrix_in_the_bytes_of_its_formula(name, bits, shape, seed, what):
    """Odd shapes and degenerate values: finite weights come back, the bytes are the formula's, extremes are exact."""
    weights = normal(*shape, seed)
    if what == "zeros":
        weights[:] = 0
    elif what == "one value":
        weights[:] = -0.25
    elif what == "few":
        weights = np.round(weights, 2)
    elif what in ("huge", "tiny"):
        weights *= np.float32(1e30 if what == "huge" else 1e-30)
    encoded = encode(weights, preset(name, bits))
    assert sum(tensor.nbytes for tensor in encoded.tensors.values()) == encoded.layout.bytes()
    assert all(np.issubdtype(tensor.dtype, np.integer) for tensor in encoded.tensors.values())
    stored = decode(encoded)
    assert stored.dtype == np.float32
    assert np.isfinite(stored).all()
    if encoded.layout.kept:
        kept = extremes(weights, encoded.layout.kept)
        assert np.array_equal(stored.ravel()[kept], weights.ravel()[kept])
    if what in ("zeros", "one value"):
        assert stored == pytest.approx(weights, rel=5e-3)  # a scale in a byte has steps of 0.8 %


def test_the_withdrawn_count_leaves_the_index_out():
    """The released setting claims 1.00002 bits for a 3072 x 8192 tensor and stores 6: by formula, then really."""
    released = preset("paper", 6)
    big = Layout(3072, 8192, "signed", 6, "tensor", entries=32)
    assert released.claimed(big) == pytest.approx(1.0000203, abs=1e-7)
    assert big.true_bits() == pytest.approx(6.0, abs=1e-4)
    layout = encode(normal(512, 1024), released).layout
    assert layout.true_bits() == pytest.approx(6.0, abs=2e-3)


@pytest.mark.parametrize(
    ("settings_", "bits"),
    [
        (WGM(32, "tensor"), 6.0),
        (WGM(8, "block"), 6.0),
        (WGM(8, "block", fine=True), 5.25),
        (WGM(1, "block"), 1.25),
        (WGM(1, "block", 128), 1.125),
        (WGM(8, "row"), 4.125),
    ],
)
def test_true_bits_of_the_known_layouts(settings_, bits):
    """Index and scales counted: 32 groups a tensor are 6 bits, 8 groups a block of 64 are 6 bits with 16-bit scales."""
    assert encode(normal(1024, 1024), settings_).layout.true_bits() == pytest.approx(bits, abs=1e-3)


def test_tensor_scope_stores_the_optimum():
    """What comes back has the error of the exact cut, up to the rounding of 32 levels to half precision."""
    weights = normal(128, 256)
    for groups in (1, 4, 32):
        stored = decode(encode(weights, WGM(groups, "tensor")))
        best = exact(magnitudes(weights), groups).sse
        assert ((weights - stored).astype(np.float64) ** 2).sum() == pytest.approx(best, rel=2e-3)


@pytest.mark.parametrize("scope", ["tensor", "row", "block"])
def test_signs_and_order_survive(scope):
    """A sign never changes, and within a scope a larger magnitude never comes back as a smaller one."""
    weights = normal(4, 128)
    stored = decode(encode(weights, WGM(4, scope)))
    assert np.array_equal(np.sign(stored), np.sign(weights))
    for row, back in zip(weights[:, :64], stored[:, :64], strict=True):
        assert np.all(np.diff(np.abs(back)[np.argsort(np.abs(row))]) >= 0)


def test_solvers_are_never_below_the_exact_one():
    """Greedy, windowed and refined groupings of one tensor have at least the optimum's error, refined the least."""
    weights = normal(64, 256)
    error = {
        solver: relative_error(weights, decode(encode(weights, WGM(16, "tensor", solver=solver))))
        for solver in ("exact", "greedy", "window", "refined")
    }
    assert error["exact"] <= min(error["greedy"], error["refined"]) + 1e-7
    assert error["refined"] < error["window"]


def test_our_preset_beats_round_to_nearest_with_fewer_bits():
    """At 4 bits a shared table and block scales have less error than asymmetric round to nearest, in fewer bits."""
    from backcast.compress import rtn

    for weights in (normal(64, 512), np.random.default_rng(1).standard_t(5, (64, 512)).astype(np.float32)):
        ours, plain = encode(weights, preset("ours", 4)), rtn.encode(weights, rtn.RTN(4))
        assert ours.layout.true_bits() < plain.layout.true_bits()
        assert relative_error(weights, decode(ours)) < 0.85 * relative_error(weights, decode(plain))


def test_protection_keeps_exactly_the_largest():
    """The share asked for is kept, ties by position; bf16 values in 16 bits, others in 32."""
    weights = normal(32, 64)
    weights[3, 5], weights[20, 1] = -1.5, 0.75
    encoded = encode(weights, WGM(1, "tensor", protect_least=2))
    stored = decode(encoded)
    assert encoded.layout.kept == 2
    assert encoded.layout.kept_bits == 16
    assert (stored[3, 5], stored[20, 1]) == (-1.5, 0.75)
    assert decode(encode(weights, WGM(1, "tensor", protect=0.01))).ravel()[extremes(weights, 20)] == pytest.approx(
        weights.ravel()[extremes(weights, 20)], rel=0
    )
    assert extremes(np.array([1.0, -1.0, 1.0, 0.5]), 2).tolist() == [0, 1]


def test_raw_lambda_ruins_blocks_and_normalised_does_not():
    """The published 0.75 on blocks of 64 multiplies the error; t = 0 leaves the optimum."""
    weights = normal(16, 256)
    best = relative_error(weights, decode(encode(weights, WGM(8))))
    ruined = relative_error(weights, decode(encode(weights, WGM(8, lam=0.75))))
    scale_free = relative_error(weights, decode(encode(weights, WGM(8, lam=0.0, normalise=True))))
    assert ruined > 3 * best
    assert scale_free == pytest.approx(best, rel=1e-4)


def test_bad_settings_and_weights_are_named():
    """Unknown preset with the nearest, bits and shares out of range, NaN with tensor and index."""
    with pytest.raises(BadInput, match="did you mean 'paper'"):
        preset("papr", 4)
    with pytest.raises(BadInput, match="'9' is outside"):
        preset("ours", 9)
    with pytest.raises(BadInput, match="protect"):
        encode(normal(2, 2), WGM(2, protect=1.0))
    weights = normal(4, 64)
    weights[2, 3] = np.nan
    with pytest.raises(BadInput, match=r"model\.q_proj.*\[2, 3\]"):
        encode(weights, preset("ours", 4), "model.q_proj")


@pytest.mark.parametrize("solver", ["exact", "window"])
def test_a_group_of_rows_is_grouped_as_one(solver):
    """Each five rows share one codebook: that of those rows as a tensor of their own, the short last group too."""
    weights = normal(12, 48) * np.arange(1, 13, dtype=np.float32)[:, None]
    settings_ = WGM(4, "group", 5, solver=solver, window=8)
    stored = decode(encode(weights, settings_))
    for at in (0, 5, 10):
        alone = decode(encode(weights[at : at + 5], WGM(4, "tensor", solver=solver, window=8)))
        # The unit of a part may be another power of two: levels are rounded relative to it, but equally finely.
        np.testing.assert_allclose(stored[at : at + 5], alone, rtol=2e-3)
    whole = relative_error(weights, decode(encode(weights, WGM(4, "tensor", solver=solver, window=8))))
    rows = relative_error(weights, decode(encode(weights, WGM(4, "row", solver=solver, window=8))))
    if solver == "exact":
        assert rows < relative_error(weights, stored) < whole


def test_weights_in_the_objective():
    """The cut of least weighted error, found by trying every cut; where it would change nothing it is refused."""
    weights = np.array([[0.1, -0.15, 0.3, 0.32, -0.5, 0.9, 1.0]], dtype=np.float32)
    sizes = np.sort(np.abs(weights[0]).astype(np.float64))

    def error(power: float, ends: tuple[int, int]) -> float:
        runs = np.split(sizes, ends)
        means = [np.average(run, weights=run**power) for run in runs]
        return sum(float((run**power * (run - mean) ** 2).sum()) for run, mean in zip(runs, means, strict=True))

    cuts = [(i, j) for i in range(1, 6) for j in range(i + 1, 7)]
    seen = set()
    for power in (-2.0, 0.0, 2.0):
        best = min(cuts, key=lambda ends: error(power, ends))
        seen.add(best)
        for scope in ("tensor", "block"):
            stored = np.sort(np.abs(decode(encode(weights, WGM(3, scope, weigh=power)))[0]))
            expected = np.concatenate(
                [np.full(len(run), np.average(run, weights=run**power)) for run in np.split(sizes, best)]
            )
            assert stored == pytest.approx(expected, rel=1e-3)
    assert len(seen) > 1
    for idle in (
        preset("ours", 4),
        preset("table", 4),
        WGM(3, "tensor", solver="greedy"),
        WGM(3, "tensor", lam=0.1),
    ):
        with pytest.raises(BadInput, match="do nothing"):
            encode(weights, replace(idle, weigh=1.0))
