"""HLGP's policies (arXiv 2502.08340): a global and a local one trained, then scored beside sweep and savings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backcast.core.params import bounded
from backcast.core.progress import Progress
from backcast.core.run import Curve, Gap, Plan, Run, StageResult, Table
from backcast.core.stats import bootstrap, paired
from backcast.core.vitals import Vital, must_act

FILES, MODELS = (), ()
SAVE_EVERY = 20
"""Steps between checkpoints."""
LEVELS = 5
"""Local levels at evaluation; the paper's."""


@dataclass(frozen=True)
class Settings:
    """What is trained, how long, and how much is held out."""

    how: Literal["rl", "sl"] = "rl"
    """rl: REINFORCE, samples of one instance as baseline; sl: imitation of partitions refined by the room's search."""
    size: int = 200
    """Customers of the drawn instances; the paper trains on 1,000."""
    minutes: float | None = 10.0
    """CPU-minutes of training, half for each policy; none: the steps alone count."""
    steps: int | None = None
    """Steps of each policy; none: the minutes alone count."""
    instances: int = 8
    """Per step."""
    samples: int = 16
    """Partitions sampled for each instance; the paper has 20."""
    learning_rate: float = 3e-3
    """Adam's at the start, it falls to 0 along a cosine; the paper's 3e-4 suits its longer training."""
    layers: int = 3
    """The paper has 12."""
    width: int = 32
    """The paper has 48."""
    near: int = 20
    """Candidates by distance, and as many by direction; the paper has 100 or 200 by direction."""
    features: Literal["repaired", "paper"] = "repaired"
    """paper: the released program's features and candidates."""
    net: Literal["graph", "attention"] = "graph"
    """graph: one pass scores all candidates; attention: the supervised variant's, read anew at every step (sl only;
    the paper has 9 layers of 192 and 250 neighbours)."""
    heads: int = 4
    """Of the attention policy; the paper has 12."""
    reward: Literal["before", "after"] = "before"
    """Of the global policy (rl). before: the cost before local levels, the released program's way; after: the second
    half of its budget goes to the cost after levels of the trained local policy, the paper's stated objective."""
    held_out: int = 40
    """Instances that the policies are scored on."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minutes is None and self.steps is None:
            raise ValueError("minutes and steps are both none; set one of them")
        bounded(self, "minutes learning_rate", 0, above=True)
        bounded(self, "size steps instances layers width near heads", 1)
        bounded(self, "samples held_out", 2)
        bounded(self, "seed", 0)
        if self.reward == "after" and self.how == "sl":
            raise ValueError("reward after is for reinforcement; set how to rl, or reward to before")
        if self.net == "attention" and self.how == "rl":
            raise ValueError("net attention is trained by imitation only; set how to sl, or net to graph")
        if self.net == "attention" and self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads; choose others")


def plan(settings: Settings) -> list[Plan]:
    """What each stage is expected to take."""
    each = min((settings.minutes or 1e9) * 30, (settings.steps or 1e12) * settings.size * settings.instances / 1500)
    what = f"{settings.how}, {settings.net} on {settings.size} customers, {settings.layers} layers of {settings.width}"
    twice = settings.reward == "after"
    return [
        Plan("global", what, each / (1 + twice), 1.0),
        Plan("local", f"{settings.how} on pairs of routes", each, 1.0),
        *([Plan("after", "the global policy on the cost after a local level", each / 2, 1.0)] if twice else []),
        Plan("score", f"{settings.held_out} held-out instances, {LEVELS} levels", settings.held_out * 0.5, 0.5),
    ]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages; the policies lie in ``model``."""
    names = ("global", "local", "after") if settings.reward == "after" else ("global", "local")
    for name in names:
        run.stage(name, partial(_train, settings=settings, name=name), settings)
    run.stage("score", lambda folder: _score(folder, run.folder, settings), settings)
    return {"policy": str(run.folder / "model")}


