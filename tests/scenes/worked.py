"""The worked example of the metrics: two frames of truth, scores, and the last graph seen."""

import numpy as np

from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.problems import ACTION_GENOME, Frame

CUP, TABLE, CHAIR, LAPTOP, BAG = "cup/glass/bottle", "table", "chair", "laptop", "bag"


def frame(index, **objects):
    """A frame from ``name="label label"``."""
    ids, labels = ACTION_GENOME.object_ids, ACTION_GENOME.predicate_ids
    names = {"cup": CUP}
    return Frame(
        index,
        {ids[names.get(n, n)]: tuple(sorted(labels[word] for word in text.split())) for n, text in objects.items()},
    )


TRUTH = (
    frame(
        20,
        cup="looking_at in_front_of holding drinking_from",
        table="not_looking_at in_front_of on_the_side_of not_contacting",
    ),
    frame(
        30,
        cup="looking_at in_front_of holding",
        chair="not_looking_at beneath behind sitting_on leaning_on",
        table="not_looking_at in_front_of not_contacting",
    ),
)
LAST = frame(
    10,
    cup="looking_at in_front_of holding",
    table="not_looking_at in_front_of not_contacting",
    bag="not_looking_at on_the_side_of holding",
)
SCORES = (
    {
        CUP: "looking_at .80 not_looking_at .15 unsure .05 in_front_of .90 on_the_side_of .30 holding .95 "
        "drinking_from .60 touching .20",
        TABLE: "looking_at .10 not_looking_at .70 unsure .20 in_front_of .85 on_the_side_of .55 not_contacting .75 "
        "touching .35",
    },
    {
        CUP: "looking_at .45 not_looking_at .50 unsure .05 in_front_of .88 holding .65 not_contacting .40",
        TABLE: "looking_at .25 not_looking_at .60 unsure .15 in_front_of .82 behind .12 not_contacting .72",
        LAPTOP: "looking_at .55 not_looking_at .35 unsure .10 in_front_of .58 touching .52 holding .30",
    },
)


def forecast():
    predicates = np.zeros((2, 37, 26))
    for t, objects in enumerate(SCORES):
        for name, text in objects.items():
            words = text.split()
            for label, p in zip(words[::2], words[1::2], strict=True):
                predicates[t, ACTION_GENOME.object_ids[name], ACTION_GENOME.predicate_ids[label]] = float(p)
    listed = predicates.any(-1)
    order = np.zeros((2, 37), int)  # as the text names them
    for place, name in enumerate((CUP, TABLE, LAPTOP)):
        order[:, ACTION_GENOME.object_ids[name]] = place
    return GraphForecast("worked", np.array([20, 30]), listed.astype(float), predicates, listed, order)


def case():
    return Case("worked", (LAST,), TRUTH)
