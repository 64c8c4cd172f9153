"""Graphs as text and back, without loss: one serialiser for training and inference, a strict and a lenient parser.

::

    Frame 42, 87:
    - cup/glass/bottle: looking_at; in_front_of; holding, touching
    - table: not_looking_at; in_front_of; not_contacting

Runs of equal consecutive graphs share a header that names every frame; equality does not look at the order of objects.
Groups stand in the vocabulary's order, set apart by semicolons; an empty group is "None". Names hold none of , ; :
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from backcast.core.errors import BadInput, nearest
from backcast.scenes.problems.clip import Frame
from backcast.scenes.problems.vocabulary import Vocabulary

NONE, NOTHING, END = "None", "nothing", "end"


def labels_text(held: Sequence[int], vocabulary: Vocabulary) -> str:
    """The predicates of one object: groups by semicolons, labels by commas."""
    groups = [
        ", ".join(vocabulary.predicates[r] for r in held if ids.start <= r < ids.stop) or NONE
        for ids in vocabulary.slices
    ]
    return "; ".join(groups)


def scene_text(frames: Sequence[Frame], vocabulary: Vocabulary) -> str:
    """Whole graphs: the past as stage 1 reads it. Times are not written."""
    runs: list[tuple[list[int], dict[int, tuple[int, ...]]]] = []
    for frame in frames:
        if runs and runs[-1][1] == dict(frame.objects):
            runs[-1][0].append(frame.index)
        else:
            runs.append(([frame.index], dict(frame.objects)))
    lines = []
    for numbers, graph in runs:
        lines.append(f"Frame {', '.join(map(str, numbers))}:")
        lines += [f"- {vocabulary.objects[o]}: {labels_text(graph[o], vocabulary)}" for o in sorted(graph)]
    return "\n".join(lines)


def object_text(frames: Sequence[Frame], thing: int, vocabulary: Vocabulary) -> str:
    """One object's past as stage 2 reads it: a line for every run of equal labels, gaps kept as "nothing"."""
    runs: list[tuple[list[int], tuple[int, ...] | None]] = []
    for frame in frames:
        held = frame.objects.get(thing)
        if runs and runs[-1][1] == held:
            runs[-1][0].append(frame.index)
        else:
            runs.append(([frame.index], held))
    return "\n".join(
        f"Frame {', '.join(map(str, numbers))}: {NOTHING if held is None else labels_text(held, vocabulary)}"
        for numbers, held in runs
    )


def listing_text(frames: Sequence[Frame], vocabulary: Vocabulary) -> str:
    """Stage 1's answer: the objects of each frame, by id, and an end mark."""
    lines = [
        f"Frame {frame.index}: {', '.join(vocabulary.objects[o] for o in sorted(frame.objects)) or NOTHING}"
        for frame in frames
    ]
    return "\n".join([*lines, END])


def labelling_text(frames: Sequence[Frame], thing: int, vocabulary: Vocabulary) -> str:
    """Stage 2's answer: the labels of one object in each frame that holds it, and an end mark."""
    lines = [
        f"Frame {frame.index}: {labels_text(frame.objects[thing], vocabulary)}"
        for frame in frames
        if thing in frame.objects
    ]
    return "\n".join([*lines, END])


