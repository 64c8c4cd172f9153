"""Judging writing: how likely good texts are under a model's own thinking, and which of two models an LM prefers.

The likelihood needs no judge and cannot be charmed; it asks whether the model, left to think by itself, comes closer to
texts known to be good. The pairwise judge reads what the models write.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core import stats
from backcast.core.errors import BadInput
from backcast.core.parallel import pmap
from backcast.core.params import bounded
from backcast.core.problem import Score
from backcast.core.progress import Progress
from backcast.core.run import Gap, StageResult
from backcast.core.text import repetition
from backcast.core.trace import Trace
from backcast.core.vitals import Vital
from backcast.lm.base import LM, Completion, Prompt, Sampling
from backcast.lm.chat import THINK_CLOSE, split_thinking
from backcast.reasons import frame
from backcast.reasons.pairs import Pair, Request
from backcast.reasons.settings import Search

METRIC = "NLL of the text, nats/token"
ROWS = (("own thinking", "nll"), ("empty thinking block", "empty"), ("no thinking block", "plain"))
"""What a text is scored behind, and the field of ``OwnThinking`` that holds it."""
_STOP = THINK_CLOSE.removeprefix("</")
"""Where sampled thinking ends. Without the tag's first characters: those then end the text of a thinking that was
closed, and tell it from one whose turn just ended (a stop text itself is not returned)."""
_FRAME = Search()


@dataclass(frozen=True)
class Judging:
    """How models are made to think and write for a judgement."""

    samples: int = 1
    """Thinkings drawn per request; the NLL of an item is the mean over them."""
    temperature: float = 0.7
    """Of thinking and writing (ours)."""
    top_p: float = 0.95
    """Of thinking and writing (ours)."""
    thinking_tokens: int = 512
    """Most tokens of one thinking; one that is longer counts as not closed and is scored as far as it goes."""
    answer_tokens: int = 1024
    """Most tokens of one written answer, its thinking included (pairwise judge only)."""
    verdict_tokens: int = 256
    """Most tokens of one verdict (pairwise judge only)."""
    batch: int = 16
    """Requests sampled together."""
    seed: int = 0
    """Every draw follows from it."""

    def __post_init__(self) -> None:
        bounded(self, "samples thinking_tokens answer_tokens verdict_tokens batch", 1)
        bounded(self, "temperature", 0)
        bounded(self, "top_p", 0, 1, above=True)


@dataclass(frozen=True)
class OwnThinking:
    """The likelihood of good texts under one model's own thinking. Arrays have shape (items,), in the items' order."""

    ids: tuple[str, ...]
    nll: np.ndarray
    """NLL(y|x,z), z the model's own; mean over all tokens of y, then over samples; nats per token."""
    plain: np.ndarray
    """NLL(y|x), without any thinking block."""
    empty: np.ndarray
    """NLL(y|x) behind an empty thinking block."""
    closed: np.ndarray
    """Share of an item's thinkings that closed their block."""
    repetition: np.ndarray
    """Share of a thinking's words inside its commonest trigram; mean over samples."""
    thinking: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """The thinkings drawn, per item."""


def own_thinking(
    pairs: Sequence[Pair], model: LM, settings: Judging | None = None, scorer: LM | None = None
) -> OwnThinking:
    """Lets ``model`` think about each request, then scores the known good text behind that thinking.

    The model is put into a thinking block; the block is closed for it where it did not close it. ``scorer`` (default:
    the model itself) gives the likelihoods: another model judges the thinking of both sides of a comparison alike.
    """
    settings = settings or Judging()
    sampling = Sampling(settings.temperature, settings.top_p, settings.thinking_tokens, settings.seed, (_STOP,))
    chunks = list(_chunks(pairs, settings.batch))
    think = partial(_think, model, scorer or model, sampling, settings.samples)
    found = list(chain(*pmap(think, chunks, label=f"judging {model.name}", size=len)))
    drawn, values = [fresh for fresh, _ in found], [row for _, row in found]
    return OwnThinking(
        ids=tuple(pair.id for pair in pairs),
        nll=np.array([np.mean(row[2:]) for row in values]),
        plain=np.array([row[0] for row in values]),
        empty=np.array([row[1] for row in values]),
        closed=np.array([np.mean([_closed(one) for one in some]) for some in drawn]),
        repetition=np.array([np.mean([repetition(_thinking(one)) for one in some]) for some in drawn]),
        thinking=tuple(tuple(_thinking(one) for one in some) for some in drawn),
    )


def _think(
    model: LM, scorer: LM, sampling: Sampling, samples: int, pairs: Sequence[Pair]
) -> list[tuple[list[Completion], list[float]]]:
    """Per pair: the thinkings drawn, and the likelihoods of ``_score``."""
    prompts = [frame.prompt(pair, _FRAME, frame.OPEN) for pair in pairs]
    drawn = model.sample(prompts, samples, sampling)
    return list(zip(drawn, _score(pairs, [[_thinking(one) for one in some] for some in drawn], scorer), strict=True))


