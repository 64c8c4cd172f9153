"""SplitQuant's splitting of activations (arXiv 2501.12428; V2 dropped it): an option for vision nets.

An activation layer is called on three chunks of its input along the channels, and the results are joined: the same
function for every one that treats numbers one by one (to the last bit of rounding, which torch's vector code does
differently at the end of a tensor). Once activations are quantised each chunk has a range of its own: the point of it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from backcast.core.errors import BadInput

CHUNKS = 3
"""As published."""

ONE_BY_ONE = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.Mish)
"""Layers that treat numbers one by one; a softmax, say, does not, and is never split."""


class SplitActivation(nn.Module):
    """``inner`` on chunks of dimension ``dim``, joined again; with ``bits`` the answers are rounded chunk by chunk.

    Rounding is to an even grid from the chunk's least to its largest answer (0 always on it), as the call finds them.
    With ``chunks = 1`` it is plain activation quantisation: the baseline.
    """

    def __init__(self, inner: nn.Module, *, bits: int | None = None, chunks: int = CHUNKS, dim: int = 1) -> None:
        super().__init__()
        if bits is not None and not 1 <= bits <= 8:
            raise BadInput(f"bits: '{bits}' is outside 1..8 for activations; leave it out to keep them exact")
        if chunks < 1:
            raise BadInput(f"chunks: '{chunks}' is not at least 1")
        self.inner, self.bits, self.chunks, self.dim = inner, bits, chunks, dim

    def forward(self, x: Tensor) -> Tensor:
        """As ``inner``, in the shape of its answer."""
        parts = [self.inner(part) for part in torch.tensor_split(x, self.chunks, dim=self.dim)]
        if self.bits is not None:
            parts = [rounded(part, self.bits) for part in parts]
        return torch.cat(parts, dim=self.dim)

    def extra_repr(self) -> str:
        """Chunks and bits."""
        return f"chunks={self.chunks}, dim={self.dim}, bits={self.bits}"


def rounded(values: Tensor, bits: int) -> Tensor:
    """``values`` on an even grid of ``2 ** bits`` levels over their range, 0 among them; nothing of them empty."""
    if not values.numel():
        return values
    low, high = values.min().clamp(max=0), values.max().clamp(min=0)
    step = (high - low) / (2**bits - 1)
    if float(step) == 0:
        return values
    zero = torch.round(-low / step)
    found: Tensor = (torch.clamp(torch.round(values / step) + zero, 0, 2**bits - 1) - zero) * step
    return found


def split_activations(model: nn.Module, *, bits: int | None = None, chunks: int = CHUNKS) -> list[str]:
    """Replaces every activation layer of ``model`` by its split form, in place; the names of those replaced.

    Activations that a model calls as functions are not layers and stay. Raises BadInput when there is none to replace.
    """
    found = [name for name, module in model.named_modules() if isinstance(module, ONE_BY_ONE)]
    if not found:
        raise BadInput(f"{type(model).__name__} has no activation layer to split (functions are not layers)")
    for name in found:
        inner: Any = model.get_submodule(name)
        model.set_submodule(name, SplitActivation(inner, bits=bits, chunks=chunks))
    return found
