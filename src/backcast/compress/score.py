"""How good a model's predictions of a text are: perplexity by a named protocol, and how near they are to another's.

``strided`` is Hugging Face's protocol: windows of ``context`` tokens that begin ``stride`` apart, each scoring only the
tokens that no window before it scored. ``gptq`` is the one of the quantisation papers: windows side by side, the mean
over windows of each one's mean, the first token of a window never scored. A perplexity is only a number together with
protocol, context and token count, so ``Perplexity.metric`` says them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backcast.compress.model import continues_text
from backcast.core.errors import BadInput
from backcast.core.parallel import pmap
from backcast.core.stats import Interval, bootstrap

Protocol = Literal["strided", "gptq"]
Array = NDArray[np.float64]

RESAMPLES = 10_000


@dataclass(frozen=True)
class Window:
    """Tokens to read, and from which one on they are scored (the first token of all cannot be)."""

    start: int
    end: int
    first: int


@dataclass(frozen=True)
class Reading:
    """What one model made of the windows of a text; per window, in nats."""

    nll: Array
    """Sum over the scored tokens."""
    tokens: Array
    """How many were scored."""
    kl: Array | None = None
    """Sum of KL(other || this) over the scored tokens."""
    agreed: Array | None = None
    """Scored tokens where both models' likeliest token is the same."""


@dataclass(frozen=True)
class Perplexity:
    """A perplexity with its 95 % interval over windows, and how it was taken."""

    value: float
    low: float | None
    high: float | None
    windows: int
    tokens: int
    metric: str


def read_text(path: Path) -> str:
    """The text of a file; raises BadInput when it is missing, empty or not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; give a text file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read '{path}': {error}; give a UTF-8 text file") from None
    if not text.strip():
        raise BadInput(f"'{path}' is empty; give a text to score")
    return text


def windows(tokens: int, protocol: Protocol, context: int, stride: int | None = None) -> list[Window]:
    """The windows over ``tokens`` tokens; ``stride`` (default: half the context) is for ``strided`` only.

    Raises BadInput when the text is too short for one window of two tokens, or, by ``gptq``, for one whole window.
    """
    step = context if protocol == "gptq" else (stride if stride is not None else max(context // 2, 1))
    if context < 2 or not 1 <= step <= context:
        raise BadInput(f"context {context} and stride {step}: need context >= 2 and 1 <= stride <= context")
    if protocol == "gptq":
        found = [Window(at, at + context, at + 1) for at in range(0, tokens - context + 1, context)]
    else:
        found = []
        scored = 1
        for at in range(0, tokens, step):
            end = min(at + context, tokens)
            if end > scored:
                found.append(Window(at, end, scored))
                scored = end
            if end == tokens:
                break
    if not found:
        raise BadInput(f"the text has {tokens} tokens, too few for protocol {protocol} with context {context}")
    return found


def read(model: Any, ids: Sequence[int], places: Sequence[Window], other: Any = None) -> Reading:
    """Scores the windows with a transformers model; with ``other``, also how far this model is from that one.

    One window at a time; logits are compared in float32, a few hundred tokens at a time.
    """
    import torch

    rows = []
    with torch.no_grad():
        for place in places:
            part = torch.tensor([ids[place.start : place.end]], device=model.device)
            keep = slice(place.first - place.start - 1, place.end - place.start - 1)
            targets = part[0, place.first - place.start :]
            mine = model(part).logits[0, keep]
            theirs = None if other is None else other(part.to(other.device)).logits[0, keep].to(mine.device)
            rows.append(_window(mine, targets, theirs))
    columns = np.array(rows, dtype=np.float64).T
    if other is None:
        return Reading(columns[0], columns[1])
    return Reading(*columns)


def read_folder(model: Path, ids: Sequence[int], places: Sequence[Window], other: Path | None = None) -> Reading:
    """``read`` of model folders, window by window, on a cluster if there is one; every process loads them once."""
    cut = [(ids[one.start : one.end], Window(0, one.end - one.start, one.first - one.start)) for one in places]
    parts = pmap(partial(_one_window, model.absolute(), other and other.absolute()), cut)
    both = other is not None
    return Reading(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIGURES[: 4 if both else 2]))


_FIGURES = ("nll", "tokens", "kl", "agreed")


def _one_window(model: Path, other: Path | None, cut: tuple[Sequence[int], Window]) -> Reading:
    return read(kept(model)[0], cut[0], [cut[1]], None if other is None else kept(other)[0])


@lru_cache(maxsize=2)
def kept(folder: Path) -> tuple[Any, Any]:
    """``load``, the last two models kept."""
    return load(folder)


def _window(mine: Any, targets: Any, theirs: Any) -> list[float]:
    import torch

    sums = torch.zeros(4, dtype=torch.float64)
    for at in range(0, len(targets), 256):
        mine_log = torch.log_softmax(mine[at : at + 256].float(), -1)
        wanted = targets[at : at + 256, None]
        sums[0] -= mine_log.gather(1, wanted).double().sum().cpu()
        sums[1] += len(wanted)
        if theirs is not None:
            their_log = torch.log_softmax(theirs[at : at + 256].float(), -1)
            sums[2] += (their_log.exp() * (their_log - mine_log)).double().sum().cpu()
            sums[3] += (their_log.argmax(-1) == mine_log.argmax(-1)).sum().cpu()
    return sums.tolist() if theirs is not None else sums[:2].tolist()


def perplexity(reading: Reading, protocol: Protocol, context: int, seed: int = 0) -> Perplexity:
    """The perplexity of a reading: ``exp`` of the mean over tokens, or by ``gptq`` over the windows' means."""
    by_window = reading.nll / reading.tokens
    mean = bootstrap(by_window, seed) if protocol == "gptq" else ratio(reading.nll, reading.tokens, seed)
    tokens = int(reading.tokens.sum())
    name = f"perplexity ({protocol}, context {context}, {tokens} tokens)"
    low, high = (None if bound is None else float(np.exp(bound)) for bound in (mean.low, mean.high))
    assert mean.value is not None
    return Perplexity(float(np.exp(mean.value)), low, high, len(by_window), tokens, name)


