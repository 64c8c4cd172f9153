"""Which groups of routes to solve next: their gain predicted from the outcomes logged so far in the same run.

Ours, not the paper's (which goes around the circle): every outcome of a group is a row (features before, what was
gained), a ridge regression over all rows predicts the gain of every window of consecutive routes that was not solved as
it stands, and the best disjoint windows are solved, up to half of the routes a level.
"""

from collections.abc import Sequence

import numpy as np

from backcast.routing.problems.instance import Instance
from backcast.routing.score import route_costs
from backcast.routing.search.ground import make_ground

LEAST = 8
"""Outcomes before the first prediction; until then levels go around the circle."""
NEAR = 6
"""Nearest customers that tell how far routes run into each other."""
RIDGE = 1.0
SHARE = 0.5
"""Of the routes, solved in a level."""


class Gains:
    """The log of a run, and what it predicts."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.near = make_ground(instance, NEAR).near
        self.rows: list[np.ndarray] = []
        self.gained: list[float] = []
        self.last: dict[tuple[int, ...], float] = {}
        """For each route, the relative gain of the group that it last came out of."""
        self.vain: dict[tuple[int, ...], int] = {}
        """For each route, in how many groups it stood that gained nothing."""

    def features(self, routes: Sequence[Sequence[int]]) -> np.ndarray:
        """What is known of a group before it is solved: (7,)."""
        instance, keys = self.instance, [tuple(route) for route in routes]
        owner = np.full(instance.size + 1, -1)
        for k, route in enumerate(routes):
            owner[np.asarray(route, np.int64)] = k
        customers = np.flatnonzero(owner >= 0)
        beside = owner[self.near[customers]]
        mixed = ((beside >= 0) & (beside != owner[customers, None])).mean() if beside.size else 0.0
        load = instance.demands[customers].sum() / (instance.capacity * len(routes))
        costs = route_costs(instance, routes)
        return np.array(
            [
                np.log(len(customers)),
                mixed,
                load,
                costs.sum() / len(customers),
                costs.std() / max(1e-12, float(costs.mean())),
                np.mean([self.last.get(key, 0.0) for key in keys]),
                np.log1p(np.mean([self.vain.get(key, 0) for key in keys])),
            ]
        )

    def learn(self, routes: Sequence[Sequence[int]], new: Sequence[Sequence[int]] | None) -> None:
        """Logs an outcome: the group as it stood, and its new routes (None: nothing was gained)."""
        before = float(route_costs(self.instance, routes).sum())
        gain = 0.0 if new is None else before - float(route_costs(self.instance, new).sum())
        self.rows.append(self.features(routes))
        self.gained.append(gain)
        for route in new or ():
            self.last[tuple(route)] = gain / before
        for route in routes if new is None else ():
            self.vain[tuple(route)] = self.vain.get(tuple(route), 0) + 1

    @property
    def ready(self) -> bool:
        """Whether there are outcomes enough to predict from."""
        return len(self.rows) >= LEAST and np.ptp(self.gained) > 0

    def predict(self, groups: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
        """The gain expected of each group, by ridge regression on standardised features (Hoerl and Kennard 1970)."""
        known, wanted = np.stack(self.rows), np.stack([self.features(routes) for routes in groups])
        middle, spread = known.mean(0), known.std(0) + 1e-9
        x, gained = (known - middle) / spread, np.array(self.gained)
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (gained - gained.mean()))
        predicted: np.ndarray = gained.mean() + (wanted - middle) / spread @ weights
        return predicted

    def pick(self, circle: Sequence[Sequence[int]], windows: Sequence[Sequence[int]]) -> list[list[int]]:
        """The best disjoint ones of ``windows`` (indices into the circle), best first, up to half of the routes."""
        order = np.argsort(-self.predict([[circle[k] for k in window] for window in windows]), kind="stable")
        taken, picked = set[int](), list[list[int]]()
        for at in order.tolist():
            window = list(windows[at])
            if taken.isdisjoint(window) and (not picked or len(taken) + len(window) <= SHARE * len(circle)):
                picked.append(window)
                taken |= set(window)
        return picked
