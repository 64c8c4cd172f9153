"""Packed linear layers in torch: the same numbers on every route, gradients, dtypes, copies."""

import copy

import numpy as np
import pytest
import torch

from backcast.compress.layout import decode
from backcast.compress.packed import FEW, PackedLinear
from backcast.compress.unpacked import dequantise


def layer(encoded, bias=False):
    made = PackedLinear(encoded.layout, bias=bias)
    for name, values in encoded.tensors.items():
        getattr(made, name).data.copy_(torch.from_numpy(values))
    if bias:
        torch.nn.init.normal_(made.bias)
    return made


def test_torch_decodes_the_same_numbers(matrices):
    """The fallback for other devices gives the plain decoder's numbers bit for bit, for every kind."""
    for name, encoded in matrices[1].items():
        stored = {key: torch.from_numpy(value) for key, value in encoded.tensors.items()}
        assert np.array_equal(dequantise(encoded.layout, stored).numpy(), decode(encoded)), name


def test_every_route_gives_the_dense_product(matrices):
    """Few vectors, many vectors, the plain route and a batch shape agree with a dense linear layer, bias included."""
    weights, kinds = matrices
    generator = torch.Generator().manual_seed(0)
    for name, encoded in kinds.items():
        made = layer(encoded, bias=True)
        dense = torch.from_numpy(decode(encoded))
        for shape in ((1,), (3,), (2, FEW), ()):
            x = torch.randn(*shape, weights.shape[1], generator=generator)
            expected = torch.nn.functional.linear(x, dense, made.bias)
            torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-5, msg=name)
            made.route = "plain"
            torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-5, msg=name)
            made.route = "fast"


def test_gradients_reach_inputs_and_bias_and_not_the_weights(matrices):
    """The gradient of the input is that of the dense layer; the packed codes have none."""
    encoded = matrices[1]["ours 4"]
    made = layer(encoded, bias=True)
    x = torch.randn(5, encoded.layout.columns, requires_grad=True)
    made(x).square().sum().backward()
    twin = x.detach().clone().requires_grad_()
    dense = torch.nn.functional.linear(twin, torch.from_numpy(decode(encoded)), made.bias)
    dense.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-4)
    assert made.bias.grad is not None
    assert made.weight.grad is None


def test_bfloat16_activations_and_casts_leave_the_stored_numbers_alone(matrices):
    """A cast of the module changes no stored tensor; bf16 inputs give bf16 outputs of the float32 product."""
    encoded = matrices[1]["rtn 4"]
    made = layer(encoded).to(torch.bfloat16)
    assert all(torch.equal(made.stored()[name], torch.from_numpy(v)) for name, v in encoded.tensors.items())
    for n in (2, 40):
        x = torch.randn(n, encoded.layout.columns).bfloat16()
        y = made(x)
        assert y.dtype == torch.bfloat16
        expected = torch.nn.functional.linear(x.float(), torch.from_numpy(decode(encoded)))
        torch.testing.assert_close(y.float(), expected, rtol=1e-2, atol=1e-2)


def test_inputs_that_are_not_floating_are_refused(matrices):
    """A model that casts to the type of ``weight``, which is bytes here, hears of it."""
    made = layer(matrices[1]["rtn 4"])
    for n in (2, 40):
        with pytest.raises(TypeError, match=r"takes floating activations, found torch\.uint8"):
            made(torch.zeros(n, made.in_features, dtype=torch.uint8))


def test_inputs_of_another_width_are_refused(matrices):
    """The kernels would read past the end of a row: few vectors and many, a multiple of the width too."""
    made = layer(matrices[1]["rtn 4"])
    for n in (2, 40):
        for width in (made.in_features // 2, 2 * made.in_features):
            with pytest.raises(RuntimeError):
                made(torch.randn(n, width))


def test_two_threads_give_the_same_bits(monkeypatch, matrices):
    """Rows shared among threads give exactly what one thread gives."""
    from backcast.compress import packed

    made = layer(matrices[1]["block 4"])
    x = torch.randn(1, made.in_features)
    one = made(x)
    monkeypatch.setattr(packed, "SHARE", 1000)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(made(x), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (3, 5), (2, 9)])
def test_threads_share_the_decoding_of_a_tile(matrices, first, last):
    """Whatever rows a tile has, two threads write what one writes, and nothing beside it."""
    from backcast.compress import packed

    made = layer(matrices[1]["block 4"])
    matrix, _ = made.views()
    before = torch.get_num_threads()
    written = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        out = np.full((last - first + 1, made.in_features), np.nan, dtype=np.float32)
        packed._decode(matrix, first, last, out[: last - first])
        written.append(out)
    torch.set_num_threads(before)
    assert np.array_equal(*written, equal_nan=True)
    assert not np.isnan(written[1][:-1]).any()
    assert np.isnan(written[1][-1]).all()


def test_memory_is_packed_and_copies_are_independent(matrices):
    """Parameters and buffers take the bytes of the formula; a deep copy works after the original changes."""
    encoded = matrices[1]["ours 4"]
    made = layer(encoded)
    held = sum(t.numel() * t.element_size() for t in [*made.parameters(), *made.buffers()])
    assert held == encoded.layout.bytes()
    x = torch.randn(1, made.in_features)
    before = made(x)
    twin = copy.deepcopy(made)
    made.weight.data.zero_()
    assert torch.equal(twin(x), before)
    assert not torch.equal(made(x), before)
    assert f"{encoded.layout.true_bits():.3f} bits" in repr(twin)


def test_plain_weights_do_not_fit(matrices):
    """Packed codes are one-dimensional, so loading them into an ordinary linear layer fails by shape."""
    encoded = matrices[1]["rtn 8 row"]
    plain = torch.nn.Linear(encoded.layout.columns, encoded.layout.rows, bias=False)
    with pytest.raises(RuntimeError, match="size mismatch"):
        plain.load_state_dict({"weight": torch.from_numpy(encoded.tensors["weight"])})
