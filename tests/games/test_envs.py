"""Gymnasium environments: the checker, truncation and termination, and returns that match exact values."""

import numpy as np
import pytest

from backcast.core.errors import BadInput

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402

import backcast.games.envs as envs  # noqa: E402
from backcast.games.memory import Mixture, load_strategy, named_automaton, together, two_seats  # noqa: E402
from backcast.games.problems import load_game, random_game  # noqa: E402
from backcast.games.solve import evaluate  # noqa: E402


@pytest.mark.parametrize("name", ["Opponent", "Mixture", "Split"])
@pytest.mark.parametrize("mode", envs.MODES)
@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")
def test_the_checker_passes(name, mode):
    """Gymnasium's own check passes for every registered id and observation mode."""
    check_env(gymnasium.make(f"backcast/{name}-v0", observe=mode, k=2).unwrapped, skip_render_check=True)


def test_a_time_limit_truncates_and_never_terminates():
    """After the horizon a match is truncated; nothing terminates it."""
    env = gymnasium.make("backcast/Opponent-v0", horizon=5).unwrapped
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_discount_terminations_make_returns_discounted_values():
    """With matches stopped at rate 1 - discount the mean UNdiscounted return is the exact discounted value."""
    game = load_game("ipd")
    env = gymnasium.make_vec(
        "backcast/Opponent-v0",
        4000,
        "vector_entry_point",
        opponent="gtft",
        stop_by_discount=True,
        horizon=400,
        discount=0.8,
    )
    env.reset(seed=1)
    running, total = np.ones(4000, dtype=bool), np.zeros(4000)
    for _ in range(120):
        _, reward, ended, late, _ = env.step(np.ones(4000, dtype=int))
        assert not late.any()
        total += np.where(running, reward, 0)
        running &= ~ended
    exact = evaluate(game, [named_automaton(game, "alld", 0), load_strategy(game, "gtft", 1)], 0.8).values[0]
    assert abs(total.mean() - exact) < 4 * total.std() / np.sqrt(4000)


def test_discounted_returns_match_exact_values_in_a_game_with_states():
    """The vectorised environment's discounted return under uniform play lies around the exact value."""
    game = random_game(3, (2, 2), 2, seed=4, discount=0.7)
    opponent = named_automaton(game, "uniform", 1)
    env = envs.opponent_vector(5000, game, opponent=opponent, horizon=60)
    env.reset(seed=2)
    rng, total = np.random.default_rng(0), np.zeros(5000)
    for step in range(40):
        _, reward, *_ = env.step(rng.integers(0, 2, 5000))
        total += 0.7**step * reward
    exact = evaluate(game, [named_automaton(game, "uniform", 0), opponent]).values[0]
    assert abs(total.mean() - exact) < 4 * total.std() / np.sqrt(5000)


def test_single_and_vector_agree_move_by_move():
    """Against a pure opponent both environments give the same rewards and observations."""
    moves = np.random.default_rng(3).integers(0, 2, 30)
    single = envs.opponent("ipd", opponent="tf2t", k=3)
    vector = envs.opponent_vector(2, "ipd", opponent="tf2t", k=3)
    first, _ = single.reset(seed=0)
    many, _ = vector.reset(seed=0)
    assert first == many[0]
    for move in moves:
        seen, reward, *_ = single.step(int(move))
        all_seen, all_reward, *_ = vector.step(np.full(2, move))
        assert seen == all_seen[1]
        assert reward == all_reward[0]


def test_observation_modes_hide_what_they_say():
    """'none' is constant, 'state' has one value in a one-state game, 'type' tells types apart before the first move."""
    sizes = {mode: envs.mixture("ipd", observe=mode, k=1).observation_space.n for mode in envs.MODES}
    assert sizes == {"full": 17, "last-k": 5, "state": 1, "none": 1, "type": 20}
    env = envs.mixture("ipd", observe="type", k=1)
    assert len({int(env.reset(options={"type": kind})[0]) for kind in range(4)}) == 4
    assert env.reset(options={"type": 2})[1] == {"type": "alld"}


