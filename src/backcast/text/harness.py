"""The door to lm-eval: any of its tasks judges any model of ours, and the figures come back with their intervals.

The texts that a task asks for are scored as lm-eval's own Hugging Face back-end does it (compared in the tests): a
continuation's log-probability is the sum over its tokens, and a text with nothing before it stands behind the model's
first (or else its last) special token.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core import stats
from backcast.core.errors import BadInput, nearest
from backcast.core.progress import Progress
from backcast.lm.base import LM, Prompt, Sampling, Scoring

INVALID = "[invalid]"
"""What lm-eval's filters put where they find no answer."""
BATCH = 16


@dataclass(frozen=True)
class TaskScores:
    """One task's figures; ``metric`` is the first that the task lists."""

    task: str
    metric: str
    value: float | None
    """As lm-eval aggregates it; None if it gave none."""
    n: int
    unparsed: int
    """Questions in which the task's filter found no answer."""
    scores: np.ndarray | None = None
    """float64, shape (n,): the metric of each question in order; None where ``value`` is not the mean of such."""
    error: float | None = None
    """Standard error of ``value``, by lm-eval."""
    others: Mapping[str, float] = field(default_factory=dict)
    """The task's other metrics."""

    def interval(self, seed: int = 0) -> stats.Interval:
        """95 %: Wilson for right and wrong, bootstrap for other numbers, else 1.96 of lm-eval's standard errors."""
        if self.scores is not None:
            return share(self.scores, seed)
        if self.value is None or self.error is None:
            return stats.Interval(self.value, None, None, self.n)
        return stats.Interval(
            self.value, self.value - stats.Z95 * self.error, self.value + stats.Z95 * self.error, self.n
        )


def share(scores: np.ndarray, seed: int = 0) -> stats.Interval:
    """The mean of ``scores`` (shape (n,)) with its interval: Wilson's where all are 0 or 1, else the bootstrap."""
    if np.isin(scores, (0.0, 1.0)).all():
        return stats.wilson(int(scores.sum()), len(scores))
    return stats.bootstrap(scores, seed)


def pooled(tasks: Sequence[TaskScores]) -> np.ndarray | None:
    """The scores of all questions of some tasks, shape (n,); None if a task has none or they differ in their metric."""
    parts = [one.scores for one in tasks if one.scores is not None]
    same = len(parts) == len(tasks) and len({one.metric for one in tasks}) == 1
    return np.concatenate(parts) if same else None


def run_tasks(model: LM, tasks: str, limit: int | None = None, seed: int = 0) -> list[TaskScores]:
    """Lets ``model`` do lm-eval's ``tasks`` (names, or paths of YAML files, with commas between); one entry a task.

    Names of groups stand for their tasks. ``limit`` takes the first so many questions of each. Raises BadInput for an
    unknown task, for data that cannot be had (lm-eval fetches it from the hub, unless the task names a local file), and
    where lm-eval is not installed.
    """
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise BadInput("no task named; give harness:TASK, a name that lm-eval knows or the path of a task's YAML")
    with _quiet():
        loaded = _loaded(names)
        found = _evaluated(loaded, model, limit, seed)
    return [_scores(name, task, found) for name, task in loaded["tasks"].items()]


def _loaded(names: Sequence[str]) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise BadInput("harness: needs lm-eval; run: pip install 'backcast[harness]'") from None
    files = [name for name in names if name.endswith((".yaml", ".yml"))]
    if missing := [name for name in files if not Path(name).is_file()]:
        raise BadInput(f"no such file: '{missing[0]}'; give the path of a task's YAML, or a name that lm-eval knows")
    # Its index of fourteen thousand tasks takes seconds, and is not needed for files.
    manager = TaskManager(include_defaults=len(files) < len(names))
    for name in names:
        if name not in files and name not in manager.all_tasks:
            raise BadInput(f"lm-eval knows no task '{name}'{nearest(name, manager.all_tasks)}")
    try:
        return manager.load(list(names))
    except Exception as error:
        # Whatever its many loaders raise: a task that does not load is the user's to change.
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(
            f"lm-eval cannot load '{', '.join(names)}': {said}; offline, a task must name local data"
        ) from None


def _evaluated(loaded: Any, model: LM, limit: int | None, seed: int) -> dict[str, Any]:
    from lm_eval import evaluator

    greedy = {name for name, task in loaded["tasks"].items() if _asks_greedy(task)}
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    found: dict[str, Any] = evaluator.evaluate(
        adapter(model, greedy, seed), loaded, limit=limit, bootstrap_iters=1000, log_samples=True
    )
    return found


def _asks_greedy(task: Any) -> bool:
    """Whether its metrics need to know if a continuation is what the model would have written: it costs sampling."""
    metrics = {metric["metric"] for metric in task.get_config("metric_list") or ()}
    return task.OUTPUT_TYPE == "loglikelihood" or "exact_match" in metrics


def _scores(name: str, task: Any, found: Mapping[str, Any]) -> TaskScores:
    figures, samples = found["results"][name], found["samples"].get(name, [])
    listed = [metric["metric"] for metric in task.get_config("metric_list") or ()]
    keys = [key for key in figures if "," in key and not key.split(",")[0].endswith("_stderr")]
    first = next((key for want in listed for key in keys if key.split(",")[0] == want), keys[0])
    metric, rule = first.split(",", 1)
    mine = [sample for sample in samples if sample.get("filter", rule) == rule]
    value, error = _number(figures[first]), _number(figures.get(f"{metric}_stderr,{rule}"))
    each = [_number(sample.get(metric)) for sample in mine]
    scores = None if not each or None in each else np.array(each, dtype=np.float64)
    if scores is not None and (value is None or not np.isclose(scores.mean(), value)):
        scores = None
    unread = sum(INVALID in str(sample.get("filtered_resps")) for sample in mine)
    others = {key.split(",")[0]: n for key in keys if key != first and (n := _number(figures[key])) is not None}
    return TaskScores(name, metric, value, len(mine), unread, scores, error, others)


