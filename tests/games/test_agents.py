"""Agents and their exact gaps: bands of tabular learning, the generalisation report, and the end-to-end run."""

import importlib.util
import json

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.games.agents import Training, train
from backcast.games.memory import k_memory, parse_mixture
from backcast.games.score import gap_report

BAYES = 1004497 / 40000


@pytest.fixture(scope="module")
def four(ipd):
    return parse_mixture(ipd, "tft:1,allc:1,alld:1,grim:1", 1)


def test_q_learning_bands(ipd, four):
    """No seed is above the Bayes value, and of five k = 3 seeds at least one has a gap of at most .01."""
    gaps = []
    for seed in range(5):
        agent = train(ipd, four, Training(agent="q", k=3, seed=seed), 0.9)
        report = gap_report(ipd, agent.strategy, four, four, 0.9)
        gaps.append(BAYES - report.mean("train", "value"))
        assert report.mixture_gap >= -1e-9
        if gaps[-1] <= 0.01:
            break
    assert min(gaps) <= 0.01
    assert agent.curve[-1][1] > agent.curve[0][1]


def test_q_learning_with_one_step(ipd, four):
    """With k = 1 the agent cannot beat the best memory-1 value 24.75, and finds at least what no memory earns."""
    agent = train(ipd, four, Training(agent="q", k=1, steps=150_000), 0.9)
    report = gap_report(ipd, agent.strategy, four, four, 0.9, memory=1)
    assert report.best_memory == pytest.approx(24.75)
    assert 21.5 <= report.mean("train", "value") <= 24.75 + 1e-9
    assert report.memory_gap == pytest.approx(BAYES - 24.75)


def test_generalisation_report(ipd):
    """The policy DCCDC, optimal for TFT and ALLC, against four opponents it never met."""
    policy = k_memory(ipd, 0, 1, np.eye(2)[["CD".index(x) for x in "DCCDC"]][None], "DCCDC")
    seen, unseen = parse_mixture(ipd, "tft:1,allc:1", 1), parse_mixture(ipd, "grim:1,wsls:1,stft:1,gtft:1", 1)
    report = gap_report(ipd, policy, seen, unseen, 0.9)
    found = {one.name: (one.value, one.best) for one in report.opponents}
    assert found["grim"] == pytest.approx((5.9, 30))
    assert found["wsls"] == pytest.approx((30.2, 590 / 19))
    assert found["stft"] == pytest.approx((25.3, 27))
    assert found["gtft"] == pytest.approx((29.6, 590 / 19))
    assert report.mean("train", "value") == pytest.approx(38.885)
    assert report.mean("train", "regret") == pytest.approx(1.115)
    assert report.mean("test", "value") == pytest.approx(22.75)
    assert report.mean("test", "best") == pytest.approx(29.776316, abs=1e-6)
    assert report.mean("test", "regret") == pytest.approx(7.026316, abs=1e-6)
    assert report.generalisation == pytest.approx(5.911316, abs=1e-6)
    assert report.adaptation_gap == pytest.approx(1.115)
    assert all(one.regret >= -1e-9 for one in report.opponents)
    assert report.opponents[0].score.gap == pytest.approx(-report.opponents[0].regret)


def test_the_built_in_policy_gradient_learns(ipd):
    """Group-relative REINFORCE against ALLC and ALLD learns to defect against both: 50 and 10."""
    pytest.importorskip("torch")
    mixture = parse_mixture(ipd, "allc:1,alld:1", 1)
    agent = train(ipd, mixture, Training(agent="reinforce", k=1, steps=60_000, horizon=30), 0.9)
    report = gap_report(ipd, agent.strategy, mixture, mixture, 0.9)
    assert report.mean("train", "value") == pytest.approx(30, abs=0.5)


@pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="stable-baselines3 is not installed")
@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_networks_are_read_out_as_tables(ipd, four, name):
    """A network trained for a moment is tabulated on all windows and evaluated exactly, below the Bayes value."""
    agent = train(ipd, four, Training(agent=name, k=1, steps=1100), 0.9)
    report = gap_report(ipd, agent.strategy, four, four, 0.9)
    assert agent.strategy.nodes == 5
    assert report.mixture_gap >= -1e-9


