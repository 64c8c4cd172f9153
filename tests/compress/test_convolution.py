"""Convolutions: one kernel a row, clustered by itself, packed in any model folder, called as before."""

import numpy as np
import pytest
import torch
from torch import nn

from backcast import cli
from backcast.compress.layout import decode
from backcast.compress.opened import open_folder
from backcast.compress.packed import PackedConv
from backcast.compress.rtn import RTN
from backcast.compress.rtn import encode as rtn_encode
from backcast.compress.splitquant import SplitQuant, bounds, by_kernel, encode
from backcast.core.errors import BadInput


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """A tiny ResNet: Conv2d layers, batch norms, a linear classifier, and no tokenizer."""
    from transformers import ResNetConfig, ResNetForImageClassification

    folder = tmp_path_factory.mktemp("vision") / "model"
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=5, num_channels=3
    )
    torch.manual_seed(0)
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder


def outliers(rows: int, columns: int) -> np.ndarray:
    """Kernels of very different sizes, each with a few large weights."""
    draw = np.random.default_rng(0)
    values = draw.standard_t(3, (rows, columns)) * draw.lognormal(0, 1.5, (rows, 1))
    return (values * 0.05).astype(np.float32)


@pytest.mark.parametrize("form", ["compact", "planes"])
def test_clusters_of_each_kernel_are_those_of_the_kernel_alone(form):
    """Row by row the same numbers as the row by itself, and less error than clusters of the whole tensor."""
    weights = outliers(9, 75)
    settings = by_kernel(SplitQuant(3, form=form))
    together = decode(encode(weights, settings))
    for row in range(len(weights)):
        # The unit of a lone row may be another power of two: scales are rounded relative to it, but equally finely.
        alone = decode(encode(weights[row : row + 1], SplitQuant(3, form=form)))
        np.testing.assert_allclose(together[row], alone[0], rtol=2e-3, atol=1e-6)
    relative = ((together - weights) ** 2).sum(1) / (weights**2).sum(1)
    whole = decode(encode(weights, SplitQuant(3, form=form)))
    assert relative.mean() < (((whole - weights) ** 2).sum(1) / (weights**2).sum(1)).mean()
    assert bounds(weights[0]) != bounds(weights[1])


def test_clusters_of_rows_want_grids_of_rows():
    """One grid for the tensor cannot serve a cluster of each row; for a convolution the tensor's clusters are taken."""
    with pytest.raises(BadInput, match="use scope row or block"):
        encode(outliers(4, 8), SplitQuant(4, "tensor", clusters="row"))
    assert by_kernel(SplitQuant(4, "tensor")).clusters == "tensor"


CONVOLUTIONS = {
    "plain": nn.Conv2d(6, 8, 3, padding=1),
    "strided, grouped, no bias": nn.Conv2d(6, 8, (3, 5), stride=2, groups=2, bias=False),
    "circular": nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular", dilation=2),
    "one-dimensional": nn.Conv1d(6, 8, 5, padding="same"),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_packed_convolution_is_the_convolution_with_decoded_kernels(name):
    """Stride, padding, groups, dilation and bias are the plain layer's; the gradient reaches the input."""
    plain = CONVOLUTIONS[name]
    encoded = rtn_encode(plain.weight.detach().numpy().reshape(8, -1), RTN(5, "row"))
    packed = PackedConv(encoded.layout, plain)
    packed.load_state_dict(
        {key: torch.from_numpy(value) for key, value in encoded.tensors.items()}
        | ({} if plain.bias is None else {"bias": plain.bias.detach()})
    )
    x = torch.randn(2, 6, *[12] * (plain.weight.dim() - 2), requires_grad=True)
    with torch.no_grad():
        plain.weight.copy_(torch.from_numpy(decode(encoded)).view(plain.weight.shape))
    assert torch.equal(packed(x), plain(x))
    packed(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert "bits" in repr(packed)


@pytest.mark.parametrize("words", [("--method", "splitquant", "--bits", "8"), ("--bits", "6"), ("--plan", "6bits")])
def test_a_vision_model_is_packed_and_loads(vision, tmp_path, words, capsys):
    """A folder without a tokenizer: convolutions packed, checked layer by layer, loaded with plain from_pretrained,
    near the original; exported again as a plain folder it has its own shapes."""
    from transformers import AutoModelForImageClassification

    out = tmp_path / "out"
    assert cli.main(["compress", str(vision), *words, "--out", str(out), "--check", "auto"]) == 0, capsys.readouterr()
    original, packed = (AutoModelForImageClassification.from_pretrained(folder).eval() for folder in (vision, out))
    convolutions = [module for module in packed.modules() if isinstance(module, PackedConv)]
    assert len(convolutions) > 4 * sum(isinstance(module, nn.Conv2d) for module in packed.modules())
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        apart = (original(pixels).logits - packed(pixels).logits).norm() / original(pixels).logits.norm()
    assert apart < 0.1
    opened = open_folder(out)
    for name in opened.layouts:
        expected = original.get_parameter(f"{name}.weight").detach().numpy()
        assert opened.dense(f"{name}.weight").shape == expected.shape
