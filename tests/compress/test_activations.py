"""Activations in three chunks: the same function, and finer grids once they are quantised."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from backcast.compress.activations import ONE_BY_ONE, SplitActivation, rounded, split_activations
from backcast.core.errors import BadInput


@pytest.mark.parametrize("kind", ONE_BY_ONE)
@pytest.mark.parametrize("shape", [(2, 7), (2, 2, 5), (1, 9, 4, 4)])
def test_splitting_changes_nothing(kind, shape):
    """Up to the last bit, also where there are fewer channels than chunks."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(SplitActivation(kind())(x), kind()(x), rtol=1e-6, atol=1e-7)


def test_a_grid_by_hand():
    """Two bits over 0 to 3: whole numbers; below zero the grid moves with its zero on a level."""
    assert rounded(torch.tensor([0.0, 0.4, 1.6, 3.0]), 2).tolist() == [0.0, 0.0, 2.0, 3.0]
    assert rounded(torch.tensor([-1.0, 0.2, 1.9, 2.0]), 2).tolist() == [-1.0, 0.0, 2.0, 2.0]
    assert rounded(torch.zeros(3), 4).tolist() == [0.0] * 3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 1000))
def test_rounding_is_within_a_step_and_keeps_zero(bits, seed):
    """Half a step from every value and half more from placing the zero on a level; zero stays zero."""
    values = torch.randn(50, generator=torch.Generator().manual_seed(seed))
    values[0] = 0
    found = rounded(values, bits)
    step = float(values.max().clamp(min=0) - values.min().clamp(max=0)) / (2**bits - 1)
    assert float((found - values).abs().max()) <= step * 1.001
    assert found[0] == 0
    assert len(found.unique()) <= 2**bits


def test_channels_of_different_size_get_finer_grids():
    """Channels in three groups a hundredfold apart: split, the error of the small ones falls at the same bits."""
    size = torch.tensor([0.01] * 4 + [1.0] * 4 + [100.0] * 4).view(1, 12, 1, 1)
    x = torch.randn(2, 12, 8, 8, generator=torch.Generator().manual_seed(0)) * size
    exact = nn.ReLU()(x)
    errors = [
        (((SplitActivation(nn.ReLU(), bits=4, chunks=n)(x) - exact) / size) ** 2).sum() / ((exact / size) ** 2).sum()
        for n in (1, 3)
    ]
    assert errors[1] < 0.02 < 0.5 < errors[0]


def test_a_whole_model(tmp_path):
    """A tiny ResNet: split it gives the same logits; with 8 bits near ones; the names are its activation layers."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_channels=3)
    model = ResNetForImageClassification(config).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixels).logits
        exact, coarse = copy.deepcopy(model), copy.deepcopy(model)
        names = split_activations(exact)
        split_activations(coarse, bits=8)
        assert torch.equal(exact(pixels).logits, expected)
        assert 0 < (coarse(pixels).logits - expected).norm() < 0.1 * expected.norm()
    assert len(names) > 2
    assert "SplitActivation" in repr(exact)


def test_what_cannot_be_split():
    """No layer to split, bits out of range: named."""
    with pytest.raises(BadInput, match="Sequential has no activation layer"):
        split_activations(nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)))
    with pytest.raises(BadInput, match="'9' is outside"):
        SplitActivation(nn.ReLU(), bits=9)