def test_unknown_agents(ipd, four):
    """An agent nobody knows is refused with the nearest name."""
    with pytest.raises(BadInput, match="did you mean 'dqn'"):
        train(ipd, four, Training(agent="dqnn"), 0.9)


def test_the_run_end_to_end(tmp_path, capsys):
    """``backcast game gap`` writes report, CSV, pictures and manifest, gives the shared keys, and resumes without
    work."""
    from backcast.cli import main

    words = ["game", "gap", "--seeds", "2", "--steps", "20000", "--k", "1", "--out", str(tmp_path / "run"), "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result.keys() >= {"run", "report", "seconds", "stages", "gaps", "vitals", "results", "csv"}
    assert [gap["metric"] for gap in result["gaps"]][:2] == ["regret on train opponents", "regret on test opponents"]
    assert all(vital["ok"] is not False for vital in result["vitals"])
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Ladder on the training mixture" in report
    assert (tmp_path / "run" / "3-score" / "gaps.csv").read_text().count("\n") == 1 + 2 * 8
    for picture in ("values", "ladder", "generalisation", "agent"):
        assert "<svg" in (tmp_path / "run" / "3-score" / f"{picture}.svg").read_text()
    assert main(words) == 0
    again = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert all(stage["skipped"] for stage in again["stages"])
    assert again["results"] == result["results"]


@pytest.mark.method(9, proves="gap reports of trained agents")
def test_the_recipe_runs_by_name(tmp_path, capsys):
    """``backcast run games`` is the same run."""
    from backcast.cli import main

    out = str(tmp_path / "run")
    assert (
        main(
            [
                "run",
                "games",
                "--seeds",
                "1",
                "--steps",
                "5000",
                "--train",
                "moore:n=3",
                "--test",
                "mix",
                "--out",
                out,
                "--json",
            ]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert len(result["results"][0]["opponents"]) == 6


@pytest.mark.parametrize(
    ("observe", "strategies", "nodes"),
    [("last-k", 1, 5), ("state", 1, 1), ("none", 1, 1), ("type", 4, 5), ("full", 4, None)],
)
def test_observation_modes_of_an_agent(ipd, four, observe, strategies, nodes):
    """What an agent learns is a function of what it observes: windows, nothing, or, told who the opponent is, one table
    for each type; those approach the best responses, which nobody who must find out can."""
    agent = train(ipd, four, Training(agent="q", k=1, steps=60_000, observe=observe), 0.9)
    assert len(agent.strategies) == strategies
    assert nodes is None or {one.nodes for one in agent.strategies} == {nodes}
    report = gap_report(ipd, agent.strategies, four, four, 0.9)
    if strategies == 1:
        assert report.mixture_gap >= -1e-9
        if observe in ("state", "none"):
            assert report.mean("train", "value") <= 22.5 + 1e-9  # the best memory-0 value
    else:
        assert report.mixture_gap is None
        assert report.mean("train", "regret") <= 5
        assert report.mean("train", "value") > BAYES


def test_discount_zero_is_heard(ipd):
    """At discount 0 an environment discounts with 0 (and not with the game's own), and an agent learns to defect."""
    from backcast.games.envs import World

    mixture = parse_mixture(ipd, "tft:1", 1)
    assert World(ipd, mixture, discount=0).discount == 0
    agent = train(ipd, mixture, Training(agent="q", k=1, steps=5000), 0)
    assert (agent.strategy.chances[0, :, 1] == 1).all()


def test_a_mixture_beyond_the_budget_still_gets_its_report(tmp_path, capsys, monkeypatch):
    """Where the Bayes value needs more beliefs than are allowed the run says so and reports everything else."""
    from backcast.cli import main
    from backcast.recipes import games

    monkeypatch.setattr(games, "BELIEFS", 5)
    words = ["game", "gap", "--seeds", "1", "--steps", "3000", "--k", "1", "--out", str(tmp_path / "run"), "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result["results"][0]["bayes"] is None
    assert result["results"][0]["train_regret"] >= 0
    assert "more than 5 belief nodes for 4 types" in (tmp_path / "run" / "report.html").read_text()
