"""How much each layer's error matters to a model's predictions of a text.

One layer at a time is stored in few bits, the others stay, and the KL divergence to the original is taken: divided by
the layer's relative error it is the factor of that layer (linear to first order, Malinovskii et al., arXiv 2411.17525).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backcast.compress import shards, wgm
from backcast.compress.layout import decode
from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.core.progress import Progress

PROBE = wgm.preset("ours", 3)
"""How a layer is stored while it is looked at: coarse enough that the effect stands out."""

WINDOW, WINDOWS = 128, 2
"""Tokens that are read together, and how often."""


def factors(source: Path, entries: Sequence[shards.Entry], text: str, folder: Path) -> dict[str, float]:
    """KL divergence (nats per token) per unit of relative squared error, by tensor name.

    Needs the whole model in memory, in float32. What was measured before a kill is read. Raises BadInput for a text
    that is too short.
    """
    import torch

    from backcast.compress.score import load
    from backcast.compress.stream import encode

    model, tokenizer = load(source)
    ids = torch.tensor(tokenizer(text).input_ids[: WINDOW * WINDOWS])
    if len(ids) < WINDOW * WINDOWS:
        raise BadInput(f"--text has {len(ids)} tokens; {WINDOW * WINDOWS} are needed to tell layers apart")
    ids = ids.reshape(WINDOWS, WINDOW)
    original = _predictions(model, ids)
    found = {}
    with Progress("weighing layers", len(entries)) as progress:
        for entry in entries:
            path = folder / f"{entry.name}.factor.json"
            if not path.exists():
                weight = model.get_parameter(entry.name).data
                kept = weight.clone()
                matrix = kept.numpy().reshape(len(kept), -1)
                stored = decode(encode(matrix, PROBE, entry.name))
                square = float(np.square(matrix, dtype=np.float64).sum())
                error = float(np.square(stored - matrix, dtype=np.float64).sum()) / square if square else 0.0
                weight.copy_(torch.from_numpy(stored).reshape(weight.shape))
                apart = _divergence(original, _predictions(model, ids))
                weight.copy_(kept)
                write_json(path, {"factor": apart / error if error else 0.0})
            found[entry.name] = float(json.loads(path.read_text())["factor"])
            progress.advance()
    return found


def _predictions(model: Any, ids: Any) -> Any:
    import torch

    with torch.no_grad():
        return [torch.log_softmax(model(row[None]).logits[0].float(), -1) for row in ids]


def _divergence(original: Any, other: Any) -> float:
    """Mean KL(original || other) over all tokens, in nats."""
    sums = [float((a.exp() * (a - b)).double().sum()) for a, b in zip(original, other, strict=True)]
    return max(sum(sums) / sum(len(a) for a in original), 0.0)
