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

_FONTS = (
    "text|textbf|textit|textrm|textsf|texttt|textsc|mathrm|mathbf|mathit|mathsf|mathcal|mathbb|mathtt|operatorname|"
    "boldsymbol|bm|mbox|emph|underline"
)
_WRAP = re.compile(rf"\\(?:(?:{_FONTS})|textcolor\s*\{{[^{{}}]*\}}|colorbox\s*\{{[^{{}}]*\}})\s*\{{([^{{}}]*)\}}")
_SWITCH = re.compile(
    r"\\(?:rm|bf|it|displaystyle|left|right|[Ll]arge|LARGE|[Hh]uge|small|bfseries)(?![a-zA-Z])|\\color\s*\{[^{}]*\}"
)
_SPACE = re.compile(r"\\[ ,;:!]|\\(?:quad|qquad)(?![a-zA-Z])|~")
_LEAD = re.compile(r"(?:the\s+)?(?:correct\s+|final\s+|best\s+)?(?:option|answer|choice)\s*(?:is)?\s*[:=]?\s*", re.I)
_LETTER = re.compile(r"(?:[(\[{]\s*([A-Za-z])\s*[)\]}]\s*[.:,)\-–—]*|([A-Za-z])\s*[.:)\]\-–—,]+)\s*(.*)", re.DOTALL)
_BARE = re.compile(r"([A-Za-z])\s+(.+)", re.DOTALL)
_LIST = re.compile(r"\W*(?:(?:and|or|vs\.?|versus)\s+)?\W*[A-Z](?:\W+(?:and\s+|or\s+)?[A-Z])*\W*")
_OTHER = re.compile(r"(?<!\w)(?:[(\[]\s*([A-Z])\s*[)\]]|([A-Z])\s*[.:)](?!\w))")
"""A lettered option behind the first one."""
_DENIED = re.compile(
    r"\W*(?:(?:is|was|seems)\s+(?:not|wrong|incorrect|false)|not\s+(?:the\s+)?(?:correct|right|answer)|wrong|incorrect)\b",
    re.I,
)
_BLOCK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


def choose(reply: str, options: Sequence[str], boxed: bool = True) -> str | None:
    r"""The letter that a reply chooses, or None if it states none that can be read.

    Read is the last balanced ``\boxed{}`` behind the thinking; with ``boxed=False`` also ``<answer>`` and "answer is".
    In it may stand the letter in any dress, the letter before the option's text, or the text of exactly one option.
    Several letters, a letter that names no option, and an option that is denied are nothing readable.
    """
    stated = last_boxed(written(reply)) if boxed else last_answer(written(reply))
    return None if stated is None else letter_of(stated, options)


def written(reply: str) -> str:
    """What stands behind the thinking; some models think more than once."""
    return _BLOCK.sub(" ", split_thinking(reply)[1])


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
        return letter if letter in letters and _alone(letter, rest, letters, texts) else None
    if found := _BARE.fullmatch(text):
        letter = found[1].upper()
        if letter in letters and folded(undressed(found[2])) == texts[letters.index(letter)]:
            return letter
    return None


def _alone(letter: str, rest: str, letters: str, texts: Sequence[str]) -> bool:
    """Whether what stands behind a letter neither names a second option nor takes the first one back."""
    own, shown = texts[letters.index(letter)], " ".join(undressed(rest).split())
    if folded(shown) == own:
        return True
    if own and folded(shown).startswith(own) and not folded(shown)[len(own)].isalnum():
        rest = shown[len(own) :]  # its own text may hold letters; what follows may not
    elif _LIST.fullmatch(rest):
        return False
    others = {found[1] or found[2] for found in _OTHER.finditer(rest)} - {letter}
    return not others & set(letters) and not _DENIED.match(rest)


def undressed(text: str) -> str:
    """A stated answer without its dress: LaTeX fonts and spaces, dollars, emphasis, quotes, and a final mark."""
    text = unicodedata.normalize("NFKC", _raised(text)).replace("\u2044", "/")
    text = "".join(mark for mark in text if unicodedata.category(mark) != "Cf")  # joiners and the like show nothing
    text = _SWITCH.sub(" ", text)
    while (plain := _WRAP.sub(r"\1", text)) != text:
        text = plain
    text = re.sub(r"\\([%{}])", r"\1", _SPACE.sub(" ", text))
    text = re.sub(r"\\?\$|\\[()\[\]]|\*\*|__|`", "", text)
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
    stated = last_answer(written(reply))
    right = stated is not None and equivalent(stated, question.answer)
    unread = stated is None or (question.kind == "numeric" and not right and not _is_number(stated))
    return Score(float(right), {"unparsed": float(unread)}, 1.0)


def equivalent(stated: str, known: str) -> bool:
    """Whether two answers mean the same: equal but for dress, case and space, or equal as numbers or formulas.

    Formulas are math-verify's business. Raises BadInput when it is not installed.
    """
    if folded(undressed(stated)) == folded(undressed(known)):
        return True
    from math_verify import verify

    gold, given = _parsed(known), _parsed(stated)
    return bool(gold and given and verify(gold, given, timeout_seconds=_limit()))


def _is_number(stated: str) -> bool:
    """Whether a number can be read in it: something that math-verify reads without unknowns."""
    return any(getattr(part, "free_symbols", True) == set() for part in _parsed(stated))


def _parsed(text: str) -> list[Any]:
    try:
        from math_verify import parse
    except ImportError:
        raise BadInput("comparing formulas needs math-verify; run: pip install 'backcast[text]'") from None
    return list(parse(_as_math(text), parsing_timeout=_limit()))


def _limit() -> Any:
    # A generous limit, so that no answer depends on how busy the machine is; signals reach only the main thread.
    return 60 if threading.current_thread() is threading.main_thread() else None


def _as_math(text: str) -> str:
    """``text`` as math-verify reads it: between dollars, and with what it takes for products spelt out."""
    text = _raised(text).replace("\\varnothing", "\\emptyset").strip()
    text = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])", r"\1 \\times 10^{\2}", text)
    text = re.sub(r"[¼½¾⅐-⅞]", lambda found: " " + unicodedata.normalize("NFKC", found[0]).replace("\u2044", "/"), text)
    if mixed := re.fullmatch(r"\$?\s*(-?)(\d+)\s+(\d+/\d+)\s*\$?", text):
        text = f"{mixed[1]}({mixed[2]} + {mixed[3]})"
    if re.fullmatch(r"-?\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?:\.\d+)?", text):
        text = re.sub(r"\s", "", text)
    return text if "$" in text or "\\boxed" in text else f"${text}$"


def _raised(text: str) -> str:
    """Raised digits as exponents: NFKC would make 102 of ten squared."""
    return re.sub(r"[⁰¹²³⁴-⁹]+", lambda found: f"^{{{unicodedata.normalize('NFKC', found[0])}}}", text)


def option_reward(
    completions: Sequence[Any], answer: Sequence[str], options: Sequence[Sequence[str]], **_: Any
) -> list[float]:
    """AlphaMed's reward in TRL's signature: 1.0 where the boxed option is the known one, else 0.0, and nothing else."""
    texts = [given if isinstance(given, str) else str(given[-1]["content"]) for given in completions]
    rows = zip(texts, answer, options, strict=True)
    return [float(choose(text, tuple(o for o in some if o is not None)) == known) for text, known, some in rows]
