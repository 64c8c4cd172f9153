"""Learning agents, read out as tables of the last k steps so that they can be evaluated exactly.

Tabular Q-learning needs nothing; the policy-gradient agent is ``learn.reinforce`` (torch); DQN, PPO and
RecurrentPPO are the door to stable-baselines3 (optional).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.games.memory import Automaton, Mixture
from backcast.games.memory.windows import check_size
from backcast.games.numbers import check_discount, floats
from backcast.games.problems import StochasticGame


@dataclass(frozen=True)
class Training:
    """How an agent is trained."""

    agent: str = "q"
    """q, reinforce, dqn, ppo or recurrent."""
    k: int = 3
    """Steps of play the agent sees; its observation is (state, window of the last k joint actions)."""
    steps: int = 300_000
    """Environment steps (the command line's own: q and reinforce 300 000, dqn, ppo and recurrent 40 000)."""
    horizon: int = 60
    """Steps after which a training match is truncated; at discount .9 this leaves 0.2 % of the value."""
    learning_rate: float = 0.0
    """0: the agent's own default (q .05, dqn and ppo .001, reinforce .05)."""
    explore: float = 0.0
    """Share of the steps over which exploration falls from 1 to almost none (q, dqn); 0: q all of them, dqn half."""
    seed: int = 0
    observe: str = "last-k"
    """last-k, state, none, full or type, as in ``envs.World``."""


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained agent."""

    name: str
    strategies: tuple[Automaton, ...]
    """The policy as a table: one strategy, or one for each training type where the agent sees types; none where it has
    a memory of its own (recurrent)."""
    curve: list[list[float]] = field(default_factory=list)
    """[environment steps, mean discounted return of recent matches] during training."""
    model: Any = None
    """The network, for what cannot be tabulated."""

    @property
    def strategy(self) -> Automaton | None:
        """The one strategy, or None where there is none or one for each type."""
        return self.strategies[0] if len(self.strategies) == 1 else None


def train(game: StochasticGame, opponents: Mixture, training: Training, discount: Any = None) -> Agent:
    """Returns an agent trained against opponents drawn anew for every match.

    Raises BadInput for an unknown agent, and when its package is not installed.
    """
    if training.agent not in AGENTS:
        raise BadInput(f"agent: '{training.agent}' is unknown{nearest(training.agent, AGENTS)}")
    check_size(game, training.k)
    rate = float(check_discount(game.discount if discount is None else discount))
    return AGENTS[training.agent](game, opponents, training, rate)


def q_learning(game: StochasticGame, opponents: Mixture, training: Training, rate: float) -> Agent:
    """Tabular epsilon-greedy Q-learning on (state, window); truncation is bootstrapped through, never taken for an
    end."""
    world = _world(game, opponents, training, rate)
    match = _Match(world, random.Random(training.seed))
    actions, alpha = game.sizes[world.player], training.learning_rate or 0.05
    table = [[0.0] * actions for _ in range(world.size)]
    choose, steps = match.rng.random, training.steps
    falling = max(1.0, (training.explore or 1.0) * steps)
    curve: list[list[float]] = []
    recent: list[float] = []
    cell, age, total, weight = match.begin(), 0, 0.0, 1.0
    for step in range(steps):
        row = table[cell]
        epsilon = max(0.01, 1 - step / falling)
        action = int(choose() * actions) if choose() < epsilon else row.index(max(row))
        reward, after = match.step(action)
        row[action] += alpha * (reward + rate * max(table[after]) - row[action])
        total, weight, cell, age = total + weight * reward, weight * rate, after, age + 1
        if age == training.horizon:
            recent.append(total)
            cell, age, total, weight = match.begin(), 0, 0.0, 1.0
            if len(recent) == 100:
                curve.append([float(step + 1), sum(recent) / len(recent)])
                recent = []
    return Agent("q", world.read_out(np.array(table)), curve)


class _Match:
    """A match in plain Python lists, for agents that take one step at a time."""

    def __init__(self, world: Any, rng: random.Random):
        game, windows = world.game, world.windows
        self.world, self.game, self.rng, self.player = world, game, rng, world.player
        self.size, self.plain = len(windows), world.mode in ("last-k", "state")
        self.append = windows.append(np.arange(self.size)[:, None], np.arange(game.joint)[None, :]).tolist()
        self.types = [
            (
                [[list(accumulate(row)) for row in layer] for layer in kind.chances.tolist()],
                kind.next.tolist(),
                kind.start,
            )
            for kind in world.types
        ]
        self.weights = world.weights.tolist()
        self.starts = floats(game.start).tolist()
        self.pay = game.payoff[self.player].tolist()
        ends = list(zip(game.indptr[:-1].tolist(), game.indptr[1:].tolist(), strict=True))
        self.after = [(list(accumulate(game.kernel[a:b].tolist())), game.next_state[a:b].tolist()) for a, b in ends]
        self.own = int(np.prod(game.sizes[self.player + 1 :]))
        self.other = int(np.prod(game.sizes[2 - self.player :]))

    def begin(self) -> int:
        """Draws an opponent; returns the first cell."""
        self.index = self.rng.choices(range(len(self.types)), self.weights)[0]
        self.kind = self.types[self.index]
        self.state = self.rng.choices(range(len(self.starts)), self.starts)[0] if len(self.starts) > 1 else 0
        self.node, self.window = self.kind[2], 0
        return self._cell()

    def _cell(self) -> int:
        if self.plain:
            return self.state * self.size + self.window
        return int(self.world.observe(self.state, self.window, self.index, self.node))

    def step(self, action: int) -> tuple[float, int]:
        """Payoff and next cell."""
        play, following, _ = self.kind
        bounds = play[self.state % len(play)][self.node]
        reply = self._draw(bounds)
        joint = action * self.own + reply * self.other
        reward = self.pay[self.state][joint]
        self.node = following[self.state % len(following)][self.node][joint]
        self.window = self.append[self.window][joint]
        bounds, targets = self.after[self.state * self.game.joint + joint]
        self.state = targets[self._draw(bounds)] if len(targets) > 1 else targets[0]
        return reward, self._cell()

    def _draw(self, bounds: list[float]) -> int:
        if bounds[0] >= 1.0:
            return 0
        draw = self.rng.random()
        for index, bound in enumerate(bounds):
            if draw < bound:
                return index
        return len(bounds) - 1


def _world(game: StochasticGame, opponents: Mixture, training: Training, rate: float) -> Any:
    from backcast.games.envs import World

    seen = {"observe": training.observe, "k": training.k}
    return World(game, opponents, horizon=training.horizon, discount=rate, **seen)


def group_reinforce(game: StochasticGame, opponents: Mixture, training: Training, rate: float) -> Agent:
    """Policy gradient with group-relative credit: a group is K matches against the same drawn opponent.

    The policy is a table of logits over (state, window); the sample's return is discounted and truncated at the
    horizon.
    """
    import torch

    from backcast.games.envs import MatchVectorEnv
    from backcast.learn import reinforce

    torch.manual_seed(training.seed)
    attempts, groups = 16, len(opponents.types)
    world = _world(game, opponents, training, rate)
    logits = torch.nn.Parameter(torch.zeros(world.size, game.sizes[world.player]))
    kinds = np.repeat(np.arange(groups), attempts)
    env = MatchVectorEnv(world, groups * attempts)
    env.reset(seed=training.seed)
    steps = max(1, training.steps // (groups * attempts * training.horizon))
    weights = torch.tensor([float(w) * groups for w in opponents.weights])

    def draw(step: int) -> reinforce.Sample:
        del step
        seen = env.restart(kinds)
        total, weight = torch.zeros(groups * attempts), 1.0
        log_probs, entropy = torch.zeros(groups * attempts), torch.zeros(())
        for _ in range(training.horizon):
            law: Any = torch.distributions.Categorical(logits=logits[torch.as_tensor(seen)])
            action = law.sample()
            log_probs = log_probs + law.log_prob(action)
            entropy = entropy + law.entropy().mean() / training.horizon
            seen, reward, *_ = env.step(action.numpy())
            total, weight = total + weight * torch.as_tensor(reward, dtype=torch.float32), weight * rate
        shape = (groups, attempts)
        return reinforce.Sample(total.reshape(shape), log_probs.reshape(shape) * weights[:, None], entropy)

    settings = reinforce.Settings(learning_rate=training.learning_rate or 0.05, entropy_bonus=0.05)
    log = reinforce.train(draw, [logits], steps, settings)
    scale = groups * attempts * training.horizon
    curve = [[float((i + 1) * scale), one.reward] for i, one in enumerate(log)]
    return Agent("reinforce", world.read_out(logits.detach().numpy()), curve)


def stable_baselines(game: StochasticGame, opponents: Mixture, training: Training, rate: float) -> Agent:
    """DQN, PPO or RecurrentPPO of stable-baselines3 with a two-layer network, read out as a table where possible."""
    try:
        import stable_baselines3 as sb3
        from stable_baselines3.common.logger import configure
    except ImportError:
        raise BadInput(
            f"agent '{training.agent}': stable-baselines3 is not installed; pip install stable-baselines3"
        ) from None
    from backcast.games.envs import MatchEnv

    rng = np.random.default_rng(training.seed)
    world = _world(game, opponents, training, rate)
    env = MatchEnv(world)
    env.reset(seed=int(rng.integers(2**31)))
    common: dict[str, Any] = {
        "gamma": rate,
        "learning_rate": training.learning_rate or 1e-3,
        "seed": training.seed,
        "device": "cpu",
    }
    rollout: dict[str, Any] = {"n_steps": 1024, "batch_size": 128, "ent_coef": 0.01}
    if training.agent == "dqn":
        model: Any = sb3.DQN("MlpPolicy", env, exploration_fraction=training.explore or 0.5, train_freq=4, **common)
    elif training.agent == "ppo":
        model = sb3.PPO("MlpPolicy", env, **rollout, **common)
    else:
        model = _recurrent()("MlpLstmPolicy", env, **rollout, **common)
    model.set_logger(configure(None, []))
    model.learn(training.steps)
    if training.agent == "recurrent":
        return Agent("recurrent", (), [], model)
    cells = np.arange(world.size)
    actions, _ = model.predict(cells, deterministic=True)
    scores = np.eye(game.sizes[world.player])[np.asarray(actions).reshape(-1)]
    return Agent(training.agent, world.read_out(scores), [], model)


def _recurrent() -> Any:
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError:
        raise BadInput("agent 'recurrent': sb3-contrib is not installed; pip install sb3-contrib") from None
    return RecurrentPPO


AGENTS: dict[str, Callable[[StochasticGame, Mixture, Training, float], Agent]] = {
    "q": q_learning,
    "reinforce": group_reinforce,
    "dqn": stable_baselines,
    "ppo": stable_baselines,
    "recurrent": stable_baselines,
}
