"""HLGP: short routes for a thousand customers.  python examples/hlgp.py"""

from backcast import routing

instance = routing.paper_instance(1000)
found = routing.solve(instance, seconds=5, callback=lambda better: print(f"{better.cost:.2f}"))
print(len(found.routes), "routes, cost", routing.cost(instance, found.routes), routing.faults(instance, found.routes))
