"""Families, splits without leaks, manifests, and the door to Axelrod."""

import importlib.util

import numpy as np
import pytest

from backcast.core.errors import BadInput, WorkFailed
from backcast.games.memory import fingerprint, load_strategy, names
from backcast.games.opponents import FAMILIES, draw, shared, split
from backcast.games.problems import load_game
from backcast.games.solve import average, best_response

AXELROD = importlib.util.find_spec("axelrod") is not None


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"grid", "axelrod"}))
def test_every_family_is_seeded_and_different(ipd, family):
    """The same seed draws the same opponents, another seed others; no strategy comes twice."""
    first, _ = draw(ipd, f"{family}:n=4", 1, 3)
    again, _ = draw(ipd, f"{family}:n=4", 1, 3)
    other, _ = draw(ipd, f"{family}:n=4", 1, 4)
    marks = [fingerprint(kind) for kind in first.types]
    assert marks == [fingerprint(kind) for kind in again.types]
    assert marks != [fingerprint(kind) for kind in other.types]
    assert len(set(marks)) == 4


def test_families_in_other_games():
    """Families that are not about the prisoner's dilemma work in a game with states and in a 3 x 3 game."""
    for name in ("donation", "rps"):
        game = load_game(name)
        for family in ("pure", "dirichlet", "reactive", "moore"):
            mixture, _ = draw(game, f"{family}:n=2", 1, 0)
            assert best_response(game, mixture.types[0]).value >= best_response(game, mixture.types[0]).lower


def test_walkers_of_pursuit():
    """Grid policies sit in the teammate's seat of pursuit and are distributions everywhere."""
    game = load_game("pursuit:3")
    mixture, _ = draw(game, "grid:n=3", 1, 0)
    for kind in mixture.types:
        assert np.allclose(kind.chances.sum(axis=2), 1)


def test_zero_determinant_players_enforce_their_line(ipd):
    """A drawn ZD player with factor chi holds s_own - P = chi (s_other - P) against random opponents."""
    mixture, _ = draw(ipd, "zd:n=2,chi=3", 1, 0)
    rng = np.random.default_rng(0)
    from backcast.games.memory import memory_one

    for kind in mixture.types:
        for _ in range(10):
            q = rng.uniform(0.05, 0.95, 5)
            mine, theirs = average(ipd, [memory_one(ipd, 0, q[0], q[1:]), kind])
            assert theirs - 1 == pytest.approx(3 * (mine - 1), abs=1e-10)


def test_splits_do_not_leak(ipd):
    """TFT as a name, as K = 2 and as a machine is one strategy: it cannot be on both sides, whatever it is called."""
    drawn = split(ipd, "moore:n=6,nodes=2", "moore:n=6,nodes=2", 1, 0)
    assert shared(drawn.train.types, drawn.test.types) == []
    assert drawn.manifest["dropped"] == drawn.dropped
    with pytest.raises(BadInput, match="plays like a training opponent"):
        split(ipd, "tft,allc", "1;1,0,1,0", 1, 0)


def test_compositional_splits_reweight(ipd):
    """'mix' keeps the training types and draws new weights."""
    drawn = split(ipd, "tft,allc,alld", "mix", 1, 0)
    assert [kind.name for kind in drawn.test.types] == ["tft", "allc", "alld"]
    assert sum(drawn.test.weights) == pytest.approx(1)
    assert drawn.manifest["compositional"]


def test_manifests_are_deterministic(ipd):
    """The manifest's hash depends on the seed and on nothing else."""
    hashes = [split(ipd, "dirichlet:n=3", "pure:n=3", 1, seed).manifest["sha256"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("moore:nods=3", "not key=value; did you mean 'nodes'"),
        ("moore:n=0", "draw at least one"),
        ("pure:n=50,memory=0", "only 2 of 50"),
        ("zd:n=1,chi=-3", "not enforceable"),
        ("noisy:base=tft,epsilon=2", "outside"),
        ("nobody", "neither a named player"),
    ],
)
def test_bad_specs(ipd, spec, words):
    """Unknown options, impossible counts and impossible parameters are refused in words."""
    with pytest.raises(BadInput, match=words):
        draw(ipd, spec, 1, 0)


def test_without_the_library_the_door_says_so(ipd):
    """Where Axelrod is not installed, asking for a live player says how to get it."""
    if AXELROD:
        pytest.skip("axelrod is installed here")
    with pytest.raises(BadInput, match="pip install axelrod"):
        draw(ipd, "axelrod:name=Tit For Tat,n=1", 1, 0)


@pytest.mark.skipif(not AXELROD, reason="axelrod is not installed")
def test_the_static_table_is_the_library(ipd):
    """Every player of the static table equals the live import, which was replayed against 250 random moves."""
    from backcast.games.axelrod import import_player

    for live, ours in LIVE.items():
        assert fingerprint(import_player(ipd, live, 1)) == fingerprint(load_strategy(ipd, ours, 1))
    assert set(LIVE.values()) <= set(names())


@pytest.mark.skipif(not AXELROD, reason="axelrod is not installed")
@pytest.mark.parametrize("name", ["Second by Mikkelson", "Random Tit for Tat"])
def test_players_that_do_not_play_their_table_are_refused(ipd, name):
    """A subclass that overrides its play, and a player without a table, are not imported."""
    from backcast.games.axelrod import import_player

    with pytest.raises((BadInput, WorkFailed)):
        import_player(ipd, name, 1)


LIVE = {
    "Firm But Fair": "firm-but-fair",
    "First by Joss": "joss",
    "GTFT": "gtft",
    "Stochastic Cooperator": "stochastic-cooperator",
    "Stochastic WSLS": "stochastic-wsls",
    "Win-Shift Lose-Stay": "win-shift-lose-stay",
    "ZD-Extort-2": "zd-extort-2",
    "ZD-Extort-2 v2": "zd-extort-2-v2",
    "ZD-Extort3": "zd-extort-3",
    "ZD-Extort-4": "zd-extort-4",
    "ZD-Extortion": "zd-extortion",
    "ZD-GTFT-2": "zd-gtft-2",
    "ZD-GEN-2": "zd-gen-2",
    "ZD-Mischief": "zd-mischief",
    "ZD-SET-2": "zd-set-2",
    "Evolved FSM 4": "evolved-fsm-4",
    "Evolved FSM 6": "evolved-fsm-6",
    "Evolved FSM 16": "evolved-fsm-16",
    "Evolved FSM 16 Noise 05": "evolved-fsm-16-noise-05",
    "Fortress3": "fortress3",
    "Fortress4": "fortress4",
    "Predator": "predator",
    "Pun1": "pun1",
    "Raider": "raider",
    "Ripoff": "ripoff",
    "Second by Colbert": "colbert",
    "SolutionB1": "solution-b1",
    "SolutionB5": "solution-b5",
    "TF1": "tf1",
    "TF2": "tf2",
    "TF3": "tf3",
    "Thumper": "thumper",
    "UsuallyCooperates": "usually-cooperates",
    "UsuallyDefects": "usually-defects",
}
