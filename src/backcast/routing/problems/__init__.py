"""Problems of the routing room: capacitated vehicle routing instances, from files and from the paper's generator."""

from backcast.routing.problems.files import read_instance, read_solution, write_solution
from backcast.routing.problems.generate import CAPACITIES, capacity_for, paper_instance, uniform, windowed
from backcast.routing.problems.instance import Instance, Metric
from backcast.routing.problems.variant import Variant, Vehicles
from backcast.routing.problems.vrp import write_instance

__all__ = [
    "CAPACITIES",
    "Instance",
    "Metric",
    "Variant",
    "Vehicles",
    "capacity_for",
    "paper_instance",
    "read_instance",
    "read_solution",
    "uniform",
    "windowed",
    "write_instance",
    "write_solution",
]
