"""Training the global and the local policy: REINFORCE with a shared baseline, or imitation of refined solutions.

Both minimise one objective, minus the mean of weight times log-probability of a partition (2502.08340): the weight is
the advantage within samples of one instance (rl), or 1 for a refined partition (sl). Every step draws its instances
from its own number, so a training that is stopped and resumed takes the same steps.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.params import bounded
from backcast.learn.reinforce import Sample, objective
from backcast.learn.reinforce import Settings as Reinforce
from backcast.routing.nets import Policy, Shape, gather, make_board, make_policy
from backcast.routing.partition import groups, improves, rotated
from backcast.routing.policy import episodes, log_probabilities, policy_groups, policy_routes, polished
from backcast.routing.problems import Instance, uniform
from backcast.routing.process import Board, actions_of, replay, routes_of_actions
from backcast.routing.search.ground import make_ground
from backcast.routing.subsolve import Sub, cut_out

How = Literal["rl", "sl"]
WEIGHT_DECAY = 1e-6
"""The paper's."""


@dataclass(frozen=True)
class Training:
    """How a policy is trained."""

    how: How = "rl"
    size: int = 200
    """Customers of the drawn instances; the paper trains on 1,000."""
    instances: int = 8
    """Per step; the paper has 5 (global) and 2 (local)."""
    samples: int = 16
    """Partitions sampled for each (rl); the paper has 20."""
    learning_rate: float = 3e-3
    """Adam's; the paper's 3e-4 suits its longer training."""
    entropy: float = 0.01
    """Weight of the cross-entropy from uniform rows; the paper has 0.1 (global) and 0.005 (local)."""
    refine: int = 3000
    """Iterations of the room's own search that turn a decoded partition into a label (sl)."""
    levels: int = 3
    """Local: up to so many greedy levels come before the one that is trained on."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in ("rl", "sl"):
            raise ValueError(f"how '{self.how}' is unknown; choose rl or sl")
        bounded(self, "size instances refine", 1)
        bounded(self, "samples", 2)
        bounded(self, "learning_rate", 0, above=True)
        bounded(self, "entropy levels seed", 0)


@dataclass
class Trainee:
    """A policy under training, with what a bit-equal continuation needs."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    step: int
    log: list[dict[str, float]]

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        state = {"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "shape": asdict(self.policy.shape), "step": self.step, "log": self.log}, part)
        part.replace(path)


def begin(shape: Shape, training: Training) -> Trainee:
    """A policy with random weights and its optimiser."""
    policy = make_policy(shape, training.seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=training.learning_rate, weight_decay=WEIGHT_DECAY)
    return Trainee(policy, optimizer, 0, [])


def resume(path: Path, shape: Shape, training: Training) -> Trainee:
    """The trainee of a checkpoint; raises BadInput for one of another architecture."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["shape"] != asdict(shape):
        raise BadInput(f"'{path}' is of another architecture ({state['shape']}); use another folder")
    trainee = begin(shape, training)
    trainee.policy.load_state_dict(state["policy"])
    trainee.optimizer.load_state_dict(state["optimizer"])
    trainee.step, trainee.log = state["step"], state["log"]
    return trainee


Tasks = Callable[[int], "list[Task]"]


@dataclass(frozen=True)
class Task:
    """One instance (or pair of routes) to partition."""

    instance: Instance
    most: int | None
    """Vehicles for the fleet mask; None: what the demand needs and one more."""


def global_tasks(training: Training) -> Tasks:
    """Fresh instances for every step."""

    def draw(step: int) -> list[Task]:
        rng = np.random.default_rng([training.seed, step])
        return [Task(uniform(training.size, rng), None) for _ in range(training.instances)]

    return draw


def local_tasks(training: Training, first: Policy, local: Policy) -> Tasks:
    """Pairs of neighbouring routes: instances partitioned by the frozen global policy, then 0 to ``levels`` - 1 greedy
    levels of the local policy as it stands, then the pairs of the next level."""

    def draw(step: int) -> list[Task]:
        rng = np.random.default_rng([training.seed + 1, step])
        tasks = []
        for k in range(max(1, training.instances // 4)):
            instance = uniform(training.size, rng)
            routes = policy_routes(first, instance, samples=1, seed=step * 100 + k)
            for level in range(step % max(1, training.levels) + 1):
                circle = rotated(instance, routes, 1 if level else 0)
                subs = pairs_of(instance, circle)
                if level < step % max(1, training.levels):
                    routes = level_by_policy(local, circle, subs)
            tasks += [Task(sub.instance, len(sub.routes)) for sub in subs if len(sub.routes) == 2]
        local.train()
        return tasks

    return draw


def pairs_of(instance: Instance, circle: Sequence[list[int]]) -> list[Sub]:
    """The level's pairs (the odd route alone) as instances of their own."""
    return [cut_out(instance, [circle[k] for k in group]) for group in groups(len(circle), 2)]


def level_by_policy(policy: Policy, circle: list[list[int]], subs: Sequence[Sub], samples: int = 0) -> list[list[int]]:
    """One level: every pair partitioned again by the policy, accepted by the paper's rule."""
    del circle
    new = policy_groups(policy, [(sub.instance, sub.routes) for sub in subs], samples)
    kept = [n if improves(s.instance, n, s.routes) else s.routes for n, s in zip(new, subs, strict=True)]
    return [route for sub, routes in zip(subs, kept, strict=True) for route in sub.back(routes)]


def train(
    trainee: Trainee, tasks: Tasks, training: Training, until: Callable[[int], bool]
) -> Iterator[dict[str, float]]:
    """Steps until ``until(step)``; yields what each saw: mean cost, loss, share of flat groups, gradient norm."""
    policy, shape = trainee.policy, trainee.policy.shape
    torch.set_num_threads(1)
    while not until(trainee.step):
        begun = time.process_time()
        drawn = tasks(trainee.step)
        boards = [make_board(task.instance, shape, task.most) for task in drawn]
        policy.train()
        graphs = gather(boards, shape)
        scores, starts = policy(graphs)
        loss, seen = (_reinforce if training.how == "rl" else _imitate)(
            drawn, boards, (graphs, scores, starts), training, trainee.step
        )
        if not torch.isfinite(loss):
            raise WorkFailed(f"the loss is {loss.item()} at step {trainee.step}; lower the learning rate")
        trainee.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        trainee.optimizer.step()
        trainee.step += 1
        row = {"step": trainee.step, "loss": float(loss.detach()), "gradient": float(norm), **seen}
        trainee.log.append({**row, "cpu_seconds": time.process_time() - begun})
        yield row


def _uniformity(graphs: Any, scores: torch.Tensor) -> torch.Tensor:
    """Mean log-probability of a row's candidates: minus the cross-entropy from the uniform row (the paper's term)."""
    logs = torch.log_softmax(scores, dim=1)
    return logs[graphs.valid].mean()


def _reinforce(
    drawn: Sequence[Task],
    boards: Sequence[Board],
    out: tuple[Any, torch.Tensor, torch.Tensor],
    training: Training,
    step: int,
) -> tuple[torch.Tensor, dict[str, float]]:
    """The policy-gradient loss: samples of one instance are each other's baseline."""
    graphs, scores, starts = out
    tried = episodes(graphs, scores.detach(), starts.detach(), boards, training.samples, training.seed * 7 + step)
    rewards, logs = [], []
    for k, (task, board) in enumerate(zip(drawn, boards, strict=True)):
        a, b = graphs.offsets[k], graphs.offsets[k + 1]
        ground = make_ground(task.instance, 0)
        rewards.append([-polished(ground, routes_of_actions(actions))[1] for actions in tried[k]])
        logs.append(log_probabilities([replay(board, actions) for actions in tried[k]], scores[a:b], starts[a:b]))
    earned = torch.tensor(rewards, dtype=torch.float32)
    sample = Sample(earned, torch.stack(logs), _uniformity(graphs, scores))
    loss = objective(sample, Reinforce(convention="center", entropy_bonus=training.entropy))
    flat = (earned.max(1).values == earned.min(1).values).float().mean()
    return loss, {"cost": float(-earned.mean()), "flat": float(flat)}


def _imitate(
    drawn: Sequence[Task],
    boards: Sequence[Board],
    out: tuple[Any, torch.Tensor, torch.Tensor],
    training: Training,
    step: int,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Minus the log-probability per step of refined partitions: decode, refine by the room's own search, imitate."""
    from backcast.routing.hlgp import Settings, solve

    graphs, scores, starts = out
    tried = episodes(graphs, scores.detach(), starts.detach(), boards, 1, training.seed * 7 + step)
    losses, costs, off, steps = [], [], 0, 0
    for k, (task, board) in enumerate(zip(drawn, boards, strict=True)):
        a, b = graphs.offsets[k], graphs.offsets[k + 1]
        routes, before = polished(make_ground(task.instance, 0), routes_of_actions(tried[k][0]))
        label = solve(task.instance, settings=Settings(iterations=training.refine, seed=step), routes=routes)
        # The fullest routes first, as the authors order their labels.
        load = {tuple(route): int(task.instance.demands[route].sum()) for route in label.routes}
        ordered = sorted(label.routes, key=lambda route: -load[tuple(route)])
        found = replay(board, actions_of(ordered))
        losses.append(-log_probabilities([found], scores[a:b], starts[a:b])[0] / max(1, len(found.rows)))
        costs.append(before)
        off, steps = off + found.off, steps + len(found.rows) + found.off
    loss = torch.stack(losses).mean() - training.entropy * _uniformity(graphs, scores)
    return loss, {"cost": float(np.mean(costs)), "off_list": off / max(1, steps)}
