"""Prompt log-probabilities in three shapes: the numbers, the tokens and the places are those of the model itself."""

import random

import numpy as np
import pytest

from backcast.core.errors import BadInput, WorkFailed
from backcast.lm.base import Prompt, Scoring

PROMPT = Prompt((("user", "Tell me."),), "<think>\nWell")
SAMPLE = " one two 🌍 three é中 four. light"
TEXT = "/v1/completions"


def expected(toy, before, text, start):
    """(log-probability, span in text) of each wanted token, from the model and the bytes of its tokens."""
    whole = before + text
    owner = [i for i, char in enumerate(whole) for _ in char.encode()]
    ids = toy.encode(whole)
    values, at, found = [None, *toy.scores(ids)], 0, []
    for token, value in zip(ids, values, strict=True):
        size = len(toy.piece(token))
        first, last = owner[at], owner[at + size - 1] + 1
        at += size
        if last > len(before) + start and value is not None:
            found.append((np.float32(value), (max(0, first - len(before)), last - len(before))))
    return found


def got(scores):
    return list(zip(scores.logprobs, scores.offsets, strict=True))


@pytest.fixture
def shape(request, fake, tiny_llama):
    """A server of one shape, the address suffix it needs, and how a conversation reads there."""
    kind, incremental = request.param
    served = fake(kind=kind, incremental=incremental)
    return served, f"#toy?tokenizer={tiny_llama}" if kind == "echo" else ""


@pytest.mark.parametrize(
    "shape",
    [("vllm", False), ("vllm", True), ("sglang", False), ("sglang", True), ("echo", False)],
    ids=["vllm", "vllm incremental", "sglang", "sglang incremental", "echo"],
    indirect=True,
)
def test_every_shape_gives_the_models_own_numbers(shape, toy):
    """Random texts of words, spaces and characters of several bytes, scored from random places: each wanted token, no
    other, with its own log-probability and place.  The prompt's token is mostly the second key of vLLM's objects."""
    served, suffix = shape
    lm = served.lm(suffix)
    before = lm._sampler.tokenizer.render(PROMPT)
    chance = random.Random(0)
    texts = [
        "".join(chance.choices([" one", " two", "é", "🌍", "中", ".", " ", "\n", "x", "yz"], k=8)) for _ in range(40)
    ]
    texts += [SAMPLE, "ed", " river"]  # the second goes on in the prefill's last word
    starts = [chance.randrange(len(text) + 1) for text in texts]
    starts[-3:] = [5, 0, 0]
    (rows,) = lm.logprobs([Scoring(PROMPT, tuple(texts), tuple(starts))])
    read = before.removeprefix("<s>") if suffix else before
    for text, start, scores in zip(texts, starts, rows, strict=True):
        want = expected(toy, ("<s>" + read)[3 * (not suffix) :], text, start)
        assert [place for _, place in got(scores)] == [place for _, place in want]
        np.testing.assert_allclose(scores.logprobs, [value for value, _ in want], rtol=1e-6)
    assert scores.logprobs.dtype == np.float32


def test_vllm_entries_are_looked_up_by_token_id(fake, toy):
    """The likeliest token comes first in every object of the fixture; all of these scored tokens are the second."""
    served = fake()
    (row,) = served.lm().logprobs([Scoring(PROMPT, (" banana split",), (0,))])
    assert len(row[0].logprobs) == 2
    assert (row[0].logprobs < -8).all(), "unlikely tokens have their own value, not that of the likeliest"


def test_sglang_is_asked_from_one_token_before_the_first_wanted(fake, toy):
    """logprob_start_len leaves the prefix in the server's cache; the null at that place is not among the scores."""
    served = fake(kind="sglang")
    lm = served.lm()
    (row,) = lm.logprobs([Scoring(PROMPT, (" one two three",), (8,))])
    body = served.asked("/generate")[-1]["body"]
    assert toy.decode(body["input_ids"][body["logprob_start_len"] + 1 :]) == " three"
    assert body["sampling_params"]["max_new_tokens"] == 0
    assert got(row[0]) == expected(toy, toy.render(PROMPT.chat()) + PROMPT.prefill, " one two three", 8)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_nothing_wanted_and_nothing_before(fake, toy, kind):
    """A start at the end scores no token.  Of a bare text the very first token has no probability and is left out."""
    lm = fake(kind=kind).lm()
    items = [Scoring(PROMPT, (" one",), (4,)), Scoring(Prompt(()), (" one two",), (0,))]
    (none,), (bare,) = lm.logprobs(items)
    assert got(none) == []
    assert got(bare) == expected(toy, "<s>", " one two", 0)


def test_a_base_model_is_scored_in_plain_text(fake, toy):
    """No template: the messages' texts with blank lines between them, behind the tokenizer's first token."""
    (row,) = fake(kind="base").lm().logprobs([Scoring(Prompt((("user", "Once"),)), ("two one",), (0,))])
    assert got(row[0]) == expected(toy, "<s>Once\n\n", "two one", 0)


