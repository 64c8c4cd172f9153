"""Households made up: a hidden semi-Markov process of activities over the Action Genome vocabulary.

For scaling tests, and where no real data may be used. The next objects follow from the activity, which the past
shows and the last frame alone does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clip, Clips, Frame, dense
from backcast.scenes.problems.household_table import ACTIVITIES, AFTER
from backcast.scenes.problems.vocabulary import ACTION_GENOME

Held = dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]
"""Object to its attention, spatial and contacting labels."""

SKIP, REPEAT, LINGER, LINGER_ON, LINGER_END = 0.08, 0.06, 0.45, 0.65, 0.08
FACT_LOST, LOOK_FLIPPED, PLACE_CHANGED, SECOND_LOST, CONTACT_CHANGED, LINGER_LOST = 0.025, 0.12, 0.10, 0.35, 0.05, 0.03
GAP = 11.0, 1.15
"""Median frames between annotations, and the spread of its logarithm: 10, 50, 90 % are about 2, 11, 46."""


@dataclass(frozen=True)
class Step:
    """What holds during one step of an activity."""

    mean: float
    facts: Held
    away: frozenset[str]
    """Objects put away when the step ends: they do not linger."""
    worn: frozenset[str]
    """Objects that stay worn from here on."""


def make_household(count: int, seed: int = 0, split: str = "") -> Clips:
    """``count`` clips; clip i depends on ``seed`` and i alone. The hidden activity of each frame is in ``meta``."""
    if count < 1 or seed < 0:
        raise BadInput(f"household of {count} clips, seed {seed}: give at least 1 clip and a seed from 0 on")
    library = {name: [_alternatives(step) for step in steps] for name, steps in ACTIVITIES.items()}
    return Clips(ACTION_GENOME, tuple(_clip(i, seed, library, split) for i in range(count)))


def _alternatives(text: str) -> list[Step]:
    return [_step(part) for part in text.split(" / ")]


def _step(text: str) -> Step:
    mean, *facts = [part.strip() for part in text.split("|")]
    held: Held = {}
    away, worn = set(), set()
    for fact in facts:
        name, look, places, contacts, *rest = fact.split()
        held[name] = (look, tuple(places.split("+")), tuple(contacts.split("+")))
        if "away" in rest:
            away.add(name)
        if "worn" in rest:
            worn.add(name)
    return Step(float(mean), held, frozenset(away), frozenset(worn))


def _plan(rng: np.random.Generator, library: dict[str, list[list[Step]]]) -> Iterator[tuple[str, int, Step]]:
    """(activity, step number, step) for ever."""
    names = list(library)
    activity = names[rng.integers(len(names))]
    while True:
        for number, alternatives in enumerate(library[activity]):
            if rng.random() < SKIP:
                continue
            step = alternatives[rng.integers(len(alternatives))]
            yield activity, number, step
            if rng.random() < REPEAT:
                yield activity, number, step
        activity = str(rng.choice(AFTER[activity]))


def _clip(number: int, seed: int, library: dict[str, list[list[Step]]], split: str) -> Clip:
    rng = np.random.default_rng([seed, number])
    length = int(np.clip(np.exp(rng.normal(np.log(20), 0.5)), 8, 60))
    plan = _plan(rng, library)
    lingering: dict[str, str] = {}
    worn: Held = {}
    frames: list[Frame] = []
    hidden: list[list[object]] = []
    index = int(rng.integers(1, 60))
    before: Step | None = None
    while len(frames) < length:
        activity, place, step = next(plan)
        lingering = _after(rng, before, step, lingering)
        worn.update({name: ("not_looking_at", step.facts[name][1], ("wearing",)) for name in step.worn})
        stay = 1 + min(int(rng.geometric(1 / step.mean)) - 1, int(4 * step.mean))
        for _ in range(min(stay, length - len(frames))):
            for name in [name for name in lingering if rng.random() < LINGER_END]:
                del lingering[name]
            held = _noisy(rng, step, lingering, worn)
            if held:  # a frame is annotated when something is seen
                frames.append(_frame(index, held))
                hidden.append([activity, place])
            index += max(1, round(float(np.exp(rng.normal(np.log(GAP[0]), GAP[1])))))
        before = step
    return Clip(f"household-{seed}-{number}", tuple(frames), split, {"hidden": hidden})


def _after(rng: np.random.Generator, before: Step | None, step: Step, lingering: dict[str, str]) -> dict[str, str]:
    """What stays in view, unused, when ``step`` follows ``before``: object to where it is."""
    kept = {name: where for name, where in lingering.items() if name not in step.facts and rng.random() < LINGER_ON}
    left = before.facts.keys() - before.away if before else set()
    for name in sorted(left):
        if name not in step.facts and rng.random() < LINGER:
            kept[name] = str(rng.choice(["in_front_of", "on_the_side_of", "behind"], p=[0.6, 0.3, 0.1]))
    return kept


def _noisy(rng: np.random.Generator, step: Step, lingering: dict[str, str], worn: Held) -> Held:
    held: Held = {
        name: ("not_looking_at", (where,), ("not_contacting",))
        for name, where in lingering.items()
        if rng.random() >= LINGER_LOST
    }
    held.update({name: fact for name, fact in worn.items() if rng.random() >= FACT_LOST})
    group = ACTION_GENOME.groups
    for name, (look, places, contacts) in step.facts.items():
        if rng.random() < FACT_LOST:
            continue
        if rng.random() < LOOK_FLIPPED:
            look = str(rng.choice([label for label in group[0].predicates if label != look]))
        if rng.random() < PLACE_CHANGED:
            places = (str(rng.choice(["in_front_of", "on_the_side_of", "behind", "beneath"])),)
        if len(contacts) > 1 and rng.random() < SECOND_LOST:
            contacts = contacts[:1]
        if rng.random() < CONTACT_CHANGED:
            contacts = (str(rng.choice(["touching", "holding", "not_contacting", "other_relationship"])),)
        held[name] = (look, places, contacts)
    return held


def _frame(index: int, held: Held) -> Frame:
    ids, labels = ACTION_GENOME.object_ids, ACTION_GENOME.predicate_ids
    objects = {
        ids[name]: tuple(sorted({labels[look], *(labels[p] for p in places), *(labels[c] for c in contacts)}))
        for name, (look, places, contacts) in held.items()
    }
    return Frame(index, dict(sorted(objects.items())), index / 24.0)


def statistics(clips: Clips) -> dict[str, float]:
    """What a generator is calibrated by: objects a frame, relations an object, share of objects that stay and of
    staying objects whose relations change from one frame to the next."""
    objects = relations = pairs = stayed = changed = frames = 0
    for clip in clips.clips:
        present, held = dense(clip.frames, clips.vocabulary)
        frames += len(present)
        objects += int(present.sum())
        relations += int(held.sum())
        both = present[:-1] & present[1:]
        pairs += int(present[:-1].sum())
        stayed += int(both.sum())
        changed += int((both & (held[:-1] != held[1:]).any(-1)).sum())
    return {
        "objects_per_frame": objects / frames,
        "relations_per_object": relations / max(objects, 1),
        "persistence": stayed / max(pairs, 1),
        "relation_change": changed / max(stayed, 1),
    }
