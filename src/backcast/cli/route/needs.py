"""Says in one line what to install where the room's packages are missing."""

import importlib.util

from backcast.core.errors import BadInput


def require_routing() -> None:
    """Raises BadInput when a package of the extra ``routing`` is missing."""
    for name in ("numba", "scipy", "vrplib"):
        if importlib.util.find_spec(name) is None:
            raise BadInput(f"the package '{name}' is not installed; pip install 'backcast[routing]'")
