"""Conversations as text: rendering with a prefilled answer, think tags, and the last answer of a reply."""

import re
from typing import Any

from backcast.core.errors import BadInput
from backcast.lm.base import Prompt

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
ANSWER_OPEN = "<answer>"
ANSWER_CLOSE = "</answer>"

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML as a Jinja template that marks the assistant's tokens (``{% generation %}``), so that training can mask."""


def render(tokenizer: Any, prompt: Prompt) -> str:
    """The exact text that the model reads before it goes on: the conversation, the assistant's opening, the prefill.

    Special tokens are in the text, so it is tokenised with ``add_special_tokens=False``. If both the template's opening
    and the prefill open a thinking block, it is opened once. A tokenizer without a chat template belongs to a base
    model: the messages' texts are then separated by blank lines. A prompt without messages is its bare prefill. Both
    begin with the token that the tokenizer itself puts first, if it has one.

    Raises BadInput if the template refuses the conversation (some know no system role).
    """
    if not prompt.messages or not tokenizer.chat_template:
        return _first_token(tokenizer) + plain(prompt)
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(prompt.chat(), tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        roles = ", ".join(role for role, _ in prompt.messages)
        raise BadInput(f"the model's chat template refuses the roles {roles}: {error}; change the messages") from error
    assert isinstance(text, str)
    return open_turn(text, prompt.prefill)


def open_turn(opening: str, prefill: str) -> str:
    """A rendered conversation with ``prefill`` behind it; a thinking block that both of them open is opened once."""
    if prefill.lstrip().startswith(THINK_OPEN) and opening.rstrip().endswith(THINK_OPEN):
        opening = opening.rstrip()[: -len(THINK_OPEN)]
    return opening + prefill


def plain(prompt: Prompt) -> str:
    """The text that a base model reads: the messages' texts separated by blank lines, then the prefill."""
    return "".join(content + "\n\n" for _, content in prompt.messages) + prompt.prefill


def _first_token(tokenizer: Any) -> str:
    added = tokenizer("").input_ids
    return str(tokenizer.bos_token) if added and added[0] == tokenizer.bos_token_id else ""


def join_thinking(thinking: str, answer: str) -> str:
    """The assistant's turn: a thinking block, a blank line, the answer."""
    return f"{THINK_OPEN}\n{thinking.strip()}\n{THINK_CLOSE}\n\n{answer}"


def split_thinking(text: str) -> tuple[str, str]:
    """(thinking, answer) of an assistant's turn, both stripped of surrounding white space.

    The thinking ends at the first closing tag. Its opening tag may be missing, since some templates put it into the
    prompt. A block that never closes is all thinking; without any tag the text is all answer.
    """
    before, close, after = text.partition(THINK_CLOSE)
    inside = before.split(THINK_OPEN, 1)[-1]
    if close:
        return inside.strip(), after.strip()
    if THINK_OPEN in before:
        return inside.strip(), ""
    return "", text.strip()


_PHRASE = re.compile(r"\banswer\b[\s*_]*(?:is\b|:|=)[\s*_:]*", re.IGNORECASE)


def last_answer(text: str) -> str | None:
    r"""The final answer that a reply states, or None if it states none.

    Looked for behind the thinking, in this order: the last ``<answer>`` block, the last ``\boxed{}`` (inside that block
    if there is one), the last "answer is ..." up to the end of its sentence.
    """
    _, reply = split_thinking(text)
    tagged = None
    if ANSWER_OPEN in reply:
        tagged = reply.rsplit(ANSWER_OPEN, 1)[1].split(ANSWER_CLOSE, 1)[0].strip()
    boxed = last_boxed(reply if tagged is None else tagged)
    if boxed is not None:
        return boxed
    if tagged is not None:
        return tagged or None
    stated = list(_PHRASE.finditer(reply))
    if not stated:
        return None
    sentence = re.split(r"[.!?](?:\s|$)|\n", reply[stated[-1].end() :], maxsplit=1)[0]
    return sentence.strip(" *_`\"'“”‘’$") or None


_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text, a bare one opens or closes a group


def last_boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{}`` that closes, whatever groups lie in it; None without one, or if empty.

    Of nested boxes, the inner one.
    """
    for box in reversed(list(_BOX.finditer(text))):
        depth = 1
        for found in _BRACE.finditer(text, box.end()):
            depth += {"{": 1, "}": -1}.get(found.group(), 0)
            if depth == 0:
                return text[box.end() : found.start()].strip() or None
    return None
