"""Rendering, think tags and last answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.lm.base import Prompt
from backcast.lm.chat import CHATML, join_thinking, last_answer, render, split_thinking
from backcast.lm.tiny import tiny_tokenizer

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
HEAD = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_render_puts_the_prefill_after_the_generation_prompt():
    """The text the model reads is the template's own, then the prefill, character for character."""
    assert render(tiny_tokenizer(), Prompt.of(ASK, "<think>\nOkay")) == HEAD + "<think>\nOkay"


def test_a_thinking_block_is_opened_once():
    """When template and prefill both open a thinking block, one opening remains; without a prefill the template's."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    assert render(tokenizer, Prompt.of(ASK, "<think>\nOkay")) == HEAD + "<think>\nOkay"
    assert render(tokenizer, Prompt.of(ASK)) == HEAD + "<think>\n"


def test_plain_text_begins_with_the_tokenizers_own_first_token():
    """Without a template, or without messages, the text is plain, and opens with bos where the tokenizer adds it."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    assert render(tokenizer, Prompt((), "The river")) == "The river"
    tokenizer.chat_template = None
    assert render(tokenizer, Prompt.of(ASK, "So")) == "Be brief.\n\nWhy?\n\nSo"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    assert render(tokenizer, Prompt((), "The river")) == "<|im_start|>The river"


def test_a_template_that_refuses_is_bad_input():
    """A template that raises (some know no system role) is reported in one line, with the roles."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(BadInput, match=r"refuses the roles system, user: System role not supported"):
        render(tokenizer, Prompt.of(ASK))


words = st.text(alphabet=st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=40)


@given(words, words)
def test_split_undoes_join(thinking, answer):
    """Joining and splitting give both parts back, but for surrounding white space."""
    assert split_thinking(join_thinking(thinking, answer)) == (thinking.strip(), answer.strip())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("just this", ("", "just this")),
        ("<think>a</think>b", ("a", "b")),
        ("a\n</think>\n\nb", ("a", "b")),
        ("<think>\nnever closed", ("never closed", "")),
        ("<think>a</think>b</think>c", ("a", "b</think>c")),
        ("<think></think>b", ("", "b")),
    ],
)
def test_split_thinking_cases(text, parts):
    """The thinking ends at the first closing tag, its opening may be missing, and an unclosed block is all thinking."""
    assert split_thinking(text) == parts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{1}, no: \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("<answer> B </answer>", "B"),
        ("<answer>A</answer> wait <answer>C", "C"),
        (r"<answer>it is \boxed{7}</answer> and \boxed{8}", "7"),
        ("The answer is 3. No, the answer is **4.5**.", "4.5"),
        ("Answer: (B)", "(B)"),
        ("**Answer:** 4.\nThat is all", "4"),
        ("the final answer is: 42. It follows.", "42"),
        (r"<think>the answer is 1</think>The answer is 2", "2"),
        (r"<think>\boxed{1}</think>nothing here", None),
        (r"\boxed{unclosed", None),
        (r"\boxed{3} and then \boxed{unclosed", "3"),
        (r"\boxed{\frac{\sqrt{2}}{1 + \frac{1}{3}}}", r"\frac{\sqrt{2}}{1 + \frac{1}{3}}"),
        (r"\boxed{the answer \boxed{B}}", "B"),
        (r"\boxed{x \in \{1, 2\}}", r"x \in \{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{a \\{b}}", r"a \\{b}"),
        (r"$\boxed {\text{B}}$", r"\text{B}"),
        ("<answer></answer>", None),
        ("no statement at all", None),
        ("The answer is -3", "-3"),
        ("The answer is $x = \\sqrt{2}$.", r"x = \sqrt{2}"),
        ("They wanted an answer. Is it so?", None),
    ],
)
def test_last_answer_cases(text, answer):
    """Answer block, then box, then phrase; the last of each; only behind the thinking; None where there is none."""
    assert last_answer(text) == answer


groups = st.recursive(
    st.text(alphabet="ab1+ ", min_size=1, max_size=4),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(
        lambda parts: "".join("{" + part + "}" for part in parts)
    ),
    max_leaves=8,
)


@given(groups, groups)
def test_any_groups_may_lie_in_a_box(first, last):
    """The last box comes back whole, however deep its braces; an earlier one does not matter."""
    assert last_answer(rf"so \boxed{{{first}}}, or rather \boxed{{{last}}} indeed") == (last.strip() or None)
