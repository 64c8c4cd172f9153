"""How much each layer's error matters to a model's predictions of a text, without trying one layer after the other.

To second order an error e of the weights moves the predictions by ``KL = 1/2 sum F_i e_i^2`` per token, if errors of
different weights have nothing to do with each other; F is the diagonal of the Fisher information, the mean square of
the gradient of ``log p(y)`` with y drawn from the model itself. So a few backward passes weigh all layers at once, and
the factor of a layer is that sum divided by the layer's relative squared error. As e serves the error of rounding in
blocks, which lies where that of any other way with scales in blocks does.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backcast.compress import rtn, shards
from backcast.compress.layout import decode
from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.core.progress import Progress

PROBE = rtn.RTN(3)
"""Where errors lie in a layer; how large they are cancels out."""

WINDOW, WINDOWS = 128, 4
"""Tokens that are read together, and how often."""

DRAWS = 4
"""Of a next token for every token of a window."""


def factors(source: Path, entries: Sequence[shards.Entry], text: str, folder: Path) -> dict[str, float]:
    """KL divergence (nats per token) per unit of relative squared error, by tensor name.

    Needs the whole model in memory, in float32, and half as much again for the errors. What was measured before a
    kill is read. Raises BadInput for a text that is too short.
    """
    import torch

    from backcast.compress.score import load

    seen = [text, WINDOW, WINDOWS, DRAWS, repr(PROBE), [entry.name for entry in entries]]
    path = folder / f"factors-{hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]}.json"
    if path.exists():
        known: dict[str, float] = json.loads(path.read_text())
        return known
    model, tokenizer = load(source)
    ids = torch.tensor(tokenizer(text).input_ids[: WINDOW * WINDOWS])
    if len(ids) < WINDOW * WINDOWS:
        raise BadInput(f"--text has {len(ids)} tokens; {WINDOW * WINDOWS} are needed to tell layers apart")
    found = weigh(model, [entry.name for entry in entries], ids.reshape(WINDOWS, WINDOW), DRAWS)
    write_json(path, found)
    return found


def weigh(model: Any, names: Sequence[str], ids: Any, draws: int, seed: int = 0) -> dict[str, float]:
    """The factors of the tensors ``names`` of a model, on token ids (windows, tokens)."""
    import torch

    model.eval().requires_grad_(False)
    watched = [_Watched(model.get_parameter(name)) for name in names]
    draw = torch.Generator().manual_seed(seed)
    with Progress("weighing layers", len(ids) * draws) as progress:
        for row in ids:
            logs = torch.log_softmax(model(row[None]).logits[0].float(), -1)
            for i in range(draws):
                tokens = torch.multinomial(logs.detach().exp(), 1, generator=draw)
                logs.gather(1, tokens).sum().backward(retain_graph=i + 1 < draws)  # type: ignore[no-untyped-call]
                progress.advance()
    for one in watched:
        one.hook.remove()
    return {name: one.factor(ids.numel() * draws) for name, one in zip(names, watched, strict=True)}


class _Watched:
    """One matrix: what its gradients say of its errors. Gradients are dropped as soon as they are seen."""

    def __init__(self, weight: Any) -> None:
        import torch

        matrix = weight.detach().float().numpy().reshape(len(weight), -1)
        wrong = torch.from_numpy(decode(rtn.encode(matrix, PROBE)) - matrix).double().square()
        square = float((matrix.astype("float64") ** 2).sum())
        self._relative = float(wrong.sum()) / square if square else 0.0
        # Scaled to a mean of 1, so that two bytes hold it; the divisor is undone in ``factor``.
        self._mean = float(wrong.mean())
        self._wrong = (wrong / (self._mean or 1.0)).bfloat16().view(weight.shape)
        self._sum = 0.0
        self.hook = weight.requires_grad_(True).register_post_accumulate_grad_hook(self._see)

    def _see(self, weight: Any) -> None:
        self._sum += float((weight.grad.float().square() * self._wrong).sum())
        weight.grad = None

    def factor(self, tokens: int) -> float:
        """KL per token and unit of relative error, from sums over so many drawn tokens."""
        return self._sum * self._mean / (2 * tokens * self._relative) if self._relative else 0.0
