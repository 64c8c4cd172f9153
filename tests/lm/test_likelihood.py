"""Shared-prefix scoring against the plain way, on architectures that differ in what makes it hard."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from backcast.lm.base import Prompt, Scoring
from backcast.lm.likelihood import Item, Text
from backcast.lm.local import LocalLM
from backcast.lm.tiny import tiny_tokenizer

SHAPE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SOFTCAP = {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 16}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
    "mistral, sliding window": MistralConfig(**SHAPE, sliding_window=16),
    "gemma 2, capped logits": Gemma2Config(**SHAPE, head_dim=16, sliding_window=16, **SOFTCAP),
    "gemma 3, mixed layers": Gemma3TextConfig(
        **SHAPE, head_dim=16, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
    ),
    "granite, scaled logits": GraniteConfig(**SHAPE, logits_scaling=8.0, attention_multiplier=0.25),
    "lfm2, convolutions": Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
}
SENTENCE = "the river rises in hills and runs to sea when it rains for three days lower fields are under water"


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(SENTENCE.split(), k=count))


def scoring(prompt_words: int, candidates: tuple[int, ...], answer_words: int, seed: int = 0) -> Scoring:
    """A REER-like item: candidates of different lengths before one answer, which alone is scored."""
    before = [f"<think>\n{words(count, seed + count)}\n</think>\n\n" for count in candidates]
    answer = words(answer_words, seed + 1000)
    prompt = Prompt.of([{"role": "user", "content": words(prompt_words, seed)}])
    return Scoring(prompt, tuple(head + answer for head in before), tuple(map(len, before)))


LONG = scoring(220, (5, 9, 14), 30)
SHORT = [
    Scoring(Prompt.of([{"role": "user", "content": words(3, 3)}]), (" yes", " yes or no", "x"), (0, 1, 0)),
    Scoring(Prompt.of([{"role": "user", "content": words(9, 9)}]), (" yes", " yes or no", "x"), (0, 1, 0)),
    Scoring(Prompt((), "the river"), (" runs to the sea",), (0,)),
    Scoring(Prompt(()), ("the river", "Question: what is 12 + 30?"), (0, 0)),
    Scoring(Prompt(()), ("x", "xyz"), (0, 5)),
]


def model_folder(folder: Path, name: str) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[name]).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def assert_equal_scores(lm: LocalLM, items: list[Scoring]) -> None:
    for ours, plain in zip(lm.logprobs(items), lm.logprobs_naive(items), strict=True):
        for one, two in zip(ours, plain, strict=True):
            assert one.offsets == two.offsets
            np.testing.assert_allclose(one.logprobs, two.logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_the_plain_way(tmp_path, name, share):
    """Within 1e-4 per token of reading each text from its beginning: long, short, cold, warm, alone, together."""
    lm = LocalLM(model_folder(tmp_path, name), share_passes=share)
    for items in ([LONG], SHORT, [LONG, *SHORT]):
        assert_equal_scores(lm, items)


@pytest.mark.parametrize("batch_tokens", [16, 700])
def test_small_batches_change_nothing(tiny_llama, batch_tokens):
    """With memory for a fraction of an item the passes are cut into rows and slices, and the scores stay."""
    assert_equal_scores(LocalLM(tiny_llama, batch_tokens=batch_tokens), [LONG, *SHORT])


def test_tokens_run_are_prefix_plus_what_differs(tiny_llama):
    """The shared prefix P is run once: P + sum(c_k + rest + y) tokens instead of K * P + the same; a last one never."""
    lm = LocalLM(tiny_llama)
    lm.logprobs([LONG])
    texts = [text for text, _ in lm._texts(LONG)]
    prefix = Item(texts).trunk
    assert prefix > 256
    assert lm.tokens_forwarded == prefix + sum(text.scored[-1] - prefix for text in texts)


def test_a_sweep_carries_its_prefix_on(tiny_llama):
    """Extending the same prompt runs only its new blocks, and what is kept has the bits of a fresh computation."""
    first = scoring(220, (5, 9), 30)
    done = first.continuations[0].split("\n</think>")[0]
    grown = Prompt(first.prompt.messages, done)
    second = Scoring(grown, tuple(f" {words(n, n)} {words(30, 7)}" for n in (4, 8)), (20, 40))
    warm = LocalLM(tiny_llama)
    warm.logprobs([first])
    before = warm.tokens_forwarded
    scores = warm.logprobs([second])[0]
    cold = LocalLM(tiny_llama)
    expected = cold.logprobs([second])[0]
    assert warm.tokens_forwarded - before <= cold.tokens_forwarded - 256
    for one, two in zip(scores, expected, strict=True):
        assert np.array_equal(one.logprobs, two.logprobs)


def test_an_items_bits_depend_on_nothing_else(tiny_llama):
    """On a CPU each item is computed by itself: alone, in company or after others, its scores are the same bits."""
    items = [scoring(20, (3, 5), 10, seed) for seed in range(4)]
    together = LocalLM(tiny_llama).logprobs(items)
    backwards = LocalLM(tiny_llama).logprobs(items[::-1])[::-1]
    for item, one, two in zip(items, together, backwards, strict=True):
        alone = LocalLM(tiny_llama).logprobs([item])[0]
        for a, b, c in zip(alone, one, two, strict=True):
            assert np.array_equal(a.logprobs, b.logprobs)
            assert np.array_equal(a.logprobs, c.logprobs)


def test_trunk_and_branches_by_hand():
    """Texts 1 2 3 4 and 1 2 5, tokens from index 1 on scored: the trunk gives 2, and 3 or 5; the branch gives 4."""
    item = Item([Text([1, 2, 3, 4], [1, 2, 3]), Text([1, 2, 5], [1, 2])])
    assert (item.trunk, item.first_scored, item.tokens) == (2, 1, 7)
    assert item.wanted(0, branch=False) == [(0, 2), (1, 3)]
    assert item.wanted(0, branch=True) == [(0, 4)]
    assert item.wanted(1, branch=False) == [(0, 2), (1, 5)]
    assert item.wanted(1, branch=True) == []


@pytest.mark.model
def test_equal_to_the_plain_way_on_the_real_model(smollm2):
    """SmolLM2 in float32: within 1e-4 per token, prefix kept from an earlier call included."""
    lm = LocalLM(smollm2)
    for item in (scoring(150, (8, 14), 25), scoring(150, (8, 11), 20)):
        assert_equal_scores(lm, [item])