def test_a_finished_match_begins_anew():
    """The vector environment resets on the step after an end, with reward 0 and the first observation."""
    env = envs.opponent_vector(3, "ipd", horizon=2, k=1)
    first, _ = env.reset(seed=0)
    env.step(np.ones(3, dtype=int))
    *_, late, _ = env.step(np.ones(3, dtype=int))
    assert late.all()
    seen, reward, _, late, _ = env.step(np.ones(3, dtype=int))
    assert (seen == first).all()
    assert (reward == 0).all()
    assert not late.any()


def test_bad_options():
    """Unknown modes, options and actions are refused in words."""
    with pytest.raises(BadInput, match="observe: 'everything'"):
        envs.opponent("ipd", observe="everything")
    with pytest.raises(BadInput, match="unknown option 'colour'"):
        envs.opponent("ipd", colour="red")
    with pytest.raises(BadInput, match="horizon: 0"):
        envs.opponent("ipd", horizon=0)
    env = envs.opponent("ipd")
    env.reset(seed=0)
    with pytest.raises(BadInput, match="action 7"):
        env.step(7)


@pytest.mark.parametrize("mode", envs.MODES)
@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")
def test_the_checker_passes_in_other_games(oracles, mode):
    """The check passes in pursuit against teams, and in a random game with R(s, a, s') as player 2."""
    rng = np.random.default_rng(5)
    made = [
        envs.opponent("pursuit:3", opponent="greedy&fleeing", observe=mode, k=0),
        envs.mixture("pursuit:3", mixture="greedy&uniform:1,uniform:2", observe=mode, k=0, player=2),
        envs.split("pursuit:3", train="grid:n=2", test="grid:n=2", observe=mode, k=0, part="test"),
    ]
    game = oracles.any_game(rng, players=2, landing=True)
    made.append(envs.opponent(game, opponent=oracles.any_machine(rng, game, 0), player=1, observe=mode))
    for env in made:
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("seed", range(4))
def test_random_environments_pay_exact_values(oracles, seed):
    """Single and vectorised environments of random games (player 2, R(s, a, s') and three players included) pay, on
    average, the exact value of uniform play against the drawn type."""
    rng = np.random.default_rng(seed)
    game = oracles.any_game(rng, players=2 + seed % 2, landing=seed < 2, discount="1/2")
    player = int(rng.integers(len(game.players)))
    view, seat = two_seats(game, player)
    types = []
    for name in ("one", "two"):
        parts = [oracles.any_machine(rng, game, i) for i in range(len(game.players)) if i != player]
        types.append(parts[0].renamed(name) if view.team is None else together(view, parts, name))
    mixture = Mixture(tuple(types), (1, 3))
    uniform = named_automaton(view, "uniform", seat)
    exact = sum(
        float(w) * evaluate(view, [uniform, t]).values[seat] for w, t in zip(mixture.weights, types, strict=True)
    )
    world = envs.World(view, mixture, horizon=30)
    many = envs.MatchVectorEnv(world, 4000)
    many.reset(seed=seed)
    total = np.zeros(4000)
    for step in range(25):
        _, reward, *_ = many.step(rng.integers(0, view.sizes[seat], 4000))
        total += 0.5**step * reward
    assert abs(total.mean() - exact) < 4.5 * total.std() / np.sqrt(4000) + 1e-6
    single, sums = envs.MatchEnv(world), []
    for match in range(400):
        single.reset(seed=match)
        *_, info = [single.step(int(a)) for a in rng.integers(0, view.sizes[seat], 20)][-1]
        sums.append(info["discounted"])
    assert abs(np.mean(sums) - exact) < 4.5 * np.std(sums) / np.sqrt(400) + 1e-4
