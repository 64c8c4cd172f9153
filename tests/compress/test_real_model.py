"""The bundled real model, all 210 linear layers, on a short text: what the papers' settings and ours do to it."""

from importlib import resources

import numpy as np
import pytest
import torch

from backcast.compress import rtn, splitquant, wgm
from backcast.compress.layout import decode
from backcast.compress.score import load, perplexity, read, windows
from backcast.compress.stream import encode
from backcast.core.problem import read_jsonl

pytestmark = pytest.mark.model
CONTEXT, WINDOWS = 192, 2


class Arms:
    """The model, and the same again with its weights as stored."""

    def __init__(self) -> None:
        from backcast.lm.models import resolve

        folder = resolve("smollm2")
        (self.base, tokenizer), (self.model, _) = load(folder), load(folder)
        path = resources.files("backcast.data") / "writing" / "search.jsonl"
        text = " ".join(row["answer"] for _, row in read_jsonl(path))
        self.ids = tokenizer(text).input_ids
        self.places = windows(len(self.ids), "gptq", CONTEXT)[:WINDOWS]
        self.original = self.perplexity(read(self.base, self.ids, self.places))

    def perplexity(self, reading) -> float:
        return perplexity(reading, "gptq", CONTEXT).value

    def score(self, settings) -> tuple[float, float, float]:
        """(perplexity over the original's, KL in nats per token, true bits)."""
        stored = weights = 0
        for name, module in self.base.named_modules():
            if type(module) is torch.nn.Linear and module is not self.base.get_output_embeddings():
                encoded = encode(module.weight.detach().numpy(), settings, name)
                self.model.get_submodule(name).weight.data = torch.from_numpy(np.ascontiguousarray(decode(encoded)))
                stored, weights = stored + encoded.layout.bytes(), weights + encoded.layout.weights
        assert weights == 106_168_320
        reading = read(self.model, self.ids, self.places, self.base)
        return (
            self.perplexity(reading) / self.original,
            float(reading.kl.sum() / reading.tokens.sum()),
            8 * stored / weights,
        )


@pytest.fixture(scope="module")
def arms() -> Arms:
    return Arms()


def test_what_is_left_of_a_real_model(arms):
    """Six honest bits keep it, ours keeps it at four, one bit destroys it: the withdrawn claim cannot be."""
    exact, ours, one = (arms.score(how) for how in (wgm.WGM(32, "tensor"), wgm.preset("ours", 4), wgm.WGM(1)))
    assert exact[0] < 1.12
    assert exact[1] < 0.08
    assert exact[2] == pytest.approx(6.0, abs=0.01)
    assert ours[0] < 1.35
    assert ours[1] < 0.35
    assert ours[2] < 4.15
    assert one[0] > 100
    assert one[1] > 3
    assert one[2] == pytest.approx(1.25, abs=0.01)


def test_a_split_helps_plain_rounding(arms):
    """SplitQuant's effect, per tensor at INT4: rounding destroys the model, the split leaves it readable."""
    plain, split = (arms.score(how) for how in (rtn.RTN(4, "tensor"), splitquant.SplitQuant(4, "tensor")))
    assert plain[0] > 20 * split[0]
    assert plain[1] > split[1] + 2
