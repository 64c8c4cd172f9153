"""The text of a VRPLIB file: specifications and sections, every row with its line; rows are joined by node number."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.routing.problems.lines import number, whole

SPECIFICATION = re.compile(r"\s*([A-Za-z]\w*)\s*:(.*)")


@dataclass(frozen=True)
class Section:
    """A section's rows as words, each with the number of its line."""

    title: str
    line: int
    rows: list[tuple[int, list[str]]] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The line where it ends."""
        return self.rows[-1][0] if self.rows else self.line


@dataclass(frozen=True)
class Sections:
    """A file's parts, by their names in lower case (sections without ``_SECTION``)."""

    path: Path
    specs: dict[str, tuple[int, str]]
    sections: dict[str, Section]
    last: int
    """The last line that holds anything."""

    def said(self, key: str, default: str = "") -> str:
        """What a specification says, in capitals."""
        return self.specs[key][1].upper() if key in self.specs else default

    def where(self, key: str) -> str:
        """Path, line and name of a specification, for an error."""
        return f"{self.path}, line {self.specs[key][0]}: {key.upper()}"

    def need(self, name: str) -> Section:
        """A section; raises BadInput where the file ends without it."""
        if name not in self.sections:
            raise BadInput(f"{self.path}, line {self.last}: no {name.upper()}_SECTION up to here; is the file whole?")
        return self.sections[name]

    def rows(self, name: str, width: int, of: str = "node") -> dict[int, tuple[int, list[float]]]:
        """A section's rows by their number: the line, and ``width`` finite values."""
        section, found = self.need(name), dict[int, tuple[int, list[float]]]()
        for line, words in section.rows:
            where = f"{self.path}, line {line}"
            if len(words) != width + 1:
                raise BadInput(
                    f"{where}: {len(words)} values, a row of {section.title} has {width + 1}: '{' '.join(words)}'"
                )
            key = whole(words[0], f"{where}: {of}")
            if key in found:
                raise BadInput(f"{where}: {of} {key} was on line {found[key][0]} already; give each its own")
            found[key] = line, [number(word, f"{where}: {of} {key}:") for word in words[1:]]
        return found

    def nodes(self) -> list[int]:
        """The file's node numbers, rising: those of its coordinates, or of its demands where it has none."""
        dimension = self.specs.get("dimension", (0, ""))[1]
        if not dimension.isdigit() or int(dimension) < 1:
            said = f"DIMENSION '{dimension}'" if dimension else "no DIMENSION"
            raise BadInput(f"{self.path}: {said}; write DIMENSION : NUMBER of nodes, the depot counted")
        base = next((name for name in ("node_coord", "display_data") if name in self.sections), "demand")
        section, count = self.need(base), int(dimension)
        if len(section.rows) > count:
            raise BadInput(
                f"{self.path}, line {section.rows[count][0]}: {section.title} has {len(section.rows)} rows, DIMENSION "
                f"says {count} nodes; correct one of them"
            )
        if len(section.rows) < count:
            raise BadInput(
                f"{self.path}, line {section.last}: {section.title} ends after {len(section.rows)} of {count} nodes; "
                "is the file whole?"
            )
        # The width is checked where the values are read.
        numbers = sorted(whole(words[0], f"{self.path}, line {line}: node") for line, words in section.rows)
        return numbers if len(set(numbers)) == count else sorted(self.rows(base, len(section.rows[0][1]) - 1))

    def joined(self, name: str, width: int, nodes: list[int]) -> np.ndarray:
        """A section's values in the order of ``nodes``, (nodes, width): each node has one row, wherever it stands."""
        rows, known = self.rows(name, width), set(nodes)
        title = self.sections[name].title
        for node, (line, _) in rows.items():
            if node not in known:
                span = f"{nodes[0]} to {nodes[-1]}" if nodes[-1] - nodes[0] + 1 == len(nodes) else "the other sections"
                raise BadInput(f"{self.path}, line {line}: node {node} of {title} is none of the nodes ({span})")
        for node in nodes:
            if node not in rows:
                raise BadInput(
                    f"{self.path}, line {self.sections[name].last}: {title} ends after {len(rows)} of {len(nodes)} "
                    f"nodes, without node {node}; is the file whole?"
                )
        return np.array([rows[node][1] for node in nodes], np.float64).reshape(len(nodes), width)

    def depots(self, nodes: list[int]) -> list[int]:
        """The node numbers in DEPOT_SECTION, up to -1."""
        found, known = list[int](), set(nodes)
        for line, words in self.need("depot").rows:
            for word in words:
                depot = whole(word, f"{self.path}, line {line}: depot")
                if depot == -1:
                    break
                if depot not in known:
                    raise BadInput(f"{self.path}, line {line}: depot {depot} is none of the {len(nodes)} nodes")
                if depot in found:
                    raise BadInput(f"{self.path}, line {line}: depot {depot} stands twice; name each once")
                found.append(depot)
            else:
                continue
            break
        if not found:
            at = self.sections["depot"].last
            raise BadInput(f"{self.path}, line {at}: no depot in DEPOT_SECTION; write its number, then -1")
        return found


def parse(text: str, path: Path, known: set[str]) -> Sections:
    """The parts of a text; raises BadInput, with the line, for an unknown section or a line that belongs to none."""
    specs, sections = dict[str, tuple[int, str]](), dict[str, Section]()
    section, last = None, 0
    for at, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        last, where = at, f"{path}, line {at}"
        head = words[0].rstrip(":").upper()
        if head == "EOF":
            break
        spec = SPECIFICATION.fullmatch(line)
        if head.endswith("_SECTION"):
            name = head.removesuffix("_SECTION").lower()
            if name not in known:
                raise BadInput(f"{where}: unknown section '{words[0]}'{nearest(name, known)}")
            if name in sections:
                raise BadInput(f"{where}: {head} was on line {sections[name].line} already; keep one of them")
            if words[1:] not in ([], [":"]):
                raise BadInput(f"{where}: '{line.strip()}'; write the values on the lines below {head}")
            section = sections[name] = Section(head, at)
        elif spec is not None:
            key, value = spec[1].lower(), spec[2].strip()
            if section is not None:
                raise BadInput(f"{where}: {spec[1]} after {section.title}; write it above the sections")
            if key in specs and key != "comment":
                raise BadInput(f"{where}: {spec[1]} was on line {specs[key][0]} already; keep one of them")
            specs[key] = at, value
        elif section is not None:
            section.rows.append((at, words))
        else:
            raise BadInput(f"{where}: '{line.strip()[:40]}' is no line of a VRPLIB file; see KEY : VALUE and sections")
    if not last:
        raise BadInput(f"{path}: the file is empty; give a .vrp, .txt (Solomon) or .csv file")
    return Sections(path, specs, sections, last)