def _parts(settings: Settings, after: bool = False) -> tuple[Any, Any]:
    from backcast.routing.attention import AttentionShape
    from backcast.routing.nets import Shape
    from backcast.routing.train import Training

    shape: Any = Shape(settings.layers, settings.width, settings.near, settings.features)
    if settings.net == "attention":
        shape = AttentionShape(settings.layers, settings.width, settings.heads, 2 * settings.width, settings.near)
    keys = ("how", "size", "instances", "samples", "learning_rate", "seed")
    return shape, Training(**{key: getattr(settings, key) for key in keys}, reward="after" if after else "before")


def _train(folder: Path, settings: Settings, name: str) -> StageResult:
    """Trains the global policy, the local one on its partitions, or ("after") the global one on with the local one's
    levels before the reward; goes on from a checkpoint."""
    from backcast.routing.nets import load_policy, save_policy
    from backcast.routing.train import begin, global_tasks, local_tasks, resume, train

    shape, training = _parts(settings, name == "after")
    kept, model = folder / "checkpoint.pt", folder.parent / "model"
    trainee = resume(kept, shape, training) if kept.exists() else begin(shape, training)
    if name == "after" and not kept.exists():
        trainee.policy.load_state_dict(load_policy(model, "global").state_dict())
    own = name == "local"
    drawn = local_tasks(training, load_policy(model, "global"), trainee.policy) if own else global_tasks(training)
    reviser = load_policy(model, "local") if name == "after" else None
    share = 0.5 if settings.reward == "after" and not own else 1.0
    with Progress(f"{name} policy", settings.steps or round((settings.minutes or 0) * 30)) as bar:
        for row in train(trainee, drawn, training, _spent(settings, trainee, share), reviser):
            used = sum(one["cpu_seconds"] for one in trainee.log)
            now = int(row["step"]) if settings.steps else int(used)
            bar.advance(max(0, now - bar.done), step=int(row["step"]), cost=f"{row['cost']:.3f}")
            if trainee.step % SAVE_EVERY == 0:
                trainee.save(kept)
    trainee.save(kept)
    save_policy(trainee.policy, model, "local" if own else "global")
    return _told(settings, name, trainee)