def _score(pairs: Sequence[Pair], thinkings: Sequence[Sequence[str]], scorer: LM) -> list[list[float]]:
    """Per pair: NLL without a block, behind an empty block, behind each thinking."""
    items = []
    for pair, some in zip(pairs, thinkings, strict=True):
        rests = [[], *([text] if text else [] for text in some)]
        items += [frame.without_thinking(pair), frame.with_thinking(pair, _FRAME, [], rests)]
    scores = scorer.logprobs(items)
    return [[score.nll for score in [*scores[i], *scores[i + 1]]] for i in range(0, len(scores), 2)]


def _closed(drawn: Completion) -> bool:
    return drawn.finished and drawn.text.endswith("</")


def _thinking(drawn: Completion) -> str:
    # A model that opens a second block is stopped, too; what is left of that tag is no thought.
    text = drawn.text.removesuffix("</").removesuffix("<") if drawn.finished else drawn.text
    return text.strip()


def writing_result(mine: OwnThinking, base: OwnThinking | None, scorer: str, seed: int = 0) -> StageResult:
    """The gap rows and vital signs of a judgement, and of its comparison with an untouched ``base`` on the same items.

    ``scorer`` is the name of whoever gave the likelihoods. Outputs hold the per-item values.
    """
    gaps = []
    for what, name in ROWS:
        values, theirs = getattr(mine, name), None if base is None else getattr(base, name)
        found = stats.bootstrap(values, seed) if theirs is None else stats.paired(values, theirs, seed)
        baseline = None if theirs is None else float(theirs.mean())
        metric = f"{METRIC}, {what}"
        gaps.append(
            Gap(
                "judge",
                metric,
                baseline,
                float(values.mean()),
                found.low,
                found.high,
                found.n,
                paired=theirs is not None,
                note=f"scored by {scorer}",
            )
        )
    gains = mine.plain - mine.nll
    theirs = None if base is None else base.plain - base.nll
    found = stats.bootstrap(gains, seed) if theirs is None else stats.paired(gains, theirs, seed)
    gaps.append(
        Gap(
            "judge",
            "what own thinking brings over none, nats/token",
            None if theirs is None else float(theirs.mean()),
            float(gains.mean()),
            found.low,
            found.high,
            found.n,
            paired=theirs is not None,
            note="above 0, thinking makes the text likelier",
        )
    )
    gain = float(gains.mean())
    vitals = [
        Vital(
            "thinking_gain", gain, 0.0, None,
            "NLL without a block - NLL under own thinking; below 0, the model's thinking costs more than it brings",
        ),
        Vital("thinking closed", float(mine.closed.mean()), 0.7, None, "share of thinkings that close their block"),
        Vital("repetition", float(mine.repetition.mean()), None, 0.3, "share of words inside the commonest trigram"),
    ]  # fmt: skip
    return StageResult(gaps=gaps, vitals=vitals, outputs={"items": _items(mine, base)})


def writing_traces(pairs: Sequence[Pair], mine: OwnThinking, base: OwnThinking) -> list[Trace]:
    """One trace per held-out pair, for the report and for ``compare``: the first thinking of both models, and NLLs.

    The score is NLL(y|x,z) under the judged model's own thinking, in nats per token, and lower is better.
    """
    found = []
    for i, pair in enumerate(pairs):
        nlls = {f"{side}{what}": float(getattr(of, name)[i]) for side, of in _sides(mine, base) for what, name in ROWS}
        data = {
            "prompt": pair.prompt,
            "untouched_thinking": base.thinking[i][0],
            "known_good_text": pair.answer,
            "change": float(mine.nll[i] - base.nll[i]),
        }
        found.append(Trace(pair.id, pair.id, "judge", mine.thinking[i][0], Score(float(mine.nll[i]), nlls), data))
    return found


def _sides(mine: OwnThinking, base: OwnThinking) -> tuple[tuple[str, OwnThinking], ...]:
    return ("", mine), ("untouched, ", base)


def _items(mine: OwnThinking, base: OwnThinking | None) -> list[dict[str, Any]]:
    sides = {"": mine, **({"base_": base} if base else {})}
    names = ("nll", "empty", "plain", "closed", "repetition")
    return [
        {"id": name, **{f"{side}{key}": float(getattr(of, key)[i]) for side, of in sides.items() for key in names}}
        for i, name in enumerate(mine.ids)
    ]


RUBRIC = """\
Judge which text serves the person who asked better: it does what was asked, has something to say and says it in its own
voice, is built so that one part leads to the next, and is free of errors, padding and repetition. Length alone is no
merit, and which text stands first means nothing."""
"""What the pairwise judge is told when no rubric file is given."""

_ASK = """\
{rubric}{criteria}

<request>
{request}
</request>

<text_A>
{a}
</text_A>

<text_B>
{b}
</text_B>

Compare the two texts briefly. Then end with exactly one verdict on a line of its own: [[A]] if text A is better, [[B]]
if text B is better, [[TIE]] if neither is."""

