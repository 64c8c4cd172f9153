"""Small helpers shared by the tests of this room."""

import importlib.util
from pathlib import Path

import pytest

from backcast.games.memory import load_strategy
from backcast.games.problems import load_game
from backcast.games.solve import best_response


@pytest.fixture(scope="session")
def ipd():
    return load_game("ipd")


@pytest.fixture(scope="session")
def reply():
    """Best response of player 1 to a strategy given by text or as an automaton."""

    def answer(game, opponent, discount, **options):
        automaton = load_strategy(game, opponent, 1) if isinstance(opponent, str) else opponent
        return best_response(game, automaton, 0, discount, **options)

    return answer


@pytest.fixture(scope="session")
def oracles():
    """The plain-loop oracles beside this file."""
    spec = importlib.util.spec_from_file_location("oracles", Path(__file__).with_name("oracles.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