def _number(value: Any) -> float | None:
    plain = isinstance(value, int | float | np.number) and not isinstance(value, np.ndarray)
    return float(value) if plain and np.isfinite(value) else None


def adapter(model: LM, greedy: set[str], seed: int = 0) -> Any:
    """``model`` as lm-eval wants one. ``greedy``: tasks that ask whether a continuation is the greedy one."""
    from lm_eval.api.model import LM as HarnessLM

    opening, context = _opening(model)

    class Door(HarnessLM):  # type: ignore[misc]
        """Text in, log-probabilities and text out."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """(sum of log-probabilities, whether it is the greedy continuation) of each (context, continuation)."""
            sums = _sums(model, [(before or opening, after) for before, after in (one.args for one in requests)])
            return [
                (total, one.task_name in greedy and _is_greedy(model, one.args[0] or opening, one.args[1], count))
                for one, (total, count) in zip(requests, sums, strict=True)
            ]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """The log-probability of each whole text, in windows of the model's context."""
            parts = [list(_windows(model, one.args[0], opening, context)) for one in requests]
            sums = iter(_sums(model, [pair for some in parts for pair in some]))
            return [sum(next(sums)[0] for _ in some) for some in parts]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """What the model writes, up to the task's stop texts."""
            return [_written(model, one.args[0], one.args[1], seed) for one in requests]

    return Door()


def _sums(model: LM, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
    """(sum of log-probabilities, tokens) of each continuation; those of one context are scored together."""
    together: dict[str, list[str]] = {}
    for before, after in pairs:
        together.setdefault(before, []).append(after)
    contexts = list(together)
    known: dict[tuple[str, str], tuple[float, int]] = {}
    with Progress(f"{model.name} scores", len(contexts)) as progress:
        for start in range(0, len(contexts), BATCH):
            some = contexts[start : start + BATCH]
            asked = [_item(before, dict.fromkeys(together[before])) for before in some]
            for before, rows in zip(some, model.logprobs(asked), strict=True):
                for after, row in zip(dict.fromkeys(together[before]), rows, strict=True):
                    known[before, after] = (float(np.sum(row.logprobs, dtype=np.float64)), len(row.logprobs))
            progress.advance(len(some))
    return [known[pair] for pair in pairs]


def _item(before: str, afters: Mapping[str, None]) -> Scoring:
    # Spaces at the end of a context belong to the first token behind it.
    kept = before.rstrip(" ") or before
    gap = before[len(kept) :]
    return Scoring(Prompt((), kept), tuple(gap + after for after in afters), (0,) * len(afters))


def _is_greedy(model: LM, before: str, after: str, tokens: int) -> bool:
    if tokens == 0:
        return True
    drawn = model.sample([Prompt((), before)], 1, Sampling(0.0, 1.0, tokens))[0][0]
    return drawn.text.startswith(after) or drawn.text.rstrip() == after.rstrip()


def _windows(model: LM, text: str, opening: str, context: int) -> Iterator[tuple[str, str]]:
    """(what stands before, text) pairs that cover a text; of what is before a window only its last token is shown."""
    tokenizer = getattr(getattr(model, "lm", model), "tokenizer", None)
    ends = [len(text)]
    starts = [0]
    if tokenizer is not None:
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        size = context - 2
        ends = [offsets[min(i + size, len(offsets)) - 1][1] for i in range(0, len(offsets), size)]
        starts = [offsets[i - 1][0] for i in range(size, len(offsets), size)]
        starts.insert(0, 0)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        yield (opening, text[:end]) if number == 0 else (text[start : ends[number - 1]], text[ends[number - 1] : end])


def _written(model: LM, before: str, settings: Mapping[str, Any], seed: int) -> str:
    until = settings.get("until") or ()
    stop = (until,) if isinstance(until, str) else tuple(until)
    warm = float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0
    longest = int(settings.get("max_gen_toks") or settings.get("max_new_tokens") or 256)
    sampling = Sampling(warm, float(settings.get("top_p") or 1.0), longest, seed, stop)
    return model.sample([Prompt((), before)], 1, sampling)[0][0].text


def _opening(model: LM) -> tuple[str, int]:
    """(the special token that a text without a context stands behind, the model's context in tokens)."""
    inner: Any = getattr(model, "lm", model)
    tokenizer = getattr(inner, "tokenizer", None)
    if tokenizer is None:
        return "", 1 << 30
    first = "" if tokenizer("").input_ids else (tokenizer.bos_token or tokenizer.eos_token or "")
    return first, inner.context


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval and datasets print to stdout and log freely; stdout belongs to the result."""
    log = logging.getLogger("lm_eval")
    before, bars = log.level, os.environ.get("TQDM_DISABLE")
    log.setLevel(logging.ERROR)
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        log.setLevel(before)
        if bars is None:
            os.environ.pop("TQDM_DISABLE", None)
        else:
            os.environ["TQDM_DISABLE"] = bars
