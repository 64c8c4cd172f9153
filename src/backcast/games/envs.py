"""Gymnasium environments: one opponent, a mixture, or a split of opponents; single and vectorised.

Importing this file registers ``backcast/Opponent-v0``, ``backcast/Mixture-v0`` and ``backcast/Split-v0``.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from backcast.core.errors import BadInput
from backcast.games.memory import Automaton, Mixture, k_memory, load_strategy, parse_mixture, stationary, two_seats
from backcast.games.memory.windows import Windows, check_size
from backcast.games.numbers import check_discount, floats
from backcast.games.opponents import split as make_split
from backcast.games.problems import StochasticGame, load_game

MODES = ("full", "last-k", "state", "none", "type")
LIMIT = 1_000_000


class World:
    """What single and vectorised environments share: the game, the opponents, and how observations are numbered.

    ``full``: (state, type, its node); ``last-k``: (state, window of the last k joint actions); ``state``;
    ``none``; ``type``: (state, window, type), as if the drawn type were announced.
    """

    def __init__(self, game: StochasticGame | str, opponents: Mixture, **options: Any):
        self.game = load_game(game) if isinstance(game, str) else game
        self.player = 1 - opponents.player
        if len(self.game.players) != 2:
            raise BadInput(
                f"environment: '{self.game.name}' has {len(self.game.players)} players; see memory.two_seats"
            )
        self.types = [kind.check(self.game) for kind in opponents.types]
        self.weights = np.array([float(w) for w in opponents.weights])
        self.mode = str(options.get("observe", "last-k"))
        if self.mode not in MODES:
            raise BadInput(f"observe: '{self.mode}' is unknown; choose one of {', '.join(MODES)}")
        self.horizon = int(options.get("horizon", 60))
        if self.horizon < 1:
            raise BadInput(f"horizon: {self.horizon}; an episode has at least one step")
        rate = options.get("discount")
        self.discount = float(check_discount(self.game.discount if rate is None else rate))
        self.stops = bool(options.get("stop_by_discount", False))
        memory = int(options.get("k", 1)) if self.mode in ("last-k", "type") else 0
        check_size(self.game, memory, budget=LIMIT)
        self.windows = Windows(self.game.actions, memory)
        self.node_offset = np.concatenate([[0], np.cumsum([kind.nodes for kind in self.types])])
        self.size = self._count()

    def _count(self) -> int:
        states = len(self.game.states)
        counts = {
            "full": states * int(self.node_offset[-1]),
            "last-k": states * len(self.windows),
            "state": states,
            "none": 1,
            "type": states * len(self.windows) * len(self.types),
        }
        return counts[self.mode]

    def observe(self, state: Any, window: Any, kind: Any, node: Any) -> Any:
        """Number of the observation (ints or arrays)."""
        if self.mode == "none":
            return state * 0
        if self.mode == "state":
            return state
        if self.mode == "full":
            return state * self.node_offset[-1] + self.node_offset[kind] + node
        code = state * len(self.windows) + window
        return code if self.mode == "last-k" else code * len(self.types) + kind

    def read_out(self, scores: np.ndarray) -> tuple[Automaton, ...]:
        """Returns the policy that takes the best action of every observation; ``scores``: shape (size, actions).

        One strategy for everybody, or one for each type where observations tell types apart (full, type).
        """
        game, player, states = self.game, self.player, len(self.game.states)
        rows = np.eye(scores.shape[1])[scores.argmax(axis=1)]
        if self.mode == "none":
            return (stationary(game, player, rows[0], "agent"),)
        if self.mode == "full":
            table = rows.reshape(states, -1, rows.shape[1])
            return tuple(
                Automaton(player, game.actions, table[:, a:b], kind.next, kind.start, "agent", states=game.states)
                for kind, a, b in zip(self.types, self.node_offset[:-1], self.node_offset[1:], strict=True)
            )
        table = rows.reshape(states, len(self.windows), -1, rows.shape[1])
        return tuple(
            k_memory(game, player, self.windows.memory, table[:, :, i], "agent") for i in range(table.shape[2])
        )


class MatchEnv(gymnasium.Env[Any, Any]):
    """One match against one drawn opponent.

    The time limit truncates. With ``stop_by_discount`` a match also terminates with probability 1 - discount after each
    step, so that the undiscounted return has the discounted value as its mean.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, world: World):
        self.world = world
        self.action_space = spaces.Discrete(world.game.sizes[world.player])
        self.observation_space = spaces.Discrete(world.size)
        game = world.game
        self._weight = [int(np.prod(game.sizes[i + 1 :])) for i in range(2)]
        self._pay = game.payoff[world.player].tolist() if game.landing is None else None
        self._append = _shift_table(world)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draws an opponent (or takes ``options={"type": index}``) and begins a match."""
        super().reset(seed=seed)
        world = self.world
        given = (options or {}).get("type")
        self._kind = int(self.np_random.choice(len(world.types), p=world.weights)) if given is None else int(given)
        self._state = int(self.np_random.choice(len(world.game.states), p=floats(world.game.start)))
        self._node, self._window, self._step, self._total = world.types[self._kind].start, 0, 0, 0.0
        return self._seen(), {"type": world.types[self._kind].name}

    def _seen(self) -> Any:
        return np.int64(self.world.observe(self._state, self._window, self._kind, self._node))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one joint action; ``info`` names it and holds the discounted return so far."""
        world, game, s = self.world, self.world.game, self._state
        if not self.action_space.contains(action):
            raise BadInput(f"step: action {action!r} is not one of 0..{game.sizes[world.player] - 1}")
        kind = world.types[self._kind]
        chances = kind.chances[s % len(kind.play), self._node]
        reply = min(int(np.searchsorted(np.cumsum(chances), self.np_random.random(), side="right")), len(chances) - 1)
        joint = int(action) * self._weight[world.player] + reply * self._weight[1 - world.player]
        row = s * game.joint + joint
        begin, end = int(game.indptr[row]), int(game.indptr[row + 1])
        entry = begin
        if end - begin > 1:
            below = np.cumsum(game.kernel[begin:end])
            entry += min(int(np.searchsorted(below, self.np_random.random(), side="right")), end - begin - 1)
        reward = (
            float(self._pay[s][joint]) if self._pay is not None else float(floats(game.landing)[world.player, entry])
        )
        self._total += world.discount**self._step * reward
        self._node = int(kind.next[s % len(kind.next), self._node, joint])
        self._window = int(self._append[self._window, joint])
        self._state = int(game.next_state[entry])
        self._step += 1
        ended = bool(world.stops and self.np_random.random() >= world.discount)
        late = not ended and self._step >= world.horizon
        info = {"type": kind.name, "joint": game.joint_label(joint, world.player), "discounted": self._total}
        return self._seen(), reward, ended, late, info