def ratio(sums: Array, counts: Array, seed: int = 0) -> Interval:
    """``sum(sums) / sum(counts)`` with a percentile interval over resampled windows; no bounds for a single one."""
    value, n = float(sums.sum() / counts.sum()), len(sums)
    if n < 2:
        return Interval(value, None, None, n)
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return Interval(value, float(low), float(high), n)


def load(folder: Path) -> tuple[Any, Any]:
    """(model in float32, tokenizer) of a model folder, packed or not; raises BadInput unless it continues text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    import backcast.compress.hf  # noqa: F401

    config = json.loads((folder / "config.json").read_text())
    if not continues_text(config):
        raise BadInput(f"'{folder}' is a {config['architectures'][0]}, which continues no text; it has no perplexity")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        auto: Any = AutoModelForCausalLM
        model = auto.from_pretrained(folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    finally:
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    model.train(False)
    return model, tokenizer


def judge(model: Path, against: Path | None, text: str, how: "Reader") -> dict[str, Any]:
    """The figures of ``backcast judge --on perplexity:FILE``; with another model also KL, agreement and difference."""
    kept.cache_clear()  # the folders may have been written again
    tokenizer = kept(model.absolute())[1]
    ids = tokenizer(text).input_ids
    places = windows(len(ids), how.protocol, how.context)[: how.most]
    if against is not None:
        _same_words(against, tokenizer)
    reading = read_folder(model, ids, places, against)
    found = perplexity(reading, how.protocol, how.context, how.seed)
    result: dict[str, Any] = {"metric": found.metric, "value": found.value, "low": found.low, "high": found.high}
    result |= {"n": found.windows, "unparsed": 0, "tokens": found.tokens, "parts": {}}
    if against is None or reading.kl is None or reading.agreed is None:
        return result
    theirs = read_folder(against, ids, places)
    its = perplexity(theirs, how.protocol, how.context, how.seed)
    low, high = _difference(reading, theirs, how.seed)
    shares = {"kl": ratio(reading.kl, reading.tokens).value, "agreement": ratio(reading.agreed, reading.tokens).value}
    compared = {"value_against": its.value, "difference": found.value - its.value}
    return {**result, **compared, "difference_low": low, "difference_high": high, **shares, "parts": shares}


@dataclass(frozen=True)
class Reader:
    """How a text is read for ``judge``."""

    protocol: Protocol = "strided"
    context: int = 1024
    most: int | None = None
    """Only the first so many windows."""
    seed: int = 0


def _same_words(folder: Path, tokenizer: Any) -> None:
    own = kept(folder.absolute())[1]
    if own.get_vocab() != tokenizer.get_vocab():
        raise BadInput(f"'{folder}' has another vocabulary, so its predictions cannot be compared token by token")


def _difference(mine: Reading, theirs: Reading, seed: int) -> tuple[float | None, float | None]:
    """95 % interval of the difference of perplexities, the same windows drawn for both."""
    n = len(mine.nll)
    if n < 2:
        return None, None
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    means = [reading.nll[drawn].sum(1) / reading.tokens[drawn].sum(1) for reading in (mine, theirs)]
    low, high = np.quantile(np.exp(means[0]) - np.exp(means[1]), [0.025, 0.975])
    return float(low), float(high)
