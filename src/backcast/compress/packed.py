"""Linear and convolution layers whose weights stay packed in memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from backcast.compress import kernels
from backcast.compress.layout import Layout
from backcast.compress.unpacked import dequantise, kept_values, take_rows

FEW = 8
"""Up to this many vectors are multiplied straight from the packed rows; more are worth decoding tiles for a GEMM."""

TILE = 1 << 20
"""Weights decoded at a time for a GEMM: 4 MB in float32."""

Kept = tuple[Any, Any, Any]

SHARE = 1 << 21
"""Weights that keep one more thread busy."""


class _Stored(nn.Module):
    """The stored tensors of one matrix: ``weight`` (codes) a parameter, the others integer buffers."""

    layout: Layout
    weight: Tensor

    def _hold(self, layout: Layout, device: Any, *, own: bool = True) -> None:
        self.layout = layout
        for name, (kind, shape) in layout.shapes().items():
            values = torch.empty(shape, dtype=getattr(torch, np.dtype(kind).name), device=device)
            if name == "weight":
                self.weight = nn.Parameter(values, requires_grad=False)
            else:
                self.register_buffer(name, values, persistent=own)

    def stored(self) -> dict[str, Tensor]:
        """The stored tensors by the layout's names."""
        return {name: getattr(self, name).data for name in self.layout.shapes()}

    def dense(self) -> Tensor:
        """The weights (rows, columns) in float32, on the module's device."""
        return dequantise(self.layout, self.stored())


class PackedConv(_Stored):
    """A Conv1d or Conv2d whose kernels (one a row) are decoded each time it is called; gradients flow to the input."""

    def __init__(self, layout: Layout, like: nn.Conv1d | nn.Conv2d, *, device: Any = None) -> None:
        super().__init__()
        self._hold(layout, device)
        self._kind, self._shape = type(like), like.weight.shape
        for name in ("stride", "padding", "dilation", "groups", "padding_mode", "_reversed_padding_repeated_twice"):
            setattr(self, name, getattr(like, name))
        self.in_channels, self.out_channels, self.kernel_size = like.in_channels, like.out_channels, like.kernel_size
        own = None
        if like.bias is not None:
            own = nn.Parameter(torch.empty(layout.rows, device=device, dtype=like.bias.dtype))
        self.register_parameter("bias", own)

    def forward(self, x: Tensor) -> Tensor:
        """As the plain layer, with the decoded kernels in the type of ``x``."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        kind: Any = self._kind
        y: Tensor = kind._conv_forward(self, x, self.dense().view(self._shape).to(x.dtype), bias)
        return y

    def extra_repr(self) -> str:
        """Channels, kernel, kind and bits."""
        about = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{about}, {self.layout.kind}, {self.layout.true_bits():.3f} bits"


class PackedEmbedding(_Stored):
    """An embedding whose rows stay packed; only the rows asked for are decoded. Not trainable."""

    like: Tensor

    def __init__(self, layout: Layout, plain: nn.Embedding, *, device: Any = None) -> None:
        super().__init__()
        self._hold(layout, device)
        self.num_embeddings, self.embedding_dim, self.padding_idx = layout.rows, layout.columns, plain.padding_idx
        # Holds nothing but the floating type of the answers, which casts of the module change with everything else.
        self.register_buffer("like", torch.zeros(0, dtype=plain.weight.dtype), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(..., columns) for token ids (...)."""
        if ids.is_cpu and self.weight.is_cpu:
            matrix = kernels.stored(self.layout, {name: part.numpy() for name, part in self.stored().items()})
            found = np.empty((ids.numel(), self.embedding_dim), dtype=np.float32)
            kernels.decode_chosen(matrix, ids.reshape(-1).to(torch.int64).numpy(), found)
            return torch.from_numpy(found).view(*ids.shape, self.embedding_dim).to(self.like.dtype)
        wanted, back = torch.unique(ids, return_inverse=True)
        rows = dequantise(*take_rows(self.layout, self.stored(), wanted))
        return rows.to(self.like.dtype)[back]

    def extra_repr(self) -> str:
        """Rows, columns, kind and bits."""
        return f"{self.num_embeddings}, {self.embedding_dim}, {self.layout.kind}, {self.layout.true_bits():.3f} bits"


