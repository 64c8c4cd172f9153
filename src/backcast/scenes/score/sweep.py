"""What listing more objects buys and costs: one line a threshold, so that nobody buys recall unseen."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.problems.vocabulary import Vocabulary
from backcast.scenes.score.measure import metric, number
from backcast.scenes.score.rows import Rules, tally

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
METRICS = ("object precision", "object recall", "object f1", "novel f1")


def sweep(
    forecasts: Sequence[GraphForecast],
    asked: Sequence[Case],
    vocabulary: Vocabulary,
    rules: Rules = Rules(),  # noqa: B008
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[dict[str, float | None]]:
    """Recall ("no R@k", k the first of ``rules``) and object sets when every object of at least a chance is listed."""
    allowed = np.zeros(len(vocabulary.objects), bool)
    allowed[list(vocabulary.candidates)] = True
    k = rules.ks[0]
    lines = []
    for threshold in thresholds:
        listed = [replace(one, listed=(one.objects >= threshold) & allowed) for one in forecasts]
        sums = tally(listed, asked, vocabulary, replace(rules, ks=(k,), modes=("no",))).total()
        names = (f"no R@{k}", f"no mR@{k}", *METRICS)
        lines.append({"threshold": threshold, **{name: number(metric(sums, name)) for name in names}})
    return lines
