"""Forecasts from counts: persistence, Markov, Markov with appearance, nearest past windows. The bar for any model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.problems.clip import Clips, Frame, dense
from backcast.scenes.problems.vocabulary import Vocabulary

TOPS = np.array([1, 3, 8])
"""Last frame of each horizon bin: 1, 2-3, 4-8, 9 and more frames ahead."""
BINS = len(TOPS) + 1


class Forecaster(Protocol):
    """Anything that says what comes next."""

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """The graphs of the frames ``index`` that follow ``seen``, in order."""
        ...


def bin_of(ahead: np.ndarray) -> np.ndarray:
    """The horizon bin of a number of frames ahead (1 is the next annotated frame)."""
    return np.searchsorted(TOPS, ahead)


@dataclass(frozen=True)
class Persistence:
    """The last graph seen, for ever."""

    vocabulary: Vocabulary

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Probabilities 0 and 1."""
        present, held = dense(seen[-1:], self.vocabulary)
        times = len(index)
        objects = np.repeat(present, times, 0)
        return GraphForecast(
            name, np.array(index), objects.astype(float), np.repeat(held, times, 0).astype(float), objects
        )


@dataclass(frozen=True)
class Counts:
    """What is counted over all pairs of frames of the training clips, by horizon bin (B), object (O), predicate (R)."""

    stay: np.ndarray
    """(B, O, 2): objects in the first frame; those also in the second."""
    hold: np.ndarray
    """(B, O, R, 2, 2): for objects in both frames, by whether the predicate held: how many; how many hold later."""
    come: np.ndarray
    """(B, O, O, 2): context object in the first frame, other object not in it: how many; how many come."""
    fresh: np.ndarray
    """(O, R) with ``come_count`` (O,): predicates of objects that came."""
    come_count: np.ndarray


def count(clips: Clips) -> Counts:
    """Counts every ordered pair of frames of every clip."""
    things, labels = len(clips.vocabulary.objects), len(clips.vocabulary.predicates)
    stay = np.zeros((BINS, things, 2))
    hold = np.zeros((BINS, things, labels, 2, 2))
    come = np.zeros((BINS, things, things, 2))
    fresh, come_count = np.zeros((things, labels)), np.zeros(things)
    for before, after, held, later, b in _pairs(clips):
        stay[b, :, 0] += before.sum(0)
        both = before & after
        stay[b, :, 1] += both.sum(0)
        for was in (0, 1):
            cells = both[..., None] & (held == was)
            hold[b, :, :, was, 0] += cells.sum(0)
            hold[b, :, :, was, 1] += (cells & later).sum(0)
        new = after & ~before
        context = before.astype(float).T
        come[b, ..., 0] += context @ ~before
        come[b, ..., 1] += context @ new
        fresh += (new[..., None] & later).sum(0)
        come_count += new.sum(0)
    return Counts(stay, hold, come, fresh, come_count)


def _pairs(clips: Clips) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]]:
    for clip in clips.clips:
        present, held = dense(clip.frames, clips.vocabulary)
        for ahead in range(1, len(present)):
            b = int(bin_of(np.array(ahead)))
            yield present[:-ahead], present[ahead:], held[:-ahead], held[ahead:], b


def _smoothed(hits: np.ndarray, n: np.ndarray, prior: np.ndarray | float, weight: float) -> np.ndarray:
    """(hits + weight prior) / (n + weight): back-off to a prior worth ``weight`` observations."""
    return np.asarray((hits + weight * prior) / (n + weight))


@dataclass(frozen=True)
class Arrivals:
    """What the chance that an object comes, given one object of the last frame (its context), is a share of.

    Of pairs of frames whose first holds the context and lacks the object, by default; ``of_all``: of all pairs whose
    first holds the context, so that what it often goes together with is seldom expected.
    """

    of_all: bool = False
    doubt: float = 20.0
    """Pairs without an arrival that every context is thought to have had: one lucky pair must not list an object."""
    least: int = 0
    """Pairs that a context must have been in the first frame of to say anything."""


OF_ALL = Arrivals(of_all=True, doubt=0.0, least=28)
"""Plain shares of all pairs with the context, from 28 on: lists less. By it the bar reported for VirtualHome is met."""


