"""REER: the search for the thinking that makes a known good text likely (2509.06160, section 2 and Fig. 3).

    z* = argmin_z PPL(y | x, z), segment by segment: the best of K candidates and the segment as it stands.

Every item is a generator that asks for model calls; items of a chunk run in lock step, so that sampling and scoring are
batched over items and candidates. All randomness follows from the seed, the step and the prompts.
"""

import math
import warnings
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.improve import Candidate, Found, Visit, coordinate_search
from backcast.core.parallel import pmap
from backcast.core.problem import Score
from backcast.core.progress import Progress
from backcast.core.trace import Trace, TraceLog
from backcast.lm.base import Completion, TokenScores
from backcast.lm.cache import CachedLM
from backcast.reasons import frame, objective, propose, record
from backcast.reasons.filters import overlap, reason_to_drop
from backcast.reasons.lockstep import Ask, Draw, Models, Weigh, Work, lock_step
from backcast.reasons.pairs import Pair
from backcast.reasons.propose import Proposed, Segment
from backcast.reasons.record import rounded, texts
from backcast.reasons.segment import join
from backcast.reasons.settings import Search


def search(
    pairs: Sequence[Pair], models: Models, settings: Search, log: TraceLog, progress: Progress | None = None
) -> list[Trace]:
    """Searches every pair not yet in ``log`` and returns the traces of all pairs, in order.

    Chunks are fixed by position: an interrupted chunk runs again as a whole (from the call cache, if there is one), so
    that its batches, and with them its traces, are those of an uninterrupted run. ``progress`` advances by ``visits``
    per pair. A dropped pair leaves a trace with its reason and is not tried again.
    """
    done = {trace.id: trace for trace in log}
    chunks = [pairs[first : first + settings.batch] for first in range(0, len(pairs), settings.batch)]
    left = [chunk for chunk in chunks if not all(pair.id in done for pair in chunk)]
    seen = sum(visits(pair, settings) for chunk in chunks if chunk not in left for pair in chunk)
    _advance(progress, seen)
    searching = _Searching(models, settings, progress)

    def keep(found: "_Searched") -> None:
        nonlocal seen
        fresh = [trace for trace in found.traces if trace.id not in done]
        log.append(fresh)
        done.update({trace.id: trace for trace in fresh})
        searching.count(found)
        seen += found.visits
        if progress is not None and progress.done < seen:  # searched where this progress is not shown
            progress.advance(seen - progress.done)

    pmap(searching, left, done=keep)
    return [done[pair.id] for pair in pairs]


@dataclass(frozen=True)
class _Searched:
    """A chunk's traces, and what it took; the calls of cached models are counted here only if made elsewhere."""

    traces: list[Trace]
    visits: int
    calls: list[tuple[int, int]]


class _Searching:
    """The search of a chunk, here or in another process."""

    def __init__(self, models: Models, settings: Search, progress: Progress | None, here: bool = True) -> None:
        self.models, self.settings, self.progress, self.here = models, settings, progress, here
        found = {id(lm): lm for lm in (models.generator, models.scorer, models.judge) if isinstance(lm, CachedLM)}
        self.cached = list(found.values())

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _Searching, (self.models, self.settings, None, False)

    def __call__(self, chunk: Sequence[Pair]) -> _Searched:
        works = [_Item(pair, self.settings, self.models.judge is not None, self.progress).run() for pair in chunk]
        traces = lock_step(works, self.models)
        calls = [] if self.here else [(lm.calls, lm.misses) for lm in self.cached]
        return _Searched(traces, sum(visits(pair, self.settings) for pair in chunk), calls)

    def count(self, found: _Searched) -> None:
        """Adds the calls made elsewhere to this process's models."""
        for lm, (calls, misses) in zip(self.cached, found.calls, strict=bool(found.calls)):
            lm.count(calls, misses)


def visits(pair: Pair, settings: Search) -> int:
    """The most segments that a search of ``pair`` can visit: known for a template, ``max_steps`` otherwise."""
    if settings.start == "template" and "insert" not in settings.proposals:
        return min(settings.max_steps, settings.sweeps * len(propose.template_segments(pair, settings)))
    return settings.max_steps


