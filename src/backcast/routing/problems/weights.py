"""Edge weights of TSPLIB (Reinelt, TSPLIB 95): its functions of coordinates, and its formats of matrices.

What is rounded straight distance stays a function of the coordinates (``Metric``); everything else becomes a matrix.
"""

from collections.abc import Callable

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Metric
from backcast.routing.problems.lines import number
from backcast.routing.problems.sections import Sections

STRAIGHT: dict[str, Metric] = {"EUC_2D": "nearest", "CEIL_2D": "ceil", "FLOOR_2D": "floor", "EXACT_2D": "nearest"}
"""EXACT_2D is DIMACS's: distances times 1000, rounded; read as coordinates times 1000."""
FORMATS = (
    "FULL_MATRIX",
    "UPPER_ROW",
    "LOWER_ROW",
    "UPPER_DIAG_ROW",
    "LOWER_DIAG_ROW",
    "UPPER_COL",
    "LOWER_COL",
    "UPPER_DIAG_COL",
    "LOWER_DIAG_COL",
)
MOST = 5000
"""Nodes up to which a matrix is made (200 MB)."""
PI, EARTH = 3.141592, 6378.388
"""TSPLIB's own, in kilometres."""


def _nint(values: np.ndarray) -> np.ndarray:
    whole: np.ndarray = np.floor(values + 0.5)
    return whole


def manhattan(coords: np.ndarray) -> np.ndarray:
    """The sum of the differences, rounded to the nearest integer."""
    return _nint(_apart(coords).sum(-1))


def maximum(coords: np.ndarray) -> np.ndarray:
    """The largest of the differences, rounded to the nearest integer."""
    largest: np.ndarray = _nint(_apart(coords)).max(-1)
    return largest


def euclidean(coords: np.ndarray) -> np.ndarray:
    """Straight distances, rounded to the nearest integer."""
    return _nint(np.sqrt((_apart(coords) ** 2).sum(-1)))


def pseudo_euclidean(coords: np.ndarray) -> np.ndarray:
    """ATT: straight distances over the root of ten, rounded up."""
    distances: np.ndarray = np.ceil(np.sqrt((_apart(coords) ** 2).sum(-1) / 10.0))
    return distances


def geographical(coords: np.ndarray) -> np.ndarray:
    """GEO: whole kilometres on a sphere; latitude and longitude as degrees with minutes after the point.

    TSPLIB's text rounds the degrees; its published optima are those of degrees cut off, as here.
    """
    degrees = np.trunc(coords)
    latitude, longitude = (PI * (degrees + 5.0 * (coords - degrees) / 3.0) / 180.0).T
    q1 = np.cos(longitude[:, None] - longitude)
    q2 = np.cos(latitude[:, None] - latitude)
    q3 = np.cos(latitude[:, None] + latitude)
    cosine = np.clip(0.5 * ((1.0 + q1) * q2 - (1.0 - q1) * q3), -1.0, 1.0)
    kilometres: np.ndarray = np.floor(EARTH * np.arccos(cosine) + 1.0)
    return kilometres


def _apart(coords: np.ndarray) -> np.ndarray:
    gaps: np.ndarray = np.abs(coords[:, None, :] - coords[None, :, :])
    return gaps


FUNCTIONS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "MAN_2D": (2, manhattan),
    "MAX_2D": (2, maximum),
    "ATT": (2, pseudo_euclidean),
    "GEO": (2, geographical),
    "EUC_3D": (3, euclidean),
    "MAN_3D": (3, manhattan),
    "MAX_3D": (3, maximum),
}
"""Each with the coordinates that it takes."""
TYPES = (*STRAIGHT, *FUNCTIONS, "EXPLICIT")


def measured(file: Sections, nodes: list[int]) -> tuple[np.ndarray | None, Metric, np.ndarray | None]:
    """Coordinates (for pictures and neighbours, where there are any), the metric, and the matrix where that is one.

    Raises BadInput for types and formats of edge weights that are not known, and for what is missing of them.
    """
    kind = file.said("edge_weight_type", "EXPLICIT" if "edge_weight" in file.sections else "EUC_2D")
    if kind not in TYPES:
        raise BadInput(f"{file.where('edge_weight_type')} '{kind}'; known are {', '.join(TYPES)}")
    if kind == "EXPLICIT":
        places = next((name for name in ("node_coord", "display_data") if name in file.sections), None)
        coords = None if places is None else file.joined(places, 2, nodes)
        return coords, "matrix", explicit(file, len(nodes))
    if "edge_weight" in file.sections:
        line = file.sections["edge_weight"].line
        raise BadInput(f"{file.path}, line {line}: EDGE_WEIGHT_SECTION beside the type {kind}; keep one of them")
    if kind in STRAIGHT:
        coords = file.joined("node_coord", 2, nodes)
        return coords * (1000.0 if kind == "EXACT_2D" else 1.0), STRAIGHT[kind], None
    width, function = FUNCTIONS[kind]
    _require_small(file, len(nodes), kind)
    coords = file.joined("node_coord", width, nodes)
    matrix = function(coords)
    np.fill_diagonal(matrix, 0.0)
    return coords[:, :2], "matrix", matrix


def explicit(file: Sections, nodes: int) -> np.ndarray:
    """The matrix of EDGE_WEIGHT_SECTION, its numbers taken in order wherever lines break."""
    form = file.said("edge_weight_format")
    if form not in FORMATS:
        said = f"{file.where('edge_weight_format')} '{form}'" if form else f"{file.path}: no EDGE_WEIGHT_FORMAT"
        raise BadInput(f"{said}; known are {', '.join(FORMATS)}")
    _require_small(file, nodes, "EXPLICIT")
    section = file.need("edge_weight")
    values = np.array([number(word, f"{file.path}, line {at}:") for at, words in section.rows for word in words])
    rows, columns = _places(form, nodes)
    if len(values) != len(rows):
        raise BadInput(
            f"{file.path}, line {section.last}: EDGE_WEIGHT_SECTION has {len(values)} numbers, {form} of {nodes} nodes "
            f"has {len(rows)}; is the file whole?"
        )
    matrix = np.zeros((nodes, nodes))
    matrix[rows, columns] = values
    if form != "FULL_MATRIX":
        matrix[columns, rows] = values
    return matrix


def _places(form: str, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a format's numbers, in their order."""
    if form == "FULL_MATRIX":
        return np.repeat(np.arange(nodes), nodes), np.tile(np.arange(nodes), nodes)
    without = 0 if "_DIAG_" in form else 1
    # The matrix is symmetric: an upper triangle column by column is the lower one row by row, and the other way round.
    if form.startswith("UPPER") == form.endswith("_ROW"):
        return np.triu_indices(nodes, without)
    return np.tril_indices(nodes, -without)


def _require_small(file: Sections, nodes: int, kind: str) -> None:
    if nodes > MOST:
        raise BadInput(f"{file.path}: {nodes} nodes; {kind} is held as a matrix, of at most {MOST} nodes")