_VERDICT = re.compile(r"\[\[(A|B|TIE)\]\]")


def read_rubric(path: Path | str) -> str:
    """The text of a rubric file; raises BadInput if it cannot be read or is empty."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; give a text file that tells the judge what to look for") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read '{path}': {error}; give a UTF-8 text file") from None
    if not text:
        raise BadInput(f"the rubric '{path}' is empty; write into it what the judge is to look for")
    return text


def verdict(reply: str) -> str | None:
    """``A``, ``B`` or ``TIE``, if the reply states exactly one verdict behind its thinking; None is unparsed."""
    found = set(_VERDICT.findall(split_thinking(reply)[1]))
    return found.pop() if len(found) == 1 else None


def settle(first: str | None, swapped: str | None) -> float | None:
    """The outcome for the model shown first, from the verdicts of both orders: 1 win, 0.5 tie, 0 loss, None unparsed.

    A win or a loss needs both orders to say so; a judge who changes with the order, or calls one of them a tie, has
    called it a tie.
    """
    if first is None or swapped is None:
        return None
    if (first, swapped) == ("A", "B"):
        return 1.0
    return 0.0 if (first, swapped) == ("B", "A") else 0.5


@dataclass(frozen=True)
class Comparison:
    """What a judge made of two models' answers to the same requests."""

    ids: tuple[str, ...]
    outcomes: tuple[float | None, ...]
    """For the first model: 1 win, 0.5 tie, 0 loss, None where a verdict could not be read."""
    texts: tuple[tuple[str, str], ...] = field(repr=False)
    """Both models' answers, thinking taken off."""
    empty: tuple[int, int]
    """Answers of each model that held no text behind the thinking; they lose without the judge being asked."""

    @property
    def unparsed(self) -> int:
        """Comparisons without an outcome."""
        return sum(outcome is None for outcome in self.outcomes)

    def win_rate(self, seed: int = 0) -> stats.Interval:
        """The first model's win rate over the comparisons that have an outcome, ties counting half."""
        return stats.win_rate([outcome for outcome in self.outcomes if outcome is not None], seed)


def compare(
    requests: Sequence[Request],
    models: tuple[LM, LM],
    judge: LM,
    rubric: str = RUBRIC,
    settings: Judging | None = None,
) -> Comparison:
    """Lets both ``models`` answer each request, and ``judge`` compare the answers in both orders.

    The judge never sees thinking or the models' names. An answer without text loses to one with text; two of them tie.
    """
    settings = settings or Judging()
    outcomes: list[float | None] = []
    texts: list[tuple[str, str]] = []
    with Progress(f"{judge.name} compares {models[0].name} with {models[1].name}", 3 * len(requests)) as progress:
        for chunk in _chunks(requests, settings.batch):
            sides = []
            for model in models:
                sides.append(_write(chunk, model, settings))
                progress.advance(len(chunk))
            both = list(zip(*sides, strict=True))
            outcomes += _outcomes(chunk, both, judge, rubric, settings)
            texts += both
            progress.advance(len(chunk))
    empty = (sum(not a for a, _ in texts), sum(not b for _, b in texts))
    return Comparison(tuple(request.id for request in requests), tuple(outcomes), tuple(texts), empty)


def _write(requests: Sequence[Request], model: LM, settings: Judging) -> list[str]:
    sampling = Sampling(settings.temperature, settings.top_p, settings.answer_tokens, settings.seed)
    drawn = model.sample([Prompt((("user", request.prompt),)) for request in requests], 1, sampling)
    return [split_thinking(some[0].text)[1] for some in drawn]


def _outcomes(
    requests: Sequence[Request], both: Sequence[tuple[str, str]], judge: LM, rubric: str, settings: Judging
) -> list[float | None]:
    asked = [i for i, (a, b) in enumerate(both) if a and b]
    prompts = [ask(requests[i], rubric, *order) for i in asked for order in (both[i], both[i][::-1])]
    sampling = Sampling(0.0, 1.0, settings.verdict_tokens, settings.seed)
    replies = [verdict(some[0].text) for some in judge.sample(prompts, 1, sampling)] if prompts else []
    found = [0.5 if bool(a) == bool(b) else float(bool(a)) for a, b in both]
    judged: dict[int, float | None] = {i: settle(*replies[2 * k : 2 * k + 2]) for k, i in enumerate(asked)}
    return [judged.get(i, value) for i, value in enumerate(found)]


def ask(request: Request, rubric: str, a: str, b: str) -> Prompt:
    """What the judge is asked about texts ``a`` and ``b``; a request's own criteria and length stand in it."""
    criteria = list(request.criteria)
    if request.words:
        criteria.append(f"The text should have about {request.words} words.")
    listed = "\n\nFor this request, check in particular:\n" + "\n".join(f"- {line}" for line in criteria)
    text = _ASK.format(rubric=rubric, criteria=listed if criteria else "", request=request.prompt, a=a, b=b)
    return Prompt((("user", text),))


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