def parse_scene(text: str, vocabulary: Vocabulary) -> tuple[Frame, ...]:
    """The frames of ``scene_text``, strictly: anything else raises BadInput with the line."""
    frames: list[Frame] = []
    numbers: list[int] = []
    graph: dict[int, tuple[int, ...]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        head = re.fullmatch(r"Frame (-?\d+(?:, -?\d+)*):", line)
        if head:
            frames += [Frame(n, graph) for n in numbers]
            numbers, graph = [int(n) for n in head.group(1).split(", ")], {}
            continue
        item = re.fullmatch(r"- ([^:]+): (.+)", line)
        if not item or not numbers:
            raise BadInput(f"line {number}: '{line[:40]}' is neither 'Frame n:' nor '- object: labels'")
        name = item.group(1)
        if name not in vocabulary.object_ids:
            raise BadInput(f"line {number}: unknown object '{name}'{nearest(name, vocabulary.objects)}")
        graph[vocabulary.object_ids[name]] = parse_labels(item.group(2), vocabulary, f"line {number}")
    return tuple(frames + [Frame(n, graph) for n in numbers])


def parse_labels(text: str, vocabulary: Vocabulary, where: str) -> tuple[int, ...]:
    """The predicate ids of ``labels_text``, strictly."""
    parts = text.split("; ")
    if len(parts) != len(vocabulary.groups):
        raise BadInput(f"{where}: {len(parts)} groups of labels, expected {len(vocabulary.groups)}: '{text[:40]}'")
    held = []
    for part, group in zip(parts, vocabulary.groups, strict=True):
        for label in [] if part == NONE else part.split(", "):
            if label not in group.predicates:
                raise BadInput(f"{where}: unknown label '{label}' of {group.name}{nearest(label, group.predicates)}")
            held.append(vocabulary.predicate_ids[label])
    return tuple(sorted(held))


@dataclass(frozen=True)
class Read:
    """What a lenient parser could read of free text, and what it had to mend."""

    frames: dict[int, tuple[int, ...]]
    """Frame number to ids (of objects in stage 1, of predicates in stage 2)."""
    mended: Counter[str] = field(default_factory=Counter)
    """Kind of fault to how often; empty for text that is as asked."""


def read_listing(text: str, requested: Sequence[int], vocabulary: Vocabulary) -> Read:
    """Objects by frame from free text: case, bullets, full stops and prose are forgiven; unknown names are dropped.

    Of a frame given twice the last counts, frames not requested are dropped, and a missing one takes the nearest
    earlier, else the nearest later (the rules of OOTSM's code).
    """
    known = {_plain(vocabulary.objects[o]): o for o in vocabulary.candidates}
    return _read(text, requested, lambda words, mended: _names(words, known, mended))


def read_labelling(text: str, requested: Sequence[int], vocabulary: Vocabulary) -> Read:
    """Predicates by frame from free text, by the same rules; also "attention: x" and spaces for underscores."""
    known = {_plain(name): r for r, name in enumerate(vocabulary.predicates)}
    heads = [re.escape(name) + r"[a-z ]*(?: relationship)?s?\s*(?::|is|are|=)" for name in vocabulary.group_names]
    heads += ["object [^:;,]*:"]

    def labels(words: str, mended: Counter[str]) -> tuple[int, ...]:
        short, times = re.subn("|".join(heads), ";", words, flags=re.IGNORECASE)
        mended["long form"] += bool(times)
        return _names(short.replace(";", ","), known, mended)

    return _read(text, requested, labels)


def read_graph(text: str, vocabulary: Vocabulary) -> tuple[dict[int, tuple[int, ...]], Counter[str]]:
    """One graph from free text, a line "object: labels" each, by the same rules; and what had to be mended.

    An object with a group that lacks its label is dropped; of several labels of a one-of group the first of the
    vocabulary counts; of an object given twice the last.
    """
    mended: Counter[str] = Counter()
    known = {_plain(vocabulary.objects[o]): o for o in vocabulary.candidates}
    graph: dict[int, tuple[int, ...]] = {}
    for line in text.split("\n"):
        name, _, rest = line.partition(":")
        words = _plain(name.strip(" -*>#.`"))
        if not line.strip() or words in ("frame", END, NOTHING) or re.fullmatch(r"frame -?\d+", words):
            continue
        if words not in known:
            mended["unknown names" if rest.strip() else "prose"] += 1
            continue
        held = _whole(read_labelling(f"Frame 0: {rest}", [0], vocabulary), vocabulary, mended)
        if held is None:
            mended["objects without a label"] += 1
            continue
        mended["objects given twice"] += known[words] in graph
        graph[known[words]] = held
    return graph, Counter({key: n for key, n in mended.items() if n})


def _whole(read: Read, vocabulary: Vocabulary, mended: Counter[str]) -> tuple[int, ...] | None:
    """The labels of one object, or None where a group lacks its own."""
    mended.update(read.mended)
    held: list[int] = []
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        mine = [r for r in read.frames[0] if r in range(ids.start, ids.stop)]
        if not mine and not group.allow_empty:
            return None
        if group.arity == "one" and len(mine) > 1:
            mended["second labels"] += 1
            mine = mine[:1]
        held += mine
    return tuple(held)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().lower()


def _names(words: str, known: dict[str, int], mended: Counter[str]) -> tuple[int, ...]:
    found = []
    for raw in words.split(","):
        word = raw.strip().strip(".-*[](){}").strip()
        if not word or _plain(word) in (NOTHING, NONE.lower()):
            continue
        number = known.get(_plain(word))
        if number is None:
            mended["unknown names"] += 1
            continue
        mended["case"] += word != word.lower() and _plain(word) in known
        mended["repeats"] += number in found
        found.append(number)
    return tuple(sorted(set(found)))


def _read(text: str, requested: Sequence[int], read: object) -> Read:
    mended: Counter[str] = Counter()
    found: dict[int, tuple[int, ...]] = {}
    for line in text.split("\n"):
        head = re.match(r"[\s\-*>#]*frame\s*#?\s*(\d+)\s*[:.\-)]\s*(.*)", line, re.IGNORECASE)
        if not head:
            mended["prose"] += bool(line.strip()) and line.strip() != END
            continue
        number = int(head.group(1))
        if number not in requested:
            mended["frames not asked for"] += 1
            continue
        mended["frames given twice"] += number in found
        found[number] = read(head.group(2), mended)  # type: ignore[operator]
    missing = [n for n in requested if n not in found]
    mended["missing frames"] += len(missing)
    given = sorted(found)
    filled = dict(found)
    for n in missing if given else ():
        earlier = [g for g in given if g < n]
        filled[n] = found[earlier[-1] if earlier else given[0]]
    return Read({n: filled.get(n, ()) for n in requested}, Counter({key: n for key, n in mended.items() if n}))
