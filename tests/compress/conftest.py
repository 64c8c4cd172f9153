"""A tiny model, made once, and matrices of every stored kind."""

from pathlib import Path

import numpy as np
import pytest

from backcast.compress import rtn, splitquant, wgm
from backcast.compress.layout import Encoded


def every_kind(weights: np.ndarray) -> dict[str, Encoded]:
    """The matrix in every kind, scope and width class."""
    split = splitquant.SplitQuant
    settings = {
        "ours 4": wgm.preset("ours", 4),
        "ours 3": wgm.preset("ours", 3),
        "ours 1": wgm.preset("ours", 1),
        "ours 6": wgm.preset("ours", 6),
        "table 3": wgm.preset("table", 3),
        "exact 6": wgm.preset("exact", 6),
        "group 4": wgm.WGM(8, "group", 5),
        "rtn 4 group": rtn.RTN(4, "group", 8),
        "split group": split(4, "group", 7),
        "planes group": split(2, "group", 16, form="planes"),
        "row 5": wgm.WGM(16, "row"),
        "block 4": wgm.WGM(8),
        "block 4 fine": wgm.WGM(8, fine=True, protect=0.01),
        "one group": wgm.WGM(1),
        "one group a row": wgm.WGM(1, "row"),
        "one group fine": wgm.WGM(1, fine=True),
        "rtn 4": rtn.RTN(4),
        "rtn 2 of 32": rtn.RTN(2, block=32),
        "rtn 8 row": rtn.RTN(8, "row"),
        "rtn 7 tensor": rtn.RTN(7, "tensor"),
        "split row": split(4, "row"),
        "split masked block": split(4, "block", masked=True),
        "split tensor": split(2, "tensor"),
        "sparse row": split(4, "row", form="sparse"),
        "sparse block": split(3, "block", 32, form="sparse", masked=True),
        "planes row": split(4, "row", form="planes"),
        "planes block": split(3, "block", form="planes"),
    }
    encoders = {wgm.WGM: wgm.encode, rtn.RTN: rtn.encode, split: splitquant.encode}
    return {name: encoders[type(how)](weights, how) for name, how in settings.items()}


@pytest.fixture(scope="session", params=[(37, 100), (64, 128)], ids=["odd", "even"])
def matrices(request) -> tuple[np.ndarray, dict[str, Encoded]]:
    weights = (np.random.default_rng(0).standard_t(5, request.param) * 0.05).astype(np.float32)
    return weights, every_kind(weights)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    from backcast.lm.tiny import make_tiny_llama

    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")
