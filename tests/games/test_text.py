"""Text problems: prompts that say everything, answers graded by exact evaluation."""

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.core.problem import Problem
from backcast.games.memory import load_strategy, two_seats, with_noise
from backcast.games.problems import load_game, repeated
from backcast.games.text import game_problem, move_records, value_record


def answer(problem, moves):
    """Text that names a move per situation."""
    return "I think so.\n" + "\n".join(f"{window}: {move}" for window, move in zip(problem.windows, moves, strict=True))


def test_an_optimal_answer_reaches_the_reference(ipd):
    """Cooperating for ever is optimal against TFT at .9; defecting for ever earns 14 of 30."""
    problem = game_problem(ipd, load_strategy(ipd, "tft", 1), 0.9)
    assert isinstance(problem, Problem)
    assert problem.score(answer(problem, "CCCCC")).gap == pytest.approx(0)
    assert problem.score(answer(problem, "CCCCC")).parts["optimal"] == 1
    assert problem.score(answer(problem, "DDDDD")).value == pytest.approx(14)


def test_an_unreadable_answer_is_unscored(ipd):
    """A missing situation or an unknown move leaves the value None, never 0."""
    problem = game_problem(ipd, load_strategy(ipd, "wsls", 1), 0.9)
    assert problem.score("start: C").value is None
    assert problem.score(answer(problem, "CCCCX")).value is None


def test_the_prompt_says_the_rule_and_the_payoffs(ipd):
    """The prompt holds the payoffs, the discount, the opponent's modes and one line per situation."""
    problem = game_problem(ipd, load_strategy(ipd, "grim", 1), 0.5)
    assert "you D, they C: 5 for you, 0 for them" in problem.prompt
    assert "0.5^t" in problem.prompt
    assert "Mode 2: it plays D" in problem.prompt
    assert value_record(ipd, load_strategy(ipd, "grim", 1), 0.5)["answer"] == "6"


def test_opponents_no_window_determines_are_refused(ipd):
    """A trembling grim cannot be asked about in windows."""
    with pytest.raises(BadInput, match="no window of past steps"):
        game_problem(ipd, with_noise(load_strategy(ipd, "grim", 1), 0.1))


def test_games_with_states_and_teams_are_told(ipd):
    """In the donation game a situation is led by its state and the prompt says where each row leads; the policy that
    answers the best moves reaches the reference, for player 2 and against a team as well."""
    donation = load_game("donation")
    told = game_problem(donation, load_strategy(donation, "wsls", 0), "9/10")
    assert "you C, they C: 1 for you, 1 for them; then rich" in told.prompt
    assert told.windows["rich: CD"] == ["D"]
    assert told.score(
        "\n".join(f"{window}: {moves[0]}" for window, moves in told.windows.items())
    ).gap == pytest.approx(0, abs=1e-12)
    pays = np.random.default_rng(0).integers(0, 5, (3, 2, 2, 2))
    view, seat = two_seats(repeated(pays, ("CD", "CD", "CD")), 1)
    team = load_strategy(view, "first&uniform", 1)
    told = game_problem(view, team)
    assert "with probability 1/2" in told.prompt
    assert told.score(
        "\n".join(f"{window}: {moves[0]}" for window, moves in told.windows.items())
    ).gap == pytest.approx(0, abs=1e-12)
    assert seat == 0


def test_letters_are_the_single_best_moves(ipd):
    """A move is asked where exactly one is best: Grim at 1/2 ties at the start and after CC, and nowhere else."""
    records = move_records(game_problem(ipd, load_strategy(ipd, "grim-memory-one", 1), "1/2"))
    assert len(records) == 3
    assert {record["answer"] for record in records} == {"B"}
    assert all("Answer with a letter." in record["prompt"] for record in records)
