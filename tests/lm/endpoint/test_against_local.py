"""The same Llama here and behind HTTP: a served model is scored exactly as a local one."""

import numpy as np
import pytest

from backcast.lm.base import Prompt, Scoring
from backcast.lm.endpoint import EndpointLM
from backcast.lm.local import LocalLM
from tests.lm.served import served


@pytest.fixture(scope="module")
def local(tiny_llama):
    return LocalLM(tiny_llama)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize("by", ["server", "folder"])
def test_a_served_llama_scores_as_a_local_one(local, tiny_llama, kind, by):
    """Same tokens, same places, and log-probabilities within 1e-4, whether the server tokenises or a folder here does;
    texts with characters of several tokens, words cut by the prompt's end, and starts in the middle of a word."""
    items = [
        Scoring(Prompt((("user", "Tell me of rain."),), "<think>\nIt ra"), ("ins. Then the sun came.", "n"), (0, 0)),
        Scoring(
            Prompt(
                (
                    ("system", "S"),
                    ("user", "é"),
                )
            ),
            ("Un café 🌍 中文 ouvert\n\nici", " x"),
            (6, 1),
        ),
        Scoring(Prompt((), "A bare text"), (" goes on, and ends.",), (0,)),
    ]
    with served(local, kind) as address:
        lm = EndpointLM(f"{address}#toy" + ("?tokenizer=" + str(tiny_llama)) * (by == "folder"))
        there, here = lm.logprobs(items), local.logprobs(items)
        lm.close()
    for one, other in zip(there, here, strict=True):
        assert [scores.offsets for scores in one] == [scores.offsets for scores in other]
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
    assert np.ptp(there[0][0].logprobs) > 0.1, "values differ by far more than the tolerance"