@dataclass(frozen=True)
class Markov:
    """P(predicate at t + h | predicate at t) for each object, times P(object stays), with back-off over objects.

    ``appear``: objects not in the last frame whose chance of coming reaches this are listed too; 1 lists none.
    ``gate``: objects of the last frame whose chance of staying falls below this are no longer listed; 0 keeps all.
    """

    vocabulary: Vocabulary
    counts: Counts = field(repr=False)
    appear: float = 1.0
    gate: float = 0.0
    weight: float = 2.0
    """Observations that a prior is worth."""
    arrivals: Arrivals = Arrivals()

    @classmethod
    def fit(cls, clips: Clips, appear: float = 1.0, gate: float = 0.0) -> "Markov":
        """Counts the training clips; raises BadInput when no clip holds two frames."""
        found = count(clips)
        if not found.stay.any():
            raise BadInput("no training clip holds two frames; give longer clips")
        return cls(clips.vocabulary, found, appear, gate)

    def staying(self) -> np.ndarray:
        """(B, O) chance that an object of the last frame is there."""
        n, hits = self.counts.stay[..., 0], self.counts.stay[..., 1]
        prior = _smoothed(hits.sum(1), n.sum(1), 0.5, self.weight)[:, None]
        return _smoothed(hits, n, self._of_class(hits, n, prior, 1), self.weight)

    def holding(self) -> np.ndarray:
        """(B, O, R, 2) chance of each predicate given whether it held, for an object that stays."""
        n, hits = self.counts.hold[..., 0], self.counts.hold[..., 1]
        share = _smoothed(hits.sum((0, 1)), n.sum((0, 1)), 0.5, self.weight)
        prior = _smoothed(hits.sum(1), n.sum(1), share, self.weight)
        return _smoothed(hits, n, self._of_class(hits, n, prior[:, None], 1), self.weight)

    def coming(self) -> np.ndarray:
        """(B, O, O) chance that an object comes, given one object of the last frame."""
        how, hits = self.arrivals, self.counts.come[..., 1]
        held = np.broadcast_to(self.counts.stay[:, :, None, 0], hits.shape)
        n = (held if how.of_all else self.counts.come[..., 0]) + how.doubt
        return np.asarray(np.divide(hits, n, out=np.zeros_like(hits), where=(held >= how.least) & (n > 0)))

    def arriving(self) -> np.ndarray:
        """(O, R) chance of each predicate for an object that came."""
        n, hits = self.counts.come_count, self.counts.fresh
        prior = _smoothed(hits.sum(0), n.sum(), 0.5, self.weight)
        return _smoothed(hits, n[:, None], self._of_class(hits, n[:, None], prior, 0), self.weight)

    def _of_class(self, hits: np.ndarray, n: np.ndarray, prior: np.ndarray, axis: int) -> np.ndarray:
        """What an object backs off to: its class where that has several instances, else the prior of all objects."""
        kinds = self.vocabulary.kinds
        several = (kinds.sum(1) > 1).reshape([-1 if i == axis else 1 for i in range(hits.ndim)])
        if not several.any():
            return prior
        mine, of = (np.moveaxis(np.tensordot(kinds.astype(float), each, (1, axis)), 0, axis) for each in (hits, n))
        return np.asarray(np.where(several, _smoothed(mine, of, prior, self.weight), prior))

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Probabilities of every object and predicate; lists what ``appear`` and ``gate`` let through."""
        bins = bin_of(np.arange(1, len(index) + 1))
        present, held = (part[0] for part in dense(seen[-1:], self.vocabulary))
        kept = self._staying[bins] * present
        per_bin = np.where(held, self._holding[..., 1], self._holding[..., 0])
        predicates = np.where(present[None, :, None], per_bin[bins], self._arriving)
        context = np.flatnonzero(present)
        new = self._coming[:, context].max(1)[bins] * ~present if len(context) else np.zeros_like(kept)
        allowed = np.zeros(len(present), bool)
        allowed[list(self.vocabulary.candidates)] = True
        listed = (present & (kept >= self.gate)) | (~present & allowed & (new >= self.appear))
        return GraphForecast(name, np.array(index), kept + new * allowed, predicates, listed)

    def __post_init__(self) -> None:
        for table in ("staying", "holding", "coming", "arriving"):
            object.__setattr__(self, f"_{table}", getattr(self, table)())

    _staying: np.ndarray = field(init=False, repr=False)
    _holding: np.ndarray = field(init=False, repr=False)
    _coming: np.ndarray = field(init=False, repr=False)
    _arriving: np.ndarray = field(init=False, repr=False)


@dataclass(frozen=True)
class Neighbours:
    """Analog forecasting: what followed the most similar windows of the training clips, mixed with Markov.

    A window is its last graph, the graph before it and the objects seen earlier, fading; likeness is the cosine.
    """

    markov: Markov
    windows: np.ndarray = field(repr=False)
    """(W, D) unit vectors."""
    places: np.ndarray = field(repr=False)
    """(W, 2) clip and frame of each window's end."""
    futures: tuple[tuple[np.ndarray, np.ndarray], ...] = field(repr=False)
    """Presence and predicates of each training clip."""
    nearest: int = 40
    mix: float = 0.5
    """Weight of the neighbours; the rest is Markov's, by which no object comes."""
    listed: float = 0.3
    """Chance of being there from which an object is listed."""

    @classmethod
    def fit(cls, clips: Clips, listed: float = 0.3, most: int = 20_000, seed: int = 0) -> "Neighbours":
        """Keeps every window that has a future, at most ``most`` of them drawn by ``seed``."""
        futures = tuple(dense(clip.frames, clips.vocabulary) for clip in clips.clips)
        return cls._of(Markov.fit(clips), futures, listed, most, seed)

    @classmethod
    def _of(
        cls,
        markov: Markov,
        futures: tuple[tuple[np.ndarray, np.ndarray], ...],
        listed: float = 0.3,
        most: int = 20_000,
        seed: int = 0,
    ) -> "Neighbours":
        places = np.array([(c, t) for c, (present, _) in enumerate(futures) for t in range(len(present) - 1)])
        if len(places) > most:
            places = places[np.sort(np.random.default_rng(seed).choice(len(places), most, replace=False))]
        vectors = np.stack([_window(*(part[: t + 1] for part in futures[c])) for c, t in places.tolist()])
        return cls(markov, vectors, places, futures, listed=listed)

    def packed(self) -> dict[str, np.ndarray]:
        """The training graphs as arrays of bits; ``unpacked`` finds the windows again."""
        present, held = (np.concatenate([one[i] for one in self.futures]) for i in (0, 1))
        lengths = np.array([len(one) for one, _ in self.futures])
        return {"lengths": lengths, "present": np.packbits(present), "held": np.packbits(held)}

    @classmethod
    def unpacked(cls, markov: Markov, arrays: Mapping[str, np.ndarray]) -> "Neighbours":
        """What was packed, with its usual operating point; raises ValueError for arrays of another shape."""
        things, labels = len(markov.vocabulary.objects), len(markov.vocabulary.predicates)
        lengths = arrays["lengths"]
        frames = int(lengths.sum())
        present = np.unpackbits(arrays["present"], count=frames * things).astype(bool).reshape(frames, things)
        held = np.unpackbits(arrays["held"], count=frames * things * labels).astype(bool)
        cuts = np.cumsum(lengths)[:-1]
        rows = np.split(present, cuts), np.split(held.reshape(frames, things, labels), cuts)
        return cls._of(markov, tuple(zip(*rows, strict=True)))

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Probabilities from the neighbours that last long enough, mixed with Markov's; lists what is likely."""
        return self.beside(self.markov.forecast(name, seen, index), seen)

    def beside(self, base: GraphForecast, seen: Sequence[Frame]) -> GraphForecast:
        """The same, from Markov's forecast ``base`` of what follows ``seen``."""
        likeness = self.windows @ _window(*dense(seen, self.markov.vocabulary))
        top = np.argsort(-likeness, kind="stable")[: self.nearest]
        weights = np.maximum(likeness[top], 1e-6) ** 4
        objects, predicates = np.where(base.listed, base.objects, 0.0), base.predicates.copy()
        stays = objects.copy()
        for h in range(len(base.index)):
            found = [
                (w, self.futures[c][0][t + h + 1], self.futures[c][1][t + h + 1])
                for w, (c, t) in zip(weights, self.places[top].tolist(), strict=True)
                if t + h + 1 < len(self.futures[c][0])
            ]
            if not found:
                continue
            w = np.array([one[0] for one in found])
            w /= w.sum()
            there = np.tensordot(w, np.stack([one[1] for one in found]).astype(float), 1)
            holding = np.tensordot(w, np.stack([one[2] for one in found]).astype(float), 1)
            objects[h] = self.mix * there + (1 - self.mix) * stays[h]
            # An object that few neighbours hold says little of its predicates: Markov's count as one such neighbour.
            trust = there / (there + 1 / len(w))
            own = holding / np.maximum(there, 1e-12)[:, None]
            predicates[h] = trust[:, None] * own + (1 - trust)[:, None] * base.predicates[h]
        return replace(base, objects=objects, predicates=predicates, listed=objects >= self.listed)


def _window(present: np.ndarray, held: np.ndarray) -> np.ndarray:
    """A unit vector: last graph, half of the one before, objects of the past fading by 0.8 a frame."""
    before = held[-2] if len(held) > 1 else np.zeros_like(held[-1])
    fade = 0.8 ** np.arange(len(present))[::-1]
    past = (present * fade[:, None]).max(0)
    vector = np.concatenate([held[-1].ravel() * 1.0, before.ravel() * 0.5, past * 0.7]).astype(np.float32)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def oracle_objects(base: GraphForecast, future: Sequence[Frame], vocabulary: Vocabulary) -> GraphForecast:
    """``base`` with the true object sets: the head-room of stage 1."""
    present, _ = dense(future, vocabulary)
    return replace(base, objects=present.astype(float), listed=present)


def forecast_all(
    model: Forecaster, asked: Iterable[tuple[str, Sequence[Frame], Sequence[Frame]]]
) -> list[GraphForecast]:
    """The forecast of every (name, seen, future)."""
    return [model.forecast(name, seen, [frame.index for frame in future]) for name, seen, future in asked]
