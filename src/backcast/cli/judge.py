"""``backcast judge``: a model scored on a file, alone or against another, with an interval."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backcast.core import stats
from backcast.core.errors import BadInput, nearest
from backcast.core.problem import read_jsonl
from backcast.lm.base import LM, Sampling


@dataclass(frozen=True)
class Options:
    """Score a model on a file: the gap to known good outcomes, with an interval."""

    model: Annotated[str, tyro.conf.Positional]
    """Alias, folder, .gguf, hub id, or http(s)://host:port/v1#name."""
    on: str
    """[writing:|choice:|perplexity:]FILE or harness:TASK. writing: JSON Lines {id?, prompt, answer}; with --judge also
    requests alone, in the layouts of WritingBench, LongBench-Write and HelloBench. choice: questions with options,
    {id?, question, options, answer} or the layout of MedQA, MedMCQA, PubMedQA, MMLU, MMLU-Pro, GPQA, MedXpertQA or ARC
    (JSON Lines, JSON, CSV, parquet). perplexity: any text; with --against also KL and agreement. The kind is read from
    the columns; a prefix forces it. harness:TASK[,TASK]: tasks of lm-eval, by name or by the path of a YAML file."""
    against: str | None = None
    """Another model, judged on the same items: gives a paired difference."""
    judge: str | None = None
    """A model that compares the texts of both models, in both orders (with --against): gives a win rate."""
    rubric: Path | None = None
    """A text file that tells the judge what to look for (with --judge)."""
    scorer: str | None = None
    """Gives the likelihoods in place of the models themselves (without --judge)."""
    samples: int = 1
    """Thinkings drawn per item; an item's value is the mean over them."""
    thinking_tokens: int = 512
    """Most tokens of one thinking."""
    answer_tokens: int = 1024
    """Most tokens of one written text, thinking included (with --judge)."""
    seed: int = 0
    """Every draw follows from it."""
    limit: int | None = None
    """Only the first so many items."""
    by: Literal["generation", "letter", "text"] = "generation"
    """How a choice is made: written (greedily, the letter boxed), or the option whose letter or text is likeliest."""
    protocol: Literal["strided", "gptq"] = "strided"
    """Of a perplexity: windows that overlap by half, each token scored once; or whole windows side by side."""
    context: int = 1024
    """Tokens per window of a perplexity (--limit: windows at most)."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice; --no-cache asks again."""

    def __post_init__(self) -> None:
        if self.judge and not self.against:
            raise ValueError("--judge compares two models; name the other one with --against")
        if self.rubric and not self.judge:
            raise ValueError("--rubric is read to a judge; name one with --judge")
        if self.judge and self.scorer:
            raise ValueError("--scorer scores likelihoods and --judge compares texts; give one of them")
        for name in ("samples", "thinking_tokens", "answer_tokens", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, found {value}")


def main(options: Options) -> dict[str, Any]:
    """Judges; returns ``{metric, value, low, high, n, unparsed, ...}`` (with --against also the paired difference)."""
    kind, path = _kind(options.on)
    return KINDS[kind].judge(options, path)


def show(result: dict[str, Any]) -> None:
    """Prints the figures as a table."""
    from rich.table import Table

    from backcast.cli import tables

    table = Table("", "value", "95 % interval", "n", title=result["metric"], title_justify="left", box=None)
    bounds = tables.interval(result["low"], result["high"])
    table.add_row(result["model"], tables.number(result["value"]), bounds, str(result["n"]))
    if "against" in result:
        table.add_row(result["against"], tables.number(result["value_against"]), "", str(result["n"]))
        bounds = tables.interval(result["difference_low"], result["difference_high"])
        table.add_row("difference", tables.number(result["difference"]), bounds, str(result["n"]))
    out = tables.console()
    out.print(table)
    for name, value in result["parts"].items():
        out.print(f"{name.replace('_', ' ')}: {tables.number(value)}", style="dim")
    for group in ("tasks", "subjects", "levels"):
        for name, found in result.get(group, {}).items():
            bounds = tables.interval(found["low"], found["high"])
            out.print(f"{group[:-1]} {name}: {tables.number(found['value'])} {bounds} n = {found['n']}", style="dim")
    if result["unparsed"]:
        answered = "subjects" in result or "tasks" in result
        what = "answers could not be read: wrong" if answered else "verdicts could not be read: left out"
        out.print(f"{result['unparsed']} {what}", style="yellow")


@dataclass(frozen=True)
class Kind:
    """One thing that a model can be judged on."""

    fits: Callable[[Mapping[str, Any]], bool]
    """Whether a file whose first line is this object is of this kind."""
    judge: Callable[[Options, Path], dict[str, Any]]


def _writing(options: Options, path: Path) -> dict[str, Any]:
    from backcast.reasons.pairs import read_pairs, read_requests
    from backcast.reasons.writing import Judging

    settings = Judging(
        samples=options.samples,
        thinking_tokens=options.thinking_tokens,
        answer_tokens=options.answer_tokens,
        seed=options.seed,
    )
    if options.judge is not None:
        return _preferred(options, read_requests(path)[: options.limit], settings)
    return _likelihood(options, read_pairs(path)[: options.limit], settings)


def _likelihood(options: Options, pairs: Any, settings: Any) -> dict[str, Any]:
    from backcast.reasons.writing import METRIC, own_thinking

    _resolve(options)
    scorer = _load(options.scorer, options) if options.scorer else None
    mine = own_thinking(pairs, _load(options.model, options), settings, scorer)
    found = stats.bootstrap(mine.nll, options.seed)
    result: dict[str, Any] = {
        "metric": f"{METRIC}, own thinking",
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "unparsed": 0,
        "model": options.model,
        "scorer": options.scorer or "each model itself",
        "parts": _parts(mine),
    }
    if options.against is None:
        return result
    theirs = own_thinking(pairs, _load(options.against, options), settings, scorer)
    difference = stats.paired(mine.nll, theirs.nll, options.seed)
    others = {f"{name}_against": value for name, value in _parts(theirs).items()}
    return {
        **result,
        **_against(options, float(theirs.nll.mean()), difference),
        "parts": {**result["parts"], **others},
    }


def _parts(judged: Any) -> dict[str, float]:
    return {
        "nll_without_block": float(judged.plain.mean()),
        "nll_empty_block": float(judged.empty.mean()),
        "thinking_closed": float(judged.closed.mean()),
        "repetition": float(judged.repetition.mean()),
    }


def _preferred(options: Options, requests: Any, settings: Any) -> dict[str, Any]:
    from backcast.reasons.writing import RUBRIC, compare, read_rubric

    rubric = read_rubric(options.rubric) if options.rubric else RUBRIC
    assert options.against is not None
    assert options.judge is not None
    _resolve(options)
    models = (_load(options.model, options), _load(options.against, options))
    found = compare(requests, models, _load(options.judge, options), rubric, settings)
    rate = found.win_rate(options.seed)
    low, value, high = (None if bound is None else 2 * bound - 1 for bound in (rate.low, rate.value, rate.high))
    return {
        "metric": "win rate, ties half",
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "n": rate.n,
        "unparsed": found.unparsed,
        "model": options.model,
        "judge": options.judge,
        **_against(options, None if rate.value is None else 1 - rate.value, stats.Interval(value, low, high, rate.n)),
        "outcomes": dict(zip(found.ids, found.outcomes, strict=True)),
        "parts": {"empty_answers": float(found.empty[0]), "empty_answers_against": float(found.empty[1])},
    }


def _against(options: Options, value: float | None, difference: stats.Interval) -> dict[str, Any]:
    return {
        "against": options.against,
        "value_against": value,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "kl": None,
        "agreement": None,
    }


def _is_writing(row: Mapping[str, Any]) -> bool:
    from backcast.reasons.pairs import ALIASES

    return "options" not in row and any(name in row for name in (*ALIASES["prompt"], "chat_prompt"))


def _perplexity(options: Options, path: Path) -> dict[str, Any]:
    from backcast.compress.score import Reader, judge, read_text
    from backcast.lm.models import resolve

    if options.judge or options.scorer:
        raise BadInput("--judge and --scorer read writing; a perplexity needs neither")
    text = read_text(path)
    model, against = resolve(options.model), resolve(options.against) if options.against else None
    found = judge(model, against, text, Reader(options.protocol, options.context, options.limit, options.seed))
    return {**found, "model": options.model, **({"against": options.against} if options.against else {})}


def _choice(options: Options, path: Path) -> dict[str, Any]:
    from backcast.text.answers import Answers, by_generation, by_likelihood, figures
    from backcast.text.problems import read_questions

    if options.judge or options.scorer:
        raise BadInput("--judge and --scorer read writing; questions are answered by rule and need neither")
    questions = read_questions(path, options.seed)[: options.limit]
    sampling = Sampling(0.0, 1.0, options.answer_tokens, options.seed)
    _resolve(options)

    def answers(model: str) -> Answers:
        lm = _load(model, options)
        if options.by == "generation":
            return by_generation(questions, lm, sampling)
        return by_likelihood(questions, lm, options.by)

    mine = answers(options.model)
    result = {**figures(mine), "model": options.model}
    if options.against is None:
        return result
    theirs = answers(options.against)
    difference = stats.paired(mine.right, theirs.right, options.seed)
    result["parts"]["unparsed_rate_against"] = theirs.unparsed / len(questions)
    return {**result, **_against(options, theirs.accuracy().value, difference)}


def _harness(options: Options, tasks: Path) -> dict[str, Any]:
    """lm-eval's tasks; with several, the mean over all their questions, and each task beside it."""
    from backcast.text.harness import pooled, run_tasks, share

    if options.judge or options.scorer:
        raise BadInput("--judge and --scorer read writing; lm-eval's tasks are answered by their own rules")
    _resolve(options)
    models = [options.model, *([options.against] if options.against else [])]
    found = [run_tasks(_load(model, options), str(tasks), options.limit, options.seed) for model in models]
    mine, scores = found[0], [pooled(some) for some in found]
    if len(mine) == 1:
        whole = mine[0].interval(options.seed)
    elif scores[0] is None:
        said = ", ".join(f"{one.task}: {one.metric}" for one in mine)
        raise BadInput(f"these tasks have no common mean ({said}); judge them one by one")
    else:
        whole = share(scores[0], options.seed)
    each = {one.task: one.interval(options.seed) for one in mine}
    result = {
        "metric": f"{mine[0].metric}, {', '.join(each)}",
        "value": whole.value,
        "low": whole.low,
        "high": whole.high,
        "n": sum(one.n for one in mine),
        "unparsed": sum(one.unparsed for one in mine),
        "model": options.model,
        "parts": dict(mine[0].others) if len(mine) == 1 else {},
        "tasks": {name: asdict(interval) for name, interval in each.items()},
    }
    if options.against is None:
        return result
    if scores[0] is None or scores[1] is None:
        return {**result, **_against(options, found[1][0].value, stats.Interval(None, None, None, 0))}
    difference = stats.paired(scores[0], scores[1], options.seed)
    return {**result, **_against(options, float(scores[1].mean()), difference)}


def _is_choice(row: Mapping[str, Any]) -> bool:
    from backcast.text.problems import is_questions

    return is_questions(dict(row))


KINDS = {
    "choice": Kind(_is_choice, _choice),
    "writing": Kind(_is_writing, _writing),
    # A text and a task have no columns: only the prefix chooses them.
    "perplexity": Kind(lambda _: False, _perplexity),
    "harness": Kind(lambda _: False, _harness),
}
"""What a file can hold, by the prefix that forces it."""


def _kind(on: str) -> tuple[str, Path]:
    """The kind and the path of ``[KIND:]FILE``."""
    prefix = re.match(r"([a-z_-]+):(.+)", on)
    if prefix and not Path(on).exists():
        if prefix[1] not in KINDS:
            raise BadInput(f"--on: unknown kind '{prefix[1]}'{nearest(prefix[1], KINDS)}")
        return prefix[1], Path(prefix[2])
    path = Path(on)
    if path.suffix.lower() in (".json", ".csv", ".tsv", ".parquet"):  # tables hold questions
        return "choice", path
    first = next((row for _, row in read_jsonl(path)), None)
    if first is None:
        raise BadInput(f"{path}: no items; give at least one line")
    kind = next((name for name, kind in KINDS.items() if kind.fits(first)), None)
    if kind is None:
        columns = ", ".join(first) or "none"
        raise BadInput(f"{path}: its columns ({columns}) fit no kind of judgement; known: {', '.join(KINDS)}")
    return kind, path


def _resolve(options: Options) -> None:
    """Finds every model's files first, so that a misspelt name does not come out after minutes of work."""
    from backcast.lm.models import is_endpoint, resolve

    for model in (options.model, options.against, options.judge, options.scorer):
        if model and not is_endpoint(model):
            resolve(model)


def _load(model: str, options: Options) -> LM:
    import backcast.compress  # noqa: F401  (from here on folders that it packed load like any other)
    from backcast.lm.cache import CachedLM, CallCache
    from backcast.lm.models import load

    lm = load(model)
    return CachedLM(lm, CallCache()) if options.cache else lm
