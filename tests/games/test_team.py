"""Games of many as games of two: the same values, the same words, and learners that play them."""

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.games.agents import Training, train
from backcast.games.memory import load_strategy, parse_mixture, together, two_seats
from backcast.games.mixtures import bayes_value, ladder
from backcast.games.opponents import draw, split
from backcast.games.problems import load_game, pursuit
from backcast.games.score import gap_report
from backcast.games.solve import best_response, evaluate


@pytest.mark.parametrize("seed", range(4))
def test_a_team_is_its_members(oracles, seed):
    """Values of a profile do not change when the others are put together, whoever the learner is."""
    rng = np.random.default_rng(seed)
    game = oracles.any_game(rng, players=3 + seed % 2)
    profile = [oracles.any_machine(rng, game, seat) for seat in range(len(game.players))]
    whole = evaluate(game, profile, ".9").values
    for player, mine in enumerate(profile):
        view, seat = two_seats(game, player)
        team = together(view, [t for t in profile if t.player != player])
        _law, pay, start = oracles.dense_process(game, player, [t for t in profile if t.player != player])
        _other_law, other_pay, other_start = oracles.dense_process(view, seat, [team])
        assert start @ pay.max(axis=1) == pytest.approx(other_start @ other_pay.max(axis=1))
        if len(mine.next) == 1 and mine.nodes == 1:
            from dataclasses import replace

            moved = replace(mine, player=0, actions=view.actions, next=np.zeros((1, 1, view.joint), dtype=np.int32))
            assert evaluate(view, [moved, team], ".9").values[0] == pytest.approx(whole[player])
        assert best_response(view, team, seat, ".9").value == pytest.approx(
            best_response(game, [t for t in profile if t.player != player], player, ".9").value
        )


def test_two_players_are_left_alone_and_one_is_refused(ipd, oracles):
    """A game of two is its own view; with one player there is nobody to respond to."""
    assert two_seats(ipd, 1) == (ipd, 1)
    with pytest.raises(BadInput, match="has one player"):
        two_seats(oracles.any_game(np.random.default_rng(0), players=1), 0)


def test_pursuit_with_drawn_teams():
    """Pursuit: a team drawn for the whole match is worth at most what is known of it, and at least its induced play."""
    view, seat = two_seats(pursuit(3), 0)
    mixture = parse_mixture(view, "greedy&fleeing:1,greedy&always-stay:1", 1)
    rungs = ladder(view, mixture, seat, memory=0, nodes=400)
    assert rungs.memory[0].value <= rungs.bayes.upper + 1e-9
    assert rungs.bayes.lower <= rungs.clairvoyant + 1e-9
    names = [kind.name for kind in mixture.types]
    assert names == ["greedy&fleeing", "greedy&always-stay"]
    single = best_response(pursuit(3), [load_strategy(pursuit(3), n, i) for i, n in ((1, "greedy"), (2, "fleeing"))], 0)
    assert best_response(view, mixture.types[0], seat).value == pytest.approx(single.value)


def test_families_fill_every_seat_and_a_learner_hunts():
    """The grid family draws a teammate and a prey; tabular Q-learning in pursuit beats uniform play and stays below the
    best response, exactly."""
    view, _ = two_seats(pursuit(3), 0)
    drawn = split(view, "grid:n=2", "grid:n=2", 1, seed=3)
    assert drawn.train.types[0].play.shape[2] == 25
    agent = train(view, drawn.train, Training("q", k=0, steps=40_000, horizon=30), ".9")
    report = gap_report(view, agent.strategies, drawn.train, drawn.test, ".9", bayes=None)
    assert report.mean("train", "value") > report.mean("train", "uniform")
    assert all(one.regret >= 0 for one in report.opponents)
    assert len(draw(two_seats(load_game("ipd"), 0)[0], "moore:n=2", 1, 0)[0].types) == 2


def test_a_pure_team_is_exact(oracles):
    """Against pure teams the Bayes value is a fraction, and with one team the best response's."""
    game = oracles.any_game(np.random.default_rng(11), players=3, discount="1/2")
    view, seat = two_seats(game, 2)
    rng = np.random.default_rng(1)
    teams = [
        together(view, [oracles.any_machine(rng, game, i, pure=True) for i in (0, 1)], f"team {n}") for n in (1, 2)
    ]
    from backcast.games.memory import Mixture

    alone = bayes_value(view, Mixture((teams[0],), (1,)), seat)
    assert alone.exact == best_response(view, teams[0], seat).exact
    both = bayes_value(view, Mixture(tuple(teams), (1, 1)), seat)
    mean = (best_response(view, teams[0], seat).exact + best_response(view, teams[1], seat).exact) / 2
    assert both.exact <= mean