class _Item:
    """The search of one pair, and its record."""

    def __init__(self, pair: Pair, settings: Search, judged: bool, progress: Progress | None) -> None:
        self.pair, self.settings, self.judged, self.progress = pair, settings, judged, progress
        self.calls: Counter[str] = Counter()
        self.steps: list[dict[str, Any]] = []
        self.data: dict[str, Any] = {}
        self.left = visits(pair, settings)
        self.head = 0
        if settings.objective in ("tail", "authors"):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                self.head = objective.tail_start(pair.answer)
            self.data["warnings"] = [str(warning.message) for warning in said]

    def run(self) -> Work:
        """Start, search, filter; returns the trace. What a model refuses (too long a text) is dropped, saying why."""
        try:
            return (yield from self._run())
        except BadInput as error:
            self.data = {}
            return self._dropped(f"refused: {error}")

    def _run(self) -> Work:
        if not self.pair.prompt:
            return self._dropped("no_request")
        start = yield from self._start()
        if isinstance(start, str):
            return self._dropped(start)
        yield from self._baselines(start)
        first = self._value(self.start)
        if not math.isfinite(first):
            return self._dropped("unscored")
        stop = self.settings.nll_stop
        if stop is not None and self.settings.objective == "pmi":
            stop -= objective.nll(self.plain)
        found = yield from self._search(start, first, stop)
        if self.judged:
            yield from self._judge(start, found.parts)
        return self._finish(start, first, found)

    def _start(self) -> Generator[Ask, Any, list[Segment] | str]:
        settings = self.settings
        if settings.start == "template":
            return propose.template_segments(self.pair, settings)
        self.calls["start"] += 1
        prompt = propose.start_prompt(self.pair, settings)
        [[drawn]] = yield Draw((prompt,), 1, propose.sampling(settings, "start", settings.start_tokens))
        if drawn.tokens < settings.min_start_tokens:
            return "short"
        segments = propose.start_segments(self.pair, drawn, settings)
        return "one_segment" if len(segments) < settings.min_segments else segments

    def _baselines(self, start: Sequence[Segment]) -> Generator[Ask, Any, None]:
        # The first thinking's score belongs to the search; the other two are only reported.
        self.calls["scores"] += 1
        self.calls["report_scores"] += 2
        states = frame.with_thinking(self.pair, self.settings, [], [[], texts(start)])
        [[plain], [empty, first]] = yield Weigh((frame.without_thinking(self.pair), states))
        self.plain, self.empty = plain, frame.of_answer(empty, states.starts[0])
        self.start = self.best = frame.of_answer(first, states.starts[1])

    def _search(
        self, start: Sequence[Segment], first: float, stop: float | None
    ) -> Generator[Ask, Any, Found[Segment]]:
        limits = {"max_steps": self.settings.max_steps, "sweeps": self.settings.sweeps}
        inner = coordinate_search(start, first, stop=stop, **limits)
        try:
            visit = next(inner)
            while True:
                candidates = yield from self._visit(visit)
                visit = inner.send(candidates)
        except StopIteration as end:
            found: Found[Segment] = end.value
            return found

    def _visit(self, visit: Visit[Segment]) -> Generator[Ask, Any, list[Candidate[Segment]]]:
        """One segment: draw, reject, score what is left, record."""
        proposed = yield from self._propose(visit)
        records = record.candidates(proposed, visit.parts[visit.index], self.pair, self.settings)
        live = [i for i, entry in enumerate(records) if entry["rejected"] is None]
        scores = yield from self._weigh(visit, [proposed[i] for i in live])
        candidates = []
        for i, found in zip(live, scores, strict=True):
            candidates.append(Candidate(proposed[i].replacement, self._value(found)))
            records[i] |= record.scored(candidates[-1].value, visit.value, found)
        # The same choice as the coordinate search makes: strictly better, the first of equals.
        better = [k for k, candidate in enumerate(candidates) if candidate.value < visit.value]
        best = min(better, key=lambda k: candidates[k].value, default=None)
        if best is not None:
            self.best = scores[best]
            records[live[best]]["rejected"] = None
        self._record(visit, records, None if best is None else live[best])
        return candidates

    def _propose(self, visit: Visit[Segment]) -> Generator[Ask, Any, list[Proposed]]:
        settings, segment = self.settings, visit.parts[visit.index]
        asked = [
            (kind, prompt)
            for kind in settings.proposals
            if (prompt := propose.proposal_prompt(kind, self.pair, visit.parts, visit.index)) is not None
        ]
        proposed: list[Proposed] = []
        if asked:
            self.calls["generations"] += len(asked)
            draw = propose.sampling(settings, f"visit {visit.step}", settings.proposal_tokens)
            drawn: list[list[Completion]] = yield Draw(tuple(prompt for _, prompt in asked), settings.expansions, draw)
            for (kind, _), some in zip(asked, drawn, strict=True):
                proposed += [propose.parse(kind, completion, segment) for completion in some]
        return proposed + (propose.deletion(visit.parts) if "delete" in settings.proposals else [])

    def _weigh(self, visit: Visit[Segment], live: Sequence[Proposed]) -> Generator[Ask, Any, list[TokenScores]]:
        if not live:
            return []
        self.calls["scores"] += len(live)
        rests = [texts((*c.replacement, *visit.parts[visit.index + 1 :])) for c in live]
        state = frame.with_thinking(self.pair, self.settings, texts(visit.parts[: visit.index]), rests)
        [scores] = yield Weigh((state,))
        return [frame.of_answer(found, start) for found, start in zip(scores, state.starts, strict=True)]

    def _judge(self, start: Sequence[Segment], final: Sequence[Segment]) -> Generator[Ask, Any, None]:
        self.calls["report_scores"] += 3
        states = frame.with_thinking(self.pair, self.settings, [], [texts(start), texts(final)])
        [[plain], [first, last]] = yield Weigh((frame.without_thinking(self.pair), states), judge=True)
        nlls = {"plain": plain.nll, "start": first.nll, "final": last.nll}
        self.data["judge"] = {name: rounded(value) for name, value in nlls.items()}

    def _value(self, scores: TokenScores) -> float:
        settings = self.settings
        return objective.value(settings.objective, scores, start=self.head, clip=settings.clip, plain=self.plain)

    def _record(self, visit: Visit[Segment], records: list[dict[str, Any]], accepted: int | None) -> None:
        after = visit.value if accepted is None else records[accepted]["value"]
        self.steps.append(
            {
                "sweep": visit.sweep,
                "index": visit.index,
                "segment": visit.parts[visit.index].text,
                "before": rounded(visit.value),
                "after": rounded(after),
                "accepted": accepted,
                "candidates": records,
            }
        )
        self.left -= 1
        _advance(self.progress, 1, step=visit.step + 1, nll=f"{after:.3f}")

    def _finish(self, start: Sequence[Segment], first: float, found: Found[Segment]) -> Trace:
        settings, thinking = self.settings, join(texts(found.parts))
        leaked = overlap(thinking, self.pair.answer, settings.overlap_ngram)
        dropped = reason_to_drop(
            thinking,
            leaked,
            max_overlap=settings.max_overlap,
            max_repetition=settings.max_repetition,
            last=settings.last_share,
        )
        accepted = any(step["accepted"] is not None for step in self.steps)
        self.data |= {
            "stop": found.reason,
            "objective": {
                "name": settings.objective,
                "empty": rounded(self._value(self.empty)),
                "start": rounded(first),
                "final": rounded(found.value),
            },
            "nll": {
                "plain": rounded(self.plain.nll),
                "empty": rounded(self.empty.nll),
                "start": rounded(self.start.nll),
                "final": rounded(self.best.nll),
            },
            "segments": {"start": texts(start), "final": texts(found.parts)},
            "tokens": record.tokens(self.empty, self.start, self.best),
            "overlap": {name: rounded(value) for name, value in leaked.to_dict().items()},
            "filters": record.filters(thinking, leaked, settings),
        }
        return self._trace(thinking, accepted, dropped)

    def _dropped(self, reason: str) -> Trace:
        return self._trace(None, False, reason)

    def _trace(self, thinking: str | None, accepted: bool, dropped: str | None) -> Trace:
        _advance(self.progress, self.left)
        nlls = self.data.get("nll", {})
        written = self.pair.item.get("request_written", False)
        data = {
            "prompt": self.pair.prompt,
            "answer": self.pair.answer,
            "item": dict(self.pair.item),
            "lineage": {"request": "written backwards from the answer" if written else "given"},
            "accepted": accepted,
            "dropped": dropped,
            "steps": self.steps,
            "calls": dict(self.calls),
            **self.data,
        }
        score = Score(nlls.get("final"), nlls, nlls.get("plain"))
        return Trace(self.pair.id, self.pair.id, "reer", None if dropped else thinking, score, data)


def _advance(progress: Progress | None, count: int, **figures: object) -> None:
    if progress is not None:
        progress.advance(count, **figures)