@pytest.mark.parametrize("kind", ["openai", "llamacpp", "ollama"])
def test_a_server_without_prompt_logprobs_is_bad_input(fake, kind):
    """One line that says which servers have them, and what else can score."""
    with pytest.raises(BadInput) as caught:
        fake(kind=kind).lm().logprobs([Scoring(PROMPT, ("x",), (0,))])
    said = str(caught.value)
    assert "gives no log-probabilities of a prompt, which scoring needs; vLLM, SGLang and servers with echo" in said
    assert "local model" in said
    assert "\n" not in said


@pytest.mark.parametrize("kind", ["old-sglang", "echo"])
def test_a_server_that_cannot_render_asks_for_a_tokenizer(fake, kind):
    """It has the numbers and knows no conversation: the line shows the address to use."""
    with pytest.raises(BadInput, match=r"cannot render a conversation .*/v1#toy\?tokenizer=DIR"):
        fake(kind=kind).lm().logprobs([Scoring(PROMPT, ("x",), (0,))])


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize("wrong", [{"shift": 1}, {"skew": 0.1}], ids=["shifted by one", "a little off"])
def test_two_routes_that_disagree_stop_everything(fake, kind, wrong):
    """Scores that are not those of sampling are refused with both numbers before anything is scored."""
    lm = fake(kind=kind, **wrong).lm()
    for _ in range(2):  # and again at the next try
        with pytest.raises(
            WorkFailed, match=r"self-check of scoring .* -\d+\.\d{4} as sampled and -\d+\.\d{4} as part"
        ):
            lm.logprobs([Scoring(PROMPT, ("x",), (0,))])


def test_the_tolerance_can_be_changed(fake):
    """Rounding of half precision passes anyway; a tenth only where the address allows it; it can also be narrowed."""
    item = Scoring(PROMPT, (" one",), (0,))
    assert fake(skew=0.03).lm().logprobs([item])
    assert fake(skew=0.1).lm("#toy?tolerance=0.2").logprobs([item])
    with pytest.raises(WorkFailed, match=r"more than 0\.001 is no rounding"):
        fake(skew=0.03).lm("#toy?tolerance=0.001").logprobs([item])


def test_the_check_is_made_once(fake):
    """The second call goes straight to work."""
    served = fake(kind="sglang")
    lm = served.lm()
    item = Scoring(PROMPT, (" one",), (0,))
    lm.logprobs([item])
    before = len(served.asked("/generate"))
    lm.logprobs([item])
    assert len(served.asked("/generate")) - before == 1


@pytest.mark.parametrize(
    ("kind", "path", "body", "said"),
    [
        ("vllm", TEXT, {"choices": [{"text": ""}]}, "0 prompt_logprobs for"),
        ("vllm", TEXT, {"choices": [{"prompt_logprobs": [None, {"7": {"logprob": -1}}]}]}, "2 prompt_logprobs for"),
        ("sglang", "/generate", {"meta_info": {"input_token_logprobs": [[-1.0, 3, "x"]]}}, "not those of the prompt"),
        ("sglang", "/generate", {"text": "x"}, "not those of the prompt"),
        ("echo", TEXT, {"choices": [{"logprobs": {"text_offset": [0, 5, 2]}}]}, "do not fit the prompt"),
    ],
)
def test_shapes_that_are_not_understood_are_not_guessed_at(fake, tiny_llama, kind, path, body, said):
    """Rows that do not belong to the prompt's tokens end the work in one line that says what came."""
    served = fake(kind=kind)
    lm = served.lm(f"#toy?tokenizer={tiny_llama}" if kind == "echo" else "")
    item = Scoring(PROMPT, (" one",), (0,))
    lm.logprobs([item])
    served.fail({"path": path, "status": 200, "times": 1, "body": body})
    with pytest.raises(WorkFailed, match=f"shape that is not understood: .*{said}"):
        lm.logprobs([item])


def test_an_entry_for_another_token_is_an_error(fake, toy):
    """The right number of rows, and one of them lacks the prompt's token."""
    served = fake()
    lm = served.lm()
    item = Scoring(Prompt(()), ("x y",), (0,))
    lm.logprobs([item])
    rows = [None, {"7": {"logprob": -1.0, "decoded_token": "x"}}, {"8": {"logprob": -1.0, "decoded_token": " y"}}]
    served.fail({"path": TEXT, "status": 200, "times": 1, "body": {"choices": [{"prompt_logprobs": rows}]}})
    with pytest.raises(WorkFailed, match=f"no entry for prompt token {toy.encode('x')[0]}"):
        lm.logprobs([item])


def test_a_shifted_text_offset_is_noticed(fake, tiny_llama):
    """Servers that count their first token in text_offset would shift every score by it."""
    served = fake(kind="echo")
    lm = served.lm(f"#toy?tokenizer={tiny_llama}")
    item = Scoring(Prompt(()), ("one two",), (0,))
    lm.logprobs([item])
    said = {"tokens": ["<s>", "one", " two"], "token_logprobs": [None, -1.0, -1.0], "text_offset": [0, 3, 6]}
    served.fail({"path": TEXT, "status": 200, "times": 1, "body": {"choices": [{"logprobs": said}]}})
    with pytest.raises(WorkFailed, match="text_offset 0 holds 'one', its token is '<s>'"):
        lm.logprobs([item])
