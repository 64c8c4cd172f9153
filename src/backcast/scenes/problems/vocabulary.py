"""Vocabulary: the objects and the groups of predicates that a stream of typed graphs may hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.scenes.problems.instances import class_of

BACKGROUND = "__background__"


@dataclass(frozen=True)
class Group:
    """Predicates that answer one question about an object (where is it, what is done with it)."""

    name: str
    predicates: tuple[str, ...]
    arity: Literal["one", "many"] = "many"
    """"one": exactly one label holds (attention in Action Genome); "many": any number."""
    allow_empty: bool = False
    """May an object have no label of this group?"""
    direction: Literal["out", "in"] = "out"
    """"out": (subject, predicate, object); "in": (object, predicate, subject), as Action Genome writes space."""


@dataclass(frozen=True)
class Vocabulary:
    """Names with their ids: an object's id is its place in ``objects``, a predicate's its place over all groups."""

    objects: tuple[str, ...]
    groups: tuple[Group, ...]
    subject: str = "person"
    """Who stands at the other end of every edge; need not be listed among the objects."""

    def __post_init__(self) -> None:
        for what, names in (("object", self.objects), ("predicate", self.predicates), ("group", self.group_names)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise BadInput(f"vocabulary: {what} '{twice[0]}' is listed twice; give each name once")
            if not names:
                raise BadInput(f"vocabulary: no {what}s; list at least one")
            for name in names:
                _check_name(what, name)
        for group in self.groups:
            if not group.predicates:
                raise BadInput(f"vocabulary: group '{group.name}' has no predicates; list at least one")

    @cached_property
    def predicates(self) -> tuple[str, ...]:
        """All predicates, group after group."""
        return tuple(name for group in self.groups for name in group.predicates)

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The groups' names, in order."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def object_ids(self) -> dict[str, int]:
        """Object name to id."""
        return {name: i for i, name in enumerate(self.objects)}

    @cached_property
    def predicate_ids(self) -> dict[str, int]:
        """Predicate name to id."""
        return {name: i for i, name in enumerate(self.predicates)}

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The ids of each group, as a slice of the predicate axis."""
        ends = np.cumsum([len(group.predicates) for group in self.groups]).tolist()
        return tuple(slice(end - len(g.predicates), end) for end, g in zip(ends, self.groups, strict=True))

    @cached_property
    def group_of(self) -> np.ndarray:
        """The group's number for every predicate, shape (R,)."""
        return np.repeat(np.arange(len(self.groups)), [len(group.predicates) for group in self.groups])

    @cached_property
    def candidates(self) -> tuple[int, ...]:
        """Ids of what may be an object: neither the subject nor the background entry."""
        return tuple(i for i, name in enumerate(self.objects) if name not in (self.subject, BACKGROUND))

    @cached_property
    def kinds(self) -> np.ndarray:
        """(O, O) bool: which entries are instances of one class, each with itself."""
        names = np.array([class_of(name) for name in self.objects])
        return np.asarray(names[:, None] == names)

    def triplet(self, thing: int, predicate: int) -> tuple[str, str, str]:
        """The triplet in the direction that its group is evaluated in."""
        name, relation = self.objects[thing], self.predicates[predicate]
        inward = self.groups[int(self.group_of[predicate])].direction == "in"
        return (name, relation, self.subject) if inward else (self.subject, relation, name)

    def to_dict(self) -> dict[str, Any]:
        """What the first line of a clips file holds under ``vocabulary``."""
        groups = [
            {
                "name": group.name,
                "predicates": list(group.predicates),
                "arity": group.arity,
                "allow_empty": group.allow_empty,
                "direction": group.direction,
            }
            for group in self.groups
        ]
        return {"subject": self.subject, "objects": list(self.objects), "groups": groups}

    @classmethod
    def from_dict(cls, value: Any, where: str = "vocabulary") -> "Vocabulary":
        """The vocabulary of a JSON object; raises BadInput naming ``where`` and the field."""
        if not isinstance(value, Mapping):
            raise BadInput(f"{where}, vocabulary: expected an object with 'objects' and 'groups', found '{value}'")
        known = ("subject", "objects", "groups")
        for key in value:
            if key not in known:
                raise BadInput(f"{where}, vocabulary: unknown key '{key}'{nearest(key, known)}")
        groups = value.get("groups")
        if not isinstance(groups, list):
            raise BadInput(f"{where}, vocabulary.groups: expected a list, found '{groups}'")
        found = [_group(group, f"{where}, vocabulary.groups[{i}]") for i, group in enumerate(groups)]
        subject = value.get("subject", "person")
        return cls(_names(value.get("objects"), f"{where}, vocabulary.objects"), tuple(found), str(subject))


def _check_name(what: str, name: str) -> None:
    # These would make the text form ambiguous.
    if not isinstance(name, str) or not name or name != name.strip() or any(c in name for c in ",;:\n\r"):
        raise BadInput(f"vocabulary: {what} name '{name}' is empty, padded, or holds , ; : or a line end; rename it")
    if name in ("None", "nothing", "end"):
        raise BadInput(f"vocabulary: {what} name '{name}' is a word of the text form; rename it")


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadInput(f"{where}: expected a list of names, found '{str(value)[:40]}'")
    return tuple(value)


def _group(value: Any, where: str) -> Group:
    known = ("name", "predicates", "arity", "allow_empty", "direction")
    if not isinstance(value, Mapping) or "name" not in value:
        raise BadInput(f"{where}: expected an object with 'name' and 'predicates', found '{str(value)[:40]}'")
    for key in value:
        if key not in known:
            raise BadInput(f"{where}: unknown key '{key}'{nearest(key, known)}")
    group = Group(
        str(value["name"]),
        _names(value.get("predicates"), f"{where}.predicates"),
        value.get("arity", "many"),
        value.get("allow_empty", False),
        value.get("direction", "out"),
    )
    for field, choices in (("arity", ("one", "many")), ("direction", ("out", "in")), ("allow_empty", (True, False))):
        if getattr(group, field) not in choices:
            shown = ", ".join(map(str, choices))
            raise BadInput(f"{where}.{field}: '{getattr(group, field)}' is not one of {shown}")
    return group


_OBJECTS = """__background__ person bag bed blanket book box broom chair closet/cabinet clothes cup/glass/bottle dish
door doorknob doorway floor food groceries laptop light medicine mirror paper/notebook phone/camera picture pillow
refrigerator sandwich shelf shoe sofa/couch table television towel vacuum window"""
_ATTENTION = "looking_at not_looking_at unsure"
_SPATIAL = "above beneath in_front_of behind on_the_side_of in"
_CONTACTING = """carrying covered_by drinking_from eating have_it_on_the_back holding leaning_on lying_on not_contacting
other_relationship sitting_on standing_on touching twisting wearing wiping writing_on"""

ACTION_GENOME = Vocabulary(
    objects=tuple(_OBJECTS.split()),
    groups=(
        Group("attention", tuple(_ATTENTION.split()), arity="one"),
        Group("spatial", tuple(_SPATIAL.split()), direction="in"),
        Group("contacting", tuple(_CONTACTING.split())),
    ),
)
"""Action Genome (Ji et al., 2020): 37 object entries with background and person, 26 predicates in three groups."""