def _told(settings: Settings, name: str, trainee: Any) -> StageResult:
    """Vitals and curve of a training."""
    log = trainee.log
    last = log[-max(1, len(log) // 10) :]
    must_act(f"{name} training", sum(row["gradient"] > 0 for row in log), len(log))
    vitals = [
        Vital(
            f"{name}/gradient",
            float(np.mean([row["gradient"] for row in last])),
            1e-6,
            None,
            "Norm of the gradient over the last tenth; 0 means that nothing is learnt.",
        )
    ]
    if settings.how == "rl":
        flat = float(np.mean([row["flat"] for row in last]))
        meaning = "Share of instances whose samples all cost the same, which teach nothing; over the last tenth."
        vitals.append(Vital(f"{name}/flat groups", flat, 0.0, 0.5, meaning))
    else:
        off = float(np.mean([row["off_list"] for row in last]))
        vitals.append(Vital(f"{name}/off the list", off, 0.0, 0.2, "Steps of the labels to no candidate: not learnt."))
    if name == "after":
        must_act("the levels before the reward", sum(row["improved"] > 0 for row in log), len(log))
        better = float(np.mean([row["improved"] for row in last]))
        meaning = "Share of sampled partitions that the local levels made cheaper; 0 means that they decide nothing."
        vitals.append(Vital(f"{name}/improved by the levels", better, 0.05, 1.0, meaning))
    points = {f"{name} policy": [[row["step"], row["cost"]] for row in log]}
    if name == "after":
        points["after the levels"] = [[row["step"], row["after"]] for row in log]
    return StageResult(
        vitals=vitals,
        curves=[Curve(f"Cost of decoded partitions, {name}", "step", "mean cost", points)],
        lineage=[f"{name} policy: {trainee.step} steps of {settings.how}"],
        outputs={"steps": trainee.step},
    )


def _spent(settings: Settings, trainee: Any, share: float) -> Callable[[int], float]:
    """How much of a policy's budget, or of the given share of it, is used up."""

    def spent(step: int) -> float:
        used = sum(row["cpu_seconds"] for row in trainee.log)
        by_steps = step / (settings.steps * share) if settings.steps else 0.0
        return float(max(by_steps, used / (settings.minutes * 30 * share) if settings.minutes else 0.0))

    return spent


def held_out(count: int, size: int) -> list[Any]:
    """Instances as in the room's reference values: coordinates then demands of one generator, seed 12345."""
    from backcast.routing.problems import Instance, capacity_for

    rng = np.random.default_rng(12345)
    coords, demands = rng.random((100, size + 1, 2)), rng.integers(1, 10, (100, size + 1))
    demands[:, 0] = 0
    drawn = zip(demands[:count], coords[:count], strict=True)
    return [Instance(f"held-out-{k}", d.astype(np.int64), capacity_for(size), xy) for k, (d, xy) in enumerate(drawn)]


def _score(folder: Path, root: Path, settings: Settings) -> StageResult:
    """Held-out costs of every arm: policies trained and untrained, before and after the levels; sweep; savings."""
    from backcast.routing.nets import load_policy, make_policy
    from backcast.routing.partition import rotated
    from backcast.routing.policy import policy_routes
    from backcast.routing.score import cost
    from backcast.routing.start import savings, sweep
    from backcast.routing.train import level_by_policy, pairs_of

    del folder
    shape, _ = _parts(settings)
    first, local = load_policy(root / "model", "global"), load_policy(root / "model", "local")
    raw = make_policy(shape, settings.seed + 1)
    arms: dict[str, list[float]] = {}
    for instance in held_out(settings.held_out, settings.size):
        starts = {
            "trained global": policy_routes(first, instance),
            "untrained global": policy_routes(raw, instance),
            "sweep, one start": sweep(instance, 1),
            "sweep": sweep(instance),
            "savings": savings(instance),
        }
        for name, routes in starts.items():
            arms.setdefault(name, []).append(cost(instance, routes))
            for label, policy in (("trained local", local), ("untrained local", raw)):
                here = routes
                for level in range(LEVELS):
                    circle = rotated(instance, here, 1 if level else 0)
                    here = level_by_policy(policy, circle, pairs_of(instance, circle))
                arms.setdefault(f"{name} + {LEVELS} levels, {label}", []).append(cost(instance, here))
    rows = [[name, float(np.mean(values)), _bounds(values)] for name, values in arms.items()]
    return StageResult(
        gaps=_gaps(arms),
        tables=[Table("Held-out costs", ["arm", "mean cost", "95 % interval"], rows)],
        outputs={"arms": {name: float(np.mean(values)) for name, values in arms.items()}},
    )


def _bounds(values: list[float]) -> str:
    spread = bootstrap(values)
    return f"{spread.low:.3f} to {spread.high:.3f}"


def _gaps(arms: dict[str, list[float]]) -> list[Gap]:
    """Trained beside untrained, and the whole beside sweep: paired differences over instances."""
    whole, start = f"trained global + {LEVELS} levels, trained local", "sweep, one start"
    pairs = [
        ("cost of the global policy; baseline untrained", "trained global", "untrained global"),
        (f"cost after {LEVELS} levels from one sweep; baseline untrained", *_locals(start)),
        (f"cost of the whole after {LEVELS} levels; baseline one sweep", whole, start),
    ]
    out = []
    for metric, mine, base in pairs:
        spread = paired(arms[mine], arms[base])
        a, b = float(np.mean(arms[mine])), float(np.mean(arms[base]))
        out.append(Gap("score", metric, b, a, spread.low, spread.high, spread.n, paired=True))
    return out


def _locals(start: str) -> tuple[str, str]:
    return f"{start} + {LEVELS} levels, trained local", f"{start} + {LEVELS} levels, untrained local"
