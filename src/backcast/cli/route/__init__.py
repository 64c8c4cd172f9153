"""``backcast route``: vehicle routing at 1,000 to 20,000 customers."""

from backcast.cli.route.ablate import Ablate, ablate, show_ablate
from backcast.cli.route.solve import Solve, show_solve, solve
from backcast.cli.route.train import Train, show_train, train

VERBS = {
    "solve": (Solve, solve, show_solve),
    "train": (Train, train, show_train),
    "ablate": (Ablate, ablate, show_ablate),
}
