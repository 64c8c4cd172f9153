"""Text problems: prompts that say everything, answers graded by exact evaluation."""

import pytest

from backcast.core.errors import BadInput
from backcast.core.problem import Problem
from backcast.games.memory import load_strategy, with_noise
from backcast.games.text import game_problem, value_record


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
    assert value_record(problem)["answer"] == "6"


def test_opponents_no_window_determines_are_refused(ipd):
    """A trembling grim cannot be asked about in windows."""
    with pytest.raises(BadInput, match="no window of past steps"):
        game_problem(ipd, with_noise(load_strategy(ipd, "grim", 1), 0.1))
