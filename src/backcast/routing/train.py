"""Training the global and the local policy: REINFORCE with a shared baseline, or imitation of refined solutions.

Both minimise one objective, minus the mean of weight times log-probability of a partition (2502.08340): the weight is
the advantage within samples of one instance (rl), or 1 for a refined partition (sl). Every step draws its instances
from its own number, so a training that is stopped and resumed takes the same steps.
"""

import math
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
from backcast.routing.attention import (
    Attention,
    AttentionShape,
    State,
    decoded_by_attention,
    followed,
    log_probabilities_of,
)
from backcast.routing.nets import AnyPolicy, AnyShape, gather, make_board, make_policy
from backcast.routing.partition import groups, improves, rotated
from backcast.routing.policy import episodes, log_probabilities, policy_groups, policy_routes, polished
from backcast.routing.problems import Instance, uniform
from backcast.routing.process import Board, actions_of, replay, routes_of_actions
from backcast.routing.score import cost
from backcast.routing.search.ground import make_ground
from backcast.routing.subsolve import Sub, cut_out

How = Literal["rl", "sl"]
Reward = Literal["before", "after"]
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
    """Adam's at the start, it falls to 0 along a cosine; the paper's 3e-4 suits its longer training."""
    entropy: float = 0.01
    """Weight of the cross-entropy from uniform rows; the paper has 0.1 (global) and 0.005 (local)."""
    refine: int = 3000
    """Iterations of the room's own search that turn a decoded partition into a label (sl)."""
    levels: int = 3
    """Local: up to so many greedy levels come before the one that is trained on."""
    reward: Reward = "before"
    """Global (rl): the cost before the local levels, the released program's way, or after them, the paper's stated
    objective; that needs a local policy."""
    reward_levels: int = 1
    """Greedy levels of the local policy that come before the reward "after"; the paper has 5."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in ("rl", "sl"):
            raise ValueError(f"how '{self.how}' is unknown; choose rl or sl")
        if self.reward not in ("before", "after"):
            raise ValueError(f"reward '{self.reward}' is unknown; choose before or after")
        bounded(self, "size instances refine reward_levels", 1)
        bounded(self, "samples", 2)
        bounded(self, "learning_rate", 0, above=True)
        bounded(self, "entropy levels seed", 0)


@dataclass
class Trainee:
    """A policy under training, with what a bit-equal continuation needs."""

    policy: AnyPolicy
    optimizer: torch.optim.Optimizer
    step: int
    log: list[dict[str, float]]

    def anneal(self, learning_rate: float, share: float) -> None:
        """Sets the learning rate to a share of its cosine."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * (1 + math.cos(math.pi * share)) / 2

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        state = {"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "shape": asdict(self.policy.shape), "step": self.step, "log": self.log}, part)
        part.replace(path)


def begin(shape: AnyShape, training: Training) -> Trainee:
    """A policy with random weights and its optimiser; raises BadInput for attention by REINFORCE, whose every sampled
    step would have to be encoded again with a gradient."""
    if isinstance(shape, AttentionShape) and training.how == "rl":
        raise BadInput("the attention policy is trained by imitation only; add --how sl, or use --net graph")
    policy = make_policy(shape, training.seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=training.learning_rate, weight_decay=WEIGHT_DECAY)
    return Trainee(policy, optimizer, 0, [])


def resume(path: Path, shape: AnyShape, training: Training) -> Trainee:
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


def local_tasks(training: Training, first: AnyPolicy, local: AnyPolicy) -> Tasks:
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


def level_by_policy(
    policy: AnyPolicy, circle: list[list[int]], subs: Sequence[Sub], samples: int = 0
) -> list[list[int]]:
    """One level: every pair partitioned again by the policy, accepted by the paper's rule."""
    del circle
    new = policy_groups(policy, [(sub.instance, sub.routes) for sub in subs], samples)
    return accepted(subs, new)


def train(
    trainee: Trainee,
    tasks: Tasks,
    training: Training,
    spent: Callable[[int], float],
    local: AnyPolicy | None = None,
) -> Iterator[dict[str, float]]:
    """Steps until ``spent(step)``, the share of the budget that is used up, is 1; the learning rate falls with it along
    a cosine (the paper's). Yields what each step saw: mean cost, loss, share of flat groups, gradient norm.

    The reward "after" needs ``local``, whose levels come before it; then also the share of partitions that they made
    cheaper is told.
    """
    if (training.reward == "after") != (local is not None):
        raise BadInput(f"reward '{training.reward}' {'needs a' if local is None else 'takes no'} local policy")
    policy, shape = trainee.policy, trainee.policy.shape
    torch.set_num_threads(1)
    while (share := spent(trainee.step)) < 1:
        begun = time.process_time()
        trainee.anneal(training.learning_rate, share)
        drawn = tasks(trainee.step)
        boards = [make_board(task.instance, shape, task.most) for task in drawn]
        loss, seen = _loss(policy, drawn, boards, (training, local), trainee.step)
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
    how: tuple[Training, AnyPolicy | None],
    step: int,
) -> tuple[torch.Tensor, dict[str, float]]:
    """The policy-gradient loss: samples of one instance are each other's baseline."""
    (graphs, scores, starts), (training, local) = out, how
    tried = episodes(graphs, scores.detach(), starts.detach(), boards, training.samples, training.seed * 7 + step)
    partitions, costs, logs = [], [], []
    for k, (task, board) in enumerate(zip(drawn, boards, strict=True)):
        a, b = graphs.offsets[k], graphs.offsets[k + 1]
        ground = make_ground(task.instance, 0)
        ended = [polished(ground, routes_of_actions(actions)) for actions in tried[k]]
        partitions.append([routes for routes, _ in ended])
        costs.append([value for _, value in ended])
        logs.append(log_probabilities([replay(board, actions) for actions in tried[k]], scores[a:b], starts[a:b]))
    seen, earned = {"cost": float(np.mean(costs))}, -torch.tensor(costs, dtype=torch.float32)
    if local is not None:
        after = costs_after(local, [task.instance for task in drawn], partitions, training.reward_levels)
        seen |= {"after": float(after.mean()), "improved": float((after < np.array(costs) - 1e-9).mean())}
        earned = -torch.tensor(after, dtype=torch.float32)
    sample = Sample(earned, torch.stack(logs), _uniformity(graphs, scores))
    loss = objective(sample, Reinforce(convention="center", entropy_bonus=training.entropy))
    flat = (earned.max(1).values == earned.min(1).values).float().mean()
    return loss, {**seen, "flat": float(flat)}


