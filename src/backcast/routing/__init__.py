"""Large vehicle routing: hierarchical partition (HLGP, arXiv 2502.08340) with a first-class search inside.

Nothing here imports torch unless a policy is trained or used.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Instance": "problems",
    "Variant": "problems",
    "Vehicles": "problems",
    "read_instance": "problems",
    "read_solution": "problems",
    "write_instance": "problems",
    "write_solution": "problems",
    "paper_instance": "problems",
    "uniform": "problems",
    "to_pyvrp": "subsolve",
    "to_solution": "subsolve",
    "from_solution": "subsolve",
    "cost": "score",
    "faults": "score",
    "gap_percent": "score",
    "Settings": "hlgp",
    "Solution": "hlgp",
    "solve": "hlgp",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'backcast.routing' has no attribute '{name}'")
    return getattr(import_module(f"backcast.routing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
