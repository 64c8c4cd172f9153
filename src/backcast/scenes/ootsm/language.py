"""Language: both stages asked of a language model, fitted or as it comes, by log-probabilities under the grammar."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from backcast.lm.base import LM
from backcast.scenes.chances import Beam, marginals
from backcast.scenes.counts import Markov
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.grammar import Labelling, Listing
from backcast.scenes.ootsm.mixing import Answers, Mixture, mixed
from backcast.scenes.ootsm.prompts import Asker
from backcast.scenes.problems.clip import Frame
from backcast.scenes.problems.vocabulary import Vocabulary

SURE = 0.5
"""Chance from which a model that was not fitted lists an object, and is asked about its predicates."""


@dataclass(frozen=True)
class Language:
    """A forecaster that asks ``listing`` for objects and ``labelling`` for predicates, frame by frame."""

    asker: Asker
    listing: LM = field(repr=False)
    labelling: LM = field(repr=False)
    markov: Markov = field(repr=False)
    mixture: Mixture = field(default_factory=Mixture)
    known: tuple[str, ...] = ()
    """Ids of the clips it was fitted on."""
    ask: float = 0.1
    """Objects less likely than this in a frame are not put to stage 2 there; Markov's predicates stand."""
    beam: Beam = field(default_factory=Beam)

    @property
    def vocabulary(self) -> Vocabulary:
        """Of what it forecasts."""
        return self.asker.vocabulary

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Both stages, mixed; lists what is at least ``mixture.listed`` likely."""
        return mixed(self.answers(name, seen, index), seen[-1], self.mixture, self.vocabulary)

    def answers(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> Answers:
        """The model's forecast alone, and Markov's."""
        words = self.vocabulary
        base = self.markov.forecast(name, seen, index)
        objects = np.zeros((len(index), len(words.objects)))
        prompt = self.asker.listing(seen)
        asked = [(prompt, Listing(words, (ahead,))) for ahead in range(1, len(index) + 1)]
        for t, found in enumerate(marginals(self.listing, asked, self.beam)):
            for o in words.candidates:
                objects[t, o] = found.get((0, words.objects[o]), 0.0)
        # What counts alone would list is asked about too, wherever they are mixed in.
        counted = 0.0 if self.asker.told else base.objects
        wanted = np.argwhere(np.maximum(objects, counted) >= self.ask)
        predicates = self._predicates(seen, base.predicates.copy(), wanted)
        return GraphForecast(name, np.array(index), objects, predicates, objects >= self.mixture.listed), base

    def _predicates(self, seen: Sequence[Frame], predicates: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        words = self.vocabulary
        prompts = {o: self.asker.labelling(seen, o) for o in sorted({int(o) for _, o in wanted})}
        asked = [(prompts[int(o)], Labelling(words, (int(t) + 1,))) for t, o in wanted]
        for (t, o), found in zip(wanted.tolist(), marginals(self.labelling, asked, self.beam), strict=True):
            for number, (group, ids) in enumerate(zip(words.groups, words.slices, strict=True)):
                row = np.array([found.get((number, label), 0.0) for label in group.predicates])
                predicates[t, o, ids] = row
        return predicates


def zero_shot(lm: LM, markov: Markov) -> Language:
    """A model as it comes: told the task, the names and the form; nothing of it is mixed with counts."""
    return Language(Asker(markov.vocabulary, told=True), lm, lm, markov, replace(Mixture(), listed=SURE), ask=SURE)
