r"""Whether a reply is right: the letter it states, or an equivalent answer (math-verify behind one door).

A reply that states nothing readable is *unparsed*. It earns nothing, and it is counted apart from wrong ones.
"""

import re
import threading
import unicodedata
from collections.abc import Sequence
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.problem import Score
from backcast.lm.chat import last_answer, last_boxed, split_thinking
from backcast.text.problems.question import LETTERS, Question, folded

_WRAP = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mathsf|boldsymbol|bm|mbox|emph|underline)"
    r"\s*\{([^{}]*)\}"
)
_SWITCH = re.compile(r"\\(?:rm|bf|it|displaystyle|left|right)(?![a-zA-Z])")
_SPACE = re.compile(r"\\[ ,;:!]|\\(?:quad|qquad)(?![a-zA-Z])|~")
_LEAD = re.compile(r"(?:the\s+)?(?:correct\s+|final\s+|best\s+)?(?:option|answer|choice)\s*(?:is)?\s*[:=]?\s*", re.I)
_LETTER = re.compile(r"(?:[(\[{]\s*([A-Za-z])\s*[)\]}]\s*[.:,)\-–—]*|([A-Za-z])\s*[.:)\]\-–—,]+)\s*(.*)", re.DOTALL)
_BARE = re.compile(r"([A-Za-z])\s+(.+)", re.DOTALL)
_LIST = re.compile(r"\W*[A-Z](?:\W+(?:and\s+|or\s+)?[A-Z])*\W*")


def choose(reply: str, options: Sequence[str], boxed: bool = True) -> str | None:
    r"""The letter that a reply chooses, or None if it states none that can be read.

    Read is the last balanced ``\boxed{}`` behind the thinking; with ``boxed=False`` also ``<answer>`` and "answer is".
    In it may stand the letter in any dress, the letter before the option's text, or the text of exactly one option.
    Several letters, or a letter that names no option, are nothing readable.
    """
    stated = last_boxed(split_thinking(reply)[1]) if boxed else last_answer(reply)
    return None if stated is None else letter_of(stated, options)


def letter_of(stated: str, options: Sequence[str]) -> str | None:
    """The option that a stated answer means: its letter, or None."""
    letters = LETTERS[: len(options)]
    text = undressed(stated)
    if len(text) == 1 and text.upper() in letters:
        return text.upper()
    texts = [folded(undressed(option)) for option in options]
    # Before the letters: "A fracture" may be the text of option B.
    same = [i for i, option in enumerate(texts) if option == folded(text)]
    if len(same) == 1:
        return letters[same[0]]
    shorter = _LEAD.sub("", text, count=1) if _LEAD.match(text) else text
    if shorter != text:
        return letter_of(shorter, options) if shorter else None
    if found := _LETTER.fullmatch(text):
        letter, rest = (found[1] or found[2]).upper(), found[3]
        own = letter in letters and folded(undressed(rest)) == texts[letters.index(letter)]
        return letter if letter in letters and (own or not _LIST.fullmatch(rest)) else None
    if found := _BARE.fullmatch(text):
        letter = found[1].upper()
        if letter in letters and folded(undressed(found[2])) == texts[letters.index(letter)]:
            return letter
    return None


def undressed(text: str) -> str:
    """A stated answer without its dress: LaTeX fonts and spaces, dollars, emphasis, quotes, and a final mark."""
    text = unicodedata.normalize("NFKC", text)
    while (plain := _WRAP.sub(r"\1", text)) != text:
        text = plain
    text = _SPACE.sub(" ", _SWITCH.sub("", text)).replace("\\%", "%")
    text = re.sub(r"\$|\\[()\[\]]|\*\*|__|`", "", text)
    while True:
        # A backslash at the end was a space of LaTeX's before the box was stripped.
        text = text.rstrip("\\ \n").strip().strip("\"'“”‘’*_").strip()
        inner = re.fullmatch(r"\(([^()]*)\)|\[([^\[\]]*)\]|\{([^{}]*)\}", text, re.DOTALL)
        shorter = next(part for part in inner.groups() if part is not None) if inner else text.rstrip(".,;:!。")
        if shorter == text:
            return text
        text = shorter


def judge(question: Question, reply: str, boxed: bool = True) -> Score:
    """1.0 for a right reply, else 0.0, against 1.0; ``parts["unparsed"]`` is 1.0 where nothing could be read.

    The value is None for a ``free`` question. ``boxed`` concerns choices only: a number or formula may also stand
    behind "answer is".
    """
    if question.kind == "free":
        return Score(None, reference=1.0)
    if question.kind == "choice":
        letter = choose(reply, question.options, boxed)
        return Score(float(letter == question.answer), {"unparsed": float(letter is None)}, 1.0)
    stated = last_answer(reply)
    right = stated is not None and equivalent(stated, question.answer)
    return Score(float(right), {"unparsed": float(stated is None)}, 1.0)


def equivalent(stated: str, known: str) -> bool:
    """Whether two answers mean the same: equal but for dress, case and space, or equal as numbers or formulas.

    Formulas are math-verify's business. Raises BadInput when it is not installed.
    """
    if folded(undressed(stated)) == folded(undressed(known)):
        return True
    try:
        from math_verify import parse, verify
    except ImportError:
        raise BadInput("comparing formulas needs math-verify; run: pip install 'backcast[text]'") from None
    # A generous limit, so that no answer depends on how busy the machine is; signals reach only the main thread.
    limit: Any = 60 if threading.current_thread() is threading.main_thread() else None
    gold, given = (parse(_as_math(text), parsing_timeout=limit) for text in (known, stated))
    return bool(gold and given and verify(gold, given, timeout_seconds=limit))


def _as_math(text: str) -> str:
    return text if "$" in text or "\\boxed" in text else f"${text}$"


def option_reward(
    completions: Sequence[Any], answer: Sequence[str], options: Sequence[Sequence[str]], **_: Any
) -> list[float]:
    """AlphaMed's reward in TRL's signature: 1.0 where the boxed option is the known one, else 0.0, and nothing else."""
    texts = [given if isinstance(given, str) else str(given[-1]["content"]) for given in completions]
    rows = zip(texts, answer, options, strict=True)
    return [float(choose(text, tuple(o for o in some if o is not None)) == known) for text, known, some in rows]
