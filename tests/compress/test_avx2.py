"""The vector loop for processors with AVX2 alone, simulated: numba compiles for a processor that is named."""

import os
import subprocess
import sys

import llvmlite.binding
import pytest

HOST = llvmlite.binding.get_host_cpu_features()

CHECK = """
import numpy as np
from backcast.compress import kernels, rtn, splitquant, vectors, wgm
from backcast.compress.layout import decode
assert vectors.AVAILABLE and not vectors._WIDE
weights = (np.random.default_rng(0).standard_t(5, (9, 200)) * 0.05).astype(np.float32)
x = np.random.default_rng(1).standard_normal((2, 200)).astype(np.float32)
for bits in (1, 2, 4, 6, 7):
    ways = [(rtn.RTN(bits), rtn.encode), (wgm.preset("ours", bits), wgm.encode)]
    if bits <= vectors.WIDEST:
        ways.append((wgm.WGM(2 ** (bits - 1), "row"), wgm.encode))
    for form in ("compact", "sparse", "planes"):
        ways.append((splitquant.SplitQuant(bits, "block", form=form), splitquant.encode))
    for settings, encode in ways:
        encoded = encode(weights, settings)
        stored = kernels.stored(encoded.layout, encoded.tensors)
        assert kernels.in_registers(stored)
        out = np.empty((2, 9), np.float32)
        kernels.multiply(stored, x, 0, 9, out)
        dense = decode(encoded)
        if encoded.layout.kept:  # the kernels leave these out
            kernels.decode_rows(stored, 0, 9, dense)
        expected = x @ dense.T
        assert np.abs(out - expected).max() < 1e-5 * np.abs(expected).max(), (bits, settings)
"""


@pytest.mark.skipif(not (HOST.get("avx2") and HOST.get("fma")), reason="this processor has no AVX2 to run it on")
def test_tables_and_grids_without_avx512(tmp_path):
    """One, two and four registers' worth of table, and grids: the products of the decoded weights."""
    features = "+avx2,+fma,+avx,+sse4.2,+popcnt,+bmi,+bmi2,+f16c"
    chosen = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    chosen["MALLOC_PERTURB_"] = "165"  # freed memory is overwritten at once
    said = subprocess.run([sys.executable, "-c", CHECK], env={**os.environ, **chosen}, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