def costs_after(
    local: AnyPolicy, instances: Sequence[Instance], partitions: Sequence[Sequence[list[list[int]]]], levels: int
) -> np.ndarray:
    """Costs after so many greedy levels of the local policy of every partition: (instances, samples). The pairs of all
    partitions go through the network together."""
    here = [(instance, routes) for instance, tries in zip(instances, partitions, strict=True) for routes in tries]
    for level in range(levels):
        cut = [pairs_of(one, rotated(one, routes, 1 if level else 0)) for one, routes in here]
        new = policy_groups(local, [(sub.instance, sub.routes) for subs in cut for sub in subs]) if here else []
        at = 0
        for k, subs in enumerate(cut):
            here[k] = (here[k][0], accepted(subs, new[at : at + len(subs)]))
            at += len(subs)
    costs = [cost(instance, routes) for instance, routes in here]
    return np.array(costs).reshape(len(instances), -1)


def accepted(subs: Sequence[Sub], new: Sequence[list[list[int]]]) -> list[list[int]]:
    """The routes of a level: a pair's new ones where the paper's rule takes them, else its old ones."""
    kept = [n if improves(s.instance, n, s.routes) else s.routes for n, s in zip(new, subs, strict=True)]
    return [route for sub, routes in zip(subs, kept, strict=True) for route in sub.back(routes)]


def _loss(
    policy: AnyPolicy, drawn: Sequence[Task], boards: Sequence[Board], how: tuple[Training, AnyPolicy | None], step: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """One step's loss and what it saw, by network and by how it is trained."""
    training = how[0]
    if isinstance(policy, Attention):
        return _imitate_steps(policy, drawn, boards, training, step)
    policy.train()
    graphs = gather(boards, policy.shape)
    scores, starts = policy(graphs)
    out = (graphs, scores, starts)
    if training.how == "sl":
        return _imitate(drawn, boards, out, training, step)
    return _reinforce(drawn, boards, out, how, step)


def _label(task: Task, actions: np.ndarray, training: Training, step: int) -> tuple[list[list[int]], float]:
    """A decoded partition refined by the room's own search, the fullest routes first (as the authors order their
    labels); and the cost before."""
    from backcast.routing.hlgp import Settings, solve

    routes, before = polished(make_ground(task.instance, 0), routes_of_actions(actions))
    label = solve(task.instance, settings=Settings(iterations=training.refine, seed=step), routes=routes)
    return sorted(label.routes, key=lambda route: -int(task.instance.demands[route].sum())), before


def _imitate(
    drawn: Sequence[Task],
    boards: Sequence[Board],
    out: tuple[Any, torch.Tensor, torch.Tensor],
    training: Training,
    step: int,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Minus the log-probability per step of refined partitions: decode, refine by the room's own search, imitate."""
    graphs, scores, starts = out
    tried = episodes(graphs, scores.detach(), starts.detach(), boards, 1, training.seed * 7 + step)
    losses, costs, off, steps = [], [], 0, 0
    for k, (task, board) in enumerate(zip(drawn, boards, strict=True)):
        a, b = graphs.offsets[k], graphs.offsets[k + 1]
        routes, before = _label(task, tried[k][0], training, step)
        found = replay(board, actions_of(routes))
        losses.append(-log_probabilities([found], scores[a:b], starts[a:b])[0] / max(1, len(found.rows)))
        costs.append(before)
        off, steps = off + found.off, steps + len(found.rows) + found.off
    loss = torch.stack(losses).mean() - training.entropy * _uniformity(graphs, scores)
    return loss, {"cost": float(np.mean(costs)), "off_list": off / max(1, steps)}


STATES = 512
"""States of a step's labels that the attention policy learns from, drawn at random."""


def _imitate_steps(
    policy: Attention, drawn: Sequence[Task], boards: Sequence[Board], training: Training, step: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """Minus the mean log-probability of single steps of refined partitions, each from its own rest of the problem."""
    tried = decoded_by_attention(policy, boards, 1, training.seed * 7 + step)
    rng, costs, off = np.random.default_rng([training.seed + 2, step]), list[float](), 0
    states, taken = list[State](), list[int]()
    for task, board, actions in zip(drawn, boards, tried, strict=True):
        routes, before = _label(task, actions[0], training, step)
        found, ways, left_out = followed(board, policy.shape.near, routes)
        states, taken, off = states + found, taken + ways, off + left_out
        costs.append(before)
    if not states:
        raise WorkFailed(f"no step of the labels has a probability at step {step}; give the policy more neighbours")
    share = off / (off + len(states))
    chosen = rng.permutation(len(states))[:STATES]
    policy.train()
    logs = log_probabilities_of(policy, [states[k] for k in chosen])
    picked = logs.gather(1, torch.tensor([[taken[k]] for k in chosen]))
    return -picked.mean(), {"cost": float(np.mean(costs)), "off_list": share}
