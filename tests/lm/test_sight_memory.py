"""Decoding that remembers, beside ``transformers.generate`` that reads everything anew: the same tokens."""

import random

import pytest
import torch
from PIL import Image

from backcast.core.errors import BadInput
from backcast.lm.base import Sampling
from backcast.lm.local_sight import LocalSight
from backcast.lm.sight import Turn
from backcast.lm.sight_memory import Memory
from backcast.lm.small_sight import Shape, small_sight
from backcast.lm.tiny import CHATML_IMAGES, tiny_vlm

SMALL = Shape(hidden=32, layers=2, heads=2, tower=16, tower_layers=1, patch=4, cells=2, wide=0.3)
RULES = "You look at pictures and say which colour they have; where you are not sure, you say that you are not."


def picture(seed, size=(24, 16)):
    chance = random.Random(seed)
    return Image.frombytes("RGB", size, bytes(chance.randrange(256) for _ in range(3 * size[0] * size[1])))


def first(seed, words="Which colour?"):
    return [Turn("system", (RULES,)), Turn("user", (picture(seed), words))]


def result(seed):
    return Turn("tool", ("A part: ", picture(seed, (16, 16)), "\nGo on."))


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def lm(request):
    parts = tiny_vlm() if request.param == "qwen2_5_vl" else small_sight(CHATML_IMAGES, (), SMALL)
    return LocalSight(*parts)


@pytest.fixture(autouse=True)
def remembering(lm):
    lm.memory.read = 0
    with lm.remembering():
        yield
    assert lm.memory.slots is None


def both(lm, conversations, sampling):
    """Replies with memory; that they are those without is checked."""
    found = lm.reply(conversations, (), sampling)
    assert found == lm.reply_anew(conversations, (), sampling)
    return found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_three_turns_of_unequal_rows_are_as_without_memory(lm, temperature):
    """Rows of other lengths, one that ends early, pictures that come in between, another order: nothing changes."""
    sampling = Sampling(temperature, max_tokens=12)
    talks = [first(1), first(2, "And which colour is this one, if it has one?"), first(3)]
    for turn in range(3):
        replies = both(lm, talks, sampling)
        texts = [reply.text for reply in replies]
        talks = [[*talk, Turn("assistant", (text,))] for talk, text in zip(talks, texts, strict=True)]
        talks = [[*talk, result(10 * turn + n)] for n, talk in enumerate(talks)]
        talks = [talks[2], talks[0]] if turn == 0 else talks


def test_a_later_turn_reads_only_what_is_new(lm):
    sampling = Sampling(0.0, max_tokens=4)
    talks = [first(n) for n in range(4)]
    replies = lm.reply(talks, (), sampling)
    once = lm.memory.read
    prompt = replies[0].prompt_tokens
    assert once < 4 * prompt  # the rules are read once for all
    grown = [[*talk, Turn("assistant", ("It is red.",)), result(n)] for n, talk in enumerate(talks)]
    replies = lm.reply(grown, (), sampling)
    new = 4 * (replies[0].prompt_tokens - prompt)
    assert lm.memory.read - once <= new + 4 * sampling.max_tokens


def test_nothing_is_kept_unless_asked_for():
    lm = LocalSight(*tiny_vlm())
    lm.reply([first(1)], (), Sampling(0.0, max_tokens=2))
    assert lm.memory.slots is None


def test_another_picture_in_the_same_words_is_read_anew(lm):
    """The words go on from what was read, the picture does not."""
    sampling = Sampling(0.0, max_tokens=6)
    lm.reply([first(1)], (), sampling)
    both(lm, [[*first(2), Turn("assistant", ("Red.",)), Turn("user", ("Sure?",))]], sampling)


def test_changed_weights_are_never_answered_from_memory(lm):
    sampling = Sampling(0.0, max_tokens=6)
    talk = first(1)
    before = lm.reply([talk], (), sampling)
    weight = lm.model.get_output_embeddings().weight
    optimizer = torch.optim.AdamW([weight], 0.0, weight_decay=0.0)
    weight.grad = torch.zeros_like(weight)
    old = weight.detach().clone()
    with torch.no_grad():
        layer = lm.model.model.language_model.layers[0].mlp.down_proj.weight
        kept = layer.clone()
        layer.mul_(-3.0)
    try:
        both(lm, [[*talk, Turn("assistant", (before[0].text,)), Turn("user", ("Sure?",))]], sampling)
    finally:
        with torch.no_grad():
            layer.copy_(kept)
    stamp = lm.memory.stamp
    optimizer.step()  # an optimiser's step counts as a change, even one that moves nothing
    weight.grad = None
    assert torch.equal(weight, old)
    lm.reply([talk], (), sampling)
    assert lm.memory.stamp != stamp


def test_pictures_need_not_be_there_and_one_token_is_enough(lm):
    talks = [[Turn("user", ("Hello",))], [Turn("user", ("Hello, who are you?",))], first(4)]
    both(lm, talks, Sampling(0.0, max_tokens=1))
    both(lm, [*reversed(talks)], Sampling(0.0, max_tokens=8))


def test_stops_and_too_long_prompts(lm):
    sampling = Sampling(0.0, max_tokens=8)
    text = lm.reply([first(5)], (), sampling)[0].text
    assert len(text) > 2
    stopped = lm.reply([first(5)], (), Sampling(0.0, max_tokens=8, stop=(text[1],)))[0]
    assert stopped.text == text[: text.index(text[1])]
    with pytest.raises(BadInput, match="is more than the"):
        lm.reply([first(5)], (), Sampling(0.0, max_tokens=lm.context))


def test_what_it_cannot_decode_for_is_left_to_generate():
    model, processor = tiny_vlm()
    model.config.get_text_config().layer_types = ["full_attention", "sliding_attention"]
    assert not Memory.fits(model)
    model.config.model_type = "idefics3"
    assert LocalSight(model, processor).memory is None