class PackedLinear(_Stored, nn.Linear):
    """``y = x W^T + b`` with W stored as a ``Layout`` says: the same numbers on every route and device.

    ``weight`` is the packed codes, one-dimensional bytes: a loader that takes it for plain weights fails on its shape.
    The other stored tensors are integer buffers, so casts of the module leave them alone. Gradients flow to ``x`` (and
    the bias), never to the weights.
    """

    route: Literal["fast", "plain"] = "fast"
    """``plain`` always decodes with torch and multiplies densely: the reference for the kernels."""

    def __init__(self, layout: Layout, *, bias: bool, device: Any = None, dtype: Any = None, own: bool = True) -> None:
        nn.Module.__init__(self)
        self.own = own
        """False for a head whose stored tensors are the embedding's: then they are saved there only."""
        self.in_features, self.out_features = layout.columns, layout.rows
        self._hold(layout, device, own=own)
        bias_ = nn.Parameter(torch.empty(layout.rows, device=device, dtype=dtype)) if bias else None
        self.register_parameter("bias", bias_)
        self._seen: tuple[Any, ...] = ()
        self._views: tuple[kernels.Stored, Kept | None] | None = None
        self._way: Any = None

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (..., in_features) in any floating dtype; the product is taken in float32 on CPU."""
        # Decoding token by token is mostly calls: what autograd adds to each is saved where nothing wants a gradient,
        # and what reshapes and casts add, where there is nothing to reshape and cast.
        y: Tensor
        if x.requires_grad and torch.is_grad_enabled():
            y = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        elif self.route == "fast" and x.dtype is torch.float32 and x.numel() <= FEW * x.shape[-1] and x.is_cpu:
            y = _few(self, x.detach() if x.requires_grad else x)
        else:
            y = _product(self, x)
        bias = self._parameters["bias"]
        return y if bias is None else y + bias.to(y.dtype)

    def extra_repr(self) -> str:
        """Shape, kind and bits."""
        return f"{self.in_features}, {self.out_features}, {self.layout.kind}, {self.layout.true_bits():.3f} bits"

    def views(self) -> tuple[kernels.Stored, Kept | None]:
        """What the CPU kernels take: the stored matrix, and (row, column, difference) of the weights kept exactly."""
        weight = self._parameters["weight"]
        assert weight is not None
        seen = (weight.data_ptr(), *map(id, self._buffers.values()))
        if self._views is None or seen != self._seen:
            tensors = self.stored()
            matrix = kernels.stored(self.layout, {name: tensor.numpy() for name, tensor in tensors.items()})
            self._seen, self._views = seen, (matrix, _kept(self.layout, tensors, matrix))
            self._way = kernels.way(matrix)
        return self._views

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._views = None  # a cast or a move puts other memory behind the same tensors
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> "PackedLinear":
        from copy import deepcopy

        made = PackedLinear(self.layout, bias=self.bias is not None, device="meta", own=self.own)
        memo[id(self)] = made
        for name, value in self.__dict__.items():
            if name not in ("_views", "_seen", "_way"):
                made.__dict__[name] = deepcopy(value, memo)
        return made


class _Product(torch.autograd.Function):
    """The product with packed weights. Nothing dense is kept for the way back; it is decoded again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: PackedLinear) -> Tensor:
        ctx.module = module
        return _product(module, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad, module = grads[0], ctx.module
        flat = grad.reshape(-1, grad.shape[-1])
        return (flat @ module.dense().to(grad.dtype)).view(*grad.shape[:-1], module.in_features), None


def _product(module: PackedLinear, x: Tensor) -> Tensor:
    if not x.is_floating_point():
        # A model that casts its activations to the type of `weight` would multiply bytes, and go on without a word.
        raise TypeError(f"a packed layer takes floating activations, found {x.dtype}; leave this layer out (--exclude)")
    flat = x.detach().reshape(-1, x.shape[-1])
    if module.route == "plain" or x.device.type != "cpu":
        y = functional.linear(flat, module.dense().to(x.dtype))
    elif len(flat) <= FEW:
        y = _few(module, flat.float()).to(x.dtype)
    else:
        y = _many(module, flat.float()).to(x.dtype)
    return y.view(*x.shape[:-1], module.out_features)


def _few(module: PackedLinear, x: Tensor) -> Tensor:
    """Straight from the packed rows, which threads share; ``x`` is (..., columns) in float32.

    The shapes of numpy are plain tuples, those of torch take microseconds.
    """
    given = x.numpy()
    features, rows = module.in_features, module.out_features
    if given.shape[-1] != features:  # the kernels would read past the end
        raise RuntimeError(f"input of {given.shape} does not end in the {features} features of the layer")
    matrix, kept = module.views()
    vectors = given.reshape(-1, features)
    if not vectors.flags.c_contiguous:
        vectors = np.ascontiguousarray(vectors)
    found = np.empty((*given.shape[:-1], rows), dtype=np.float32)
    out, multiply = found.reshape(-1, rows), module._way
    threads = 1 if features * rows < 2 * SHARE else min(torch.get_num_threads(), features * rows // SHARE)
    if threads < 2:
        multiply(matrix, vectors, 0, rows, out)
    else:
        _shared(threads, 0, rows, lambda first, last: multiply(matrix, vectors, first, last, out))
    if kept is not None:
        kernels.add_kept(vectors, *kept, out)
    return torch.from_numpy(found)


def _many(module: PackedLinear, x: Tensor) -> Tensor:
    """Tile by tile: decode rows, multiply densely."""
    matrix, kept = module.views()
    height = max(TILE // module.in_features, 1)
    tile = torch.empty(min(height, module.out_features), module.in_features)
    y = torch.empty(len(x), module.out_features)
    for first in range(0, module.out_features, height):
        last = min(first + height, module.out_features)
        _decode(matrix, first, last, tile.numpy())
        y[:, first:last] = x @ tile[: last - first].T
    if kept is not None:
        rows, columns, difference = map(torch.from_numpy, kept)
        y.index_add_(1, rows, x[:, columns] * difference)
    return y


def _decode(matrix: kernels.Stored, first: int, last: int, out: Any) -> None:
    # Decoding takes about as long as the product of a hundred vectors, which torch spreads over its threads.
    threads = min(torch.get_num_threads(), last - first)
    if threads < 2:
        kernels.decode_rows(matrix, first, last, out)
    else:
        _shared(threads, first, last, lambda a, b: kernels.decode_rows(matrix, a, b, out[a - first : b - first]))


def _shared(threads: int, first: int, last: int, work: Callable[[int, int], None]) -> None:
    """``work(a, b)`` for parts ``a .. b - 1`` of the rows ``first .. last - 1``, one a thread."""
    edges = np.linspace(first, last, threads + 1).astype(int)
    parts = [_pool().submit(work, int(edges[i]), int(edges[i + 1])) for i in range(threads)]
    for part in parts:
        part.result()


def _kept(layout: Layout, tensors: dict[str, Tensor], matrix: kernels.Stored) -> Kept | None:
    """Row, column and what the kernels lack at each weight that is kept exactly; None if there is none."""
    if not layout.kept:
        return None
    where = tensors["kept_index"].to(torch.int64) & 0xFFFFFFFF
    rows, columns = where // layout.columns, where % layout.columns
    coded = np.empty((1, layout.columns), dtype=np.float32)
    difference = kept_values(tensors["kept_value"]).clone()
    for i, (r, c) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        if i == 0 or r != int(rows[i - 1]):
            kernels.decode_rows(matrix, r, r + 1, coded)
        difference[i] -= float(coded[0, c])
    return rows.numpy(), columns.numpy(), difference.numpy()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="packed")