class MatchVectorEnv(VectorEnv[Any, Any, Any]):
    """Many matches at once in numpy, each with its own drawn opponent; a finished match begins anew on its next
    step."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, world: World, num_envs: int = 1):
        self.world, self.num_envs = world, num_envs
        self.single_action_space = spaces.Discrete(world.game.sizes[world.player])
        self.single_observation_space = spaces.Discrete(world.size)
        self.action_space = spaces.MultiDiscrete([world.game.sizes[world.player]] * num_envs)
        self.observation_space = spaces.MultiDiscrete([world.size] * num_envs)
        game = world.game
        self._weight = [int(np.prod(game.sizes[i + 1 :])) for i in range(2)]
        self._append = _shift_table(world)
        nodes = int(world.node_offset[-1])
        states, size = len(game.states), game.sizes[1 - world.player]
        self._cumulative = np.empty((states, nodes, size))
        self._next = np.empty((states, nodes, game.joint), dtype=np.int64)
        for i, kind in enumerate(world.types):
            place = slice(world.node_offset[i], world.node_offset[i + 1])
            self._cumulative[:, place] = np.cumsum(kind.chances, axis=2)
            self._next[:, place] = kind.next
        self._start = np.array([kind.start for kind in world.types])

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins all matches."""
        del options
        if seed is not None or not hasattr(self, "_rng"):
            self._rng = np.random.default_rng(seed)
        self._kind, self._state, self._node, self._window, self._step = (
            np.zeros(self.num_envs, dtype=np.int64) for _ in range(5)
        )
        self._begin(np.ones(self.num_envs, dtype=bool))
        self._done = np.zeros(self.num_envs, dtype=bool)
        return self._seen(), {}

    def restart(self, kinds: np.ndarray) -> np.ndarray:
        """Begins all matches against given types; returns the observations (the built-in agent's groups)."""
        self._begin(np.ones(self.num_envs, dtype=bool))
        self._kind[:] = kinds
        self._node[:] = self._start[kinds]
        self._done[:] = False
        return self._seen()

    def _begin(self, which: np.ndarray) -> None:
        count, world = int(which.sum()), self.world
        self._kind[which] = self._rng.choice(len(world.types), size=count, p=world.weights)
        self._state[which] = self._rng.choice(len(world.game.states), size=count, p=floats(world.game.start))
        self._node[which] = self._start[self._kind[which]]
        self._window[which] = self._step[which] = 0

    def _seen(self) -> np.ndarray:
        return np.asarray(self.world.observe(self._state, self._window, self._kind, self._node), dtype=np.int64)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps every running match; those that had ended begin anew, with reward 0."""
        world, game, fresh = self.world, self.world.game, self._done
        place = world.node_offset[self._kind] + self._node
        draw = self._rng.random(self.num_envs)
        reply = np.minimum(
            (draw[:, None] >= self._cumulative[self._state, place]).sum(axis=1), self._cumulative.shape[2] - 1
        )
        joint = np.asarray(actions) * self._weight[world.player] + reply * self._weight[1 - world.player]
        row = self._state * game.joint + joint
        entry = self._land(row)
        if game.landing is None:
            reward = game.payoff[world.player].reshape(-1)[row]
        else:
            reward = floats(game.landing)[world.player][entry]
        self._node = self._next[self._state, place, joint]
        self._window = self._append[self._window, joint]
        self._state = game.next_state[entry].astype(np.int64)
        self._step += 1
        ended = np.zeros(self.num_envs, dtype=bool)
        if world.stops:
            ended = self._rng.random(self.num_envs) >= world.discount
        late = ~ended & (self._step >= world.horizon)
        if fresh.any():
            self._begin(fresh)
            reward = np.where(fresh, 0.0, reward)
            ended, late = ended & ~fresh, late & ~fresh
        self._done = ended | late
        return self._seen(), reward, ended, late, {}

    def _land(self, row: np.ndarray) -> np.ndarray:
        game = self.world.game
        entry, end = game.indptr[row].copy(), game.indptr[row + 1]
        draw, below = self._rng.random(self.num_envs), game.kernel[entry]
        while (move := (draw >= below) & (entry < end - 1)).any():
            entry = entry + move
            below = np.where(move, below + game.kernel[entry], below)
        return np.asarray(entry)


def _shift_table(world: World) -> np.ndarray:
    """Window after a joint action, shape (windows, joint)."""
    windows = world.windows
    return windows.append(np.arange(len(windows))[:, None], np.arange(windows.joint)[None, :])


def _world(kind: str, game: Any, options: dict[str, Any]) -> World:
    whole = load_game(game) if isinstance(game, str) else game
    loaded, seat = two_seats(whole, int(options.pop("player", 0)))
    other = 1 - seat
    if kind == "split":
        drawn = make_split(
            loaded, options.pop("train", "tft,allc"), options.pop("test", "grim,wsls"), other, options.pop("seed", 0)
        )
        opponents = drawn.test if options.pop("part", "train") == "test" else drawn.train
    elif kind == "mixture":
        given = options.pop("mixture", "tft:1,allc:1,alld:1,grim:1")
        opponents = parse_mixture(loaded, given, other) if isinstance(given, str) else given
    else:
        given = options.pop("opponent", "tft")
        one: Automaton = load_strategy(loaded, given, other) if isinstance(given, str) else given
        opponents = Mixture((one,), (1,))
    unknown = set(options) - {"observe", "k", "horizon", "discount", "stop_by_discount"}
    if unknown:
        raise BadInput(f"environment: unknown option '{sorted(unknown)[0]}'")
    return World(loaded, opponents, **options)


def opponent(game: Any = "ipd", **options: Any) -> MatchEnv:
    """``backcast/Opponent-v0``: options opponent, player (a seat, from 0), observe, k, horizon, discount,
    stop_by_discount; with more than two players opponents are written first&second."""
    return MatchEnv(_world("opponent", game, options))


def mixture(game: Any = "ipd", **options: Any) -> MatchEnv:
    """``backcast/Mixture-v0``: the same with mixture; a type is drawn for every match."""
    return MatchEnv(_world("mixture", game, options))


def split(game: Any = "ipd", **options: Any) -> MatchEnv:
    """``backcast/Split-v0``: the same with train, test, seed and part ('train' or 'test')."""
    return MatchEnv(_world("split", game, options))


def opponent_vector(num_envs: int = 1, game: Any = "ipd", **options: Any) -> MatchVectorEnv:
    """Vectorised ``backcast/Opponent-v0``."""
    return MatchVectorEnv(_world("opponent", game, options), num_envs)


def mixture_vector(num_envs: int = 1, game: Any = "ipd", **options: Any) -> MatchVectorEnv:
    """Vectorised ``backcast/Mixture-v0``."""
    return MatchVectorEnv(_world("mixture", game, options), num_envs)


def split_vector(num_envs: int = 1, game: Any = "ipd", **options: Any) -> MatchVectorEnv:
    """Vectorised ``backcast/Split-v0``."""
    return MatchVectorEnv(_world("split", game, options), num_envs)


def register() -> None:
    """Registers the three ids once; Gymnasium's plugin entry point may call it too."""
    for name, single, vector in (
        ("Opponent", opponent, opponent_vector),
        ("Mixture", mixture, mixture_vector),
        ("Split", split, split_vector),
    ):
        if f"backcast/{name}-v0" not in gymnasium.registry:
            gymnasium.register(id=f"backcast/{name}-v0", entry_point=single, vector_entry_point=vector)


register()
