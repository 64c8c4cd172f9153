"""Curiosity by the paper, by the authors' code, and by the port that counts valid calls only (E3, 19 to 22)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.credit import group_advantages
from backcast.core.errors import BadInput
from backcast.vision.curiosity import (
    Attempt,
    Curiosity,
    CuriosityReward,
    bonus,
    curious,
    looking_rate,
    penalty,
    uniform,
)

CODE = Curiosity("code")


def looked(k, group=8):
    return np.array([[1] * k + [0] * (group - k)])


@pytest.mark.parametrize(
    ("k", "paper", "image", "video"), [(1, 0.0875, 0.175, 0.2333333), (2, 0.025, 0.025, 0.0333333)]
)
def test_the_bonus_by_hand(k, paper, image, video):
    """Table of the spec, B4: k of 8 looked."""
    for settings, is_video, value in (
        (Curiosity(), False, paper),
        (Curiosity(), True, paper),
        (CODE, False, image),
        (CODE, True, video),
    ):
        found = bonus(looked(k), settings, is_video)[0]
        assert found[:k] == pytest.approx(value, abs=1e-6)
        assert not found[k:].any()


@pytest.mark.parametrize("k", range(3, 9))
def test_no_bonus_from_three_of_eight_on(k):
    for settings, video in ((Curiosity(), False), (CODE, False), (CODE, True)):
        assert not bonus(looked(k), settings, video).any()


def test_nobody_looked_no_bonus():
    assert not bonus(looked(0)).any()
    assert not bonus(looked(0), CODE).any()


def test_the_price_by_hand():
    calls = np.arange(6)[None]
    assert penalty(calls)[0] == pytest.approx([0, 0, -0.05, -0.10, -0.15, -0.20])
    assert penalty(calls, CODE)[0] == pytest.approx([0, 0, -0.05, -0.10, -0.15, -0.20])


def test_a_group_by_hand():
    """One looked and is right, three are right from the text, four are wrong (E3, 20)."""
    rewards = curious([[1, 1, 1, 1, 0, 0, 0, 0]], looked(1))
    assert rewards[0] == pytest.approx([1.0875, 1, 1, 1, 0, 0, 0, 0])
    assert rewards.mean() == pytest.approx(0.51094, abs=5e-6)
    advantages = group_advantages(rewards, "center")[0]
    assert advantages[[0, 1, 7]] == pytest.approx([0.57656, 0.48906, -0.51094], abs=5e-6)


@pytest.mark.parametrize(
    ("k", "settings", "video", "spread", "dropped"),
    [
        (1, Curiosity(), False, 0.01914, False),
        (2, Curiosity(), False, 0.009375, True),
        (2, CODE, False, 0.009375, True),
        (2, CODE, True, 0.0125, False),
    ],
)
def test_the_uniform_filter(k, settings, video, spread, dropped):
    """Eight right answers of which k looked; mean absolute deviation against 0.01 (E3, 21)."""
    rewards = curious(np.ones((1, 8)), looked(k), settings, unresolved=np.zeros((1, 8)), video=video)
    assert np.abs(rewards - rewards.mean()).mean() == pytest.approx(spread, abs=5e-6)
    assert uniform(rewards).tolist() == [dropped]


def test_a_right_answer_behind_an_open_error_is_worth_nothing_in_the_code():
    """Each attempt's own flag, group by group: two groups with other flags get other rewards (E3, 22)."""
    right, calls = np.ones((2, 8)), np.ones((2, 8), int)
    flags = np.zeros((2, 8))
    flags[1, 3] = 1
    found = curious(right, calls, CODE, unresolved=flags)
    assert found[0] == pytest.approx(np.ones(8))
    assert found[1] == pytest.approx([1, 1, 1, 0, 1, 1, 1, 1])
    assert curious(right, calls, unresolved=flags) == pytest.approx(np.ones((2, 8)))  # the paper knows no such rule


def test_an_unreadable_answer_in_the_code_and_the_port():
    found = curious([[-1.0, 1, 0, 0]], [[0, 0, 0, 0]] * np.ones((1, 1), int), CODE, unresolved=np.zeros((1, 4)))
    assert found[0] == pytest.approx([-1, 1, 0, 0])
    calls, valid = np.array([[3, 0, 0, 0, 0, 0, 0, 0]]), np.array([[1, 0, 0, 0, 0, 0, 0, 0]])
    port = curious(np.zeros((1, 8)), calls, Curiosity("valid"), valid=valid)
    assert port[0, 0] == pytest.approx(0.0875)  # two failed calls cost nothing there
    assert curious(np.zeros((1, 8)), calls)[0, 0] == pytest.approx(0.0875 - 0.10)


@given(
    st.integers(1, 4).flatmap(
        lambda groups: st.lists(
            st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=8, max_size=8),
            min_size=groups,
            max_size=groups,
        )
    )
)
def test_against_the_equation_written_out(rows):
    """r + alpha max(H - RaPR, 0) 1_PR + beta min(N - n, 0), attempt by attempt; torch gives the same as numpy."""
    right = np.array([[r for r, _ in row] for row in rows])
    calls = np.array([[n for _, n in row] for row in rows])
    found = curious(right, calls)
    for i, row in enumerate(rows):
        rate = sum(n > 0 for _, n in row) / len(row)
        for j, (r, n) in enumerate(row):
            assert found[i, j] == pytest.approx(r + 0.5 * max(0.3 - rate, 0) * (n > 0) + 0.05 * min(1 - n, 0))
        assert looking_rate(calls)[i, 0] == pytest.approx(rate)
    same = curious(torch.tensor(right), torch.tensor(calls))
    assert same.numpy() == pytest.approx(found)


def test_settings_that_make_no_sense():
    with pytest.raises(BadInput, match="variant 'papre'"):
        Curiosity("papre")
    with pytest.raises(BadInput, match="threshold from 0 to 1"):
        Curiosity(threshold=3)
    with pytest.raises(BadInput, match="needs to know which attempts ended in an error"):
        curious([[1, 0]], np.array([[1, 0]]), CODE)
    with pytest.raises(BadInput, match="calls that succeeded"):
        curious([[1, 0]], np.array([[1, 0]]), Curiosity("valid"))


# ---------------------------------------------------------------- as a reward of TRL's


class Room:
    """An environment that remembers an attempt."""

    def __init__(self, calls=0, valid=None, unresolved=False):
        self.kept = Attempt(calls, calls if valid is None else valid, unresolved)

    def _attempt(self):
        return self.kept


def right_when_marked(completions, **_):
    return [float("right" in text) for text in completions]


def test_the_reward_sees_whole_groups():
    reward = CuriosityReward(right_when_marked, 4)
    texts = ["right", "right", "wrong", "wrong"] * 2
    rooms = [Room(1), Room(), Room(), Room(), Room(1), Room(2), Room(1), Room(1)]
    logged = {}
    found = reward(completions=texts, environments=rooms, log_metric=logged.__setitem__)
    assert found == pytest.approx([1.025, 1, 0, 0, 1, 0.95, 0, 0])
    assert logged["curiosity/rapr"] == pytest.approx(5 / 8)
    assert {"curiosity/looked_1", "curiosity/looked_4", "curiosity/bonus", "curiosity/uniform"} <= set(logged)


def test_the_reward_refuses_what_it_cannot_count():
    reward = CuriosityReward(right_when_marked, 4)
    with pytest.raises(BadInput, match="no multiple of 4"):
        reward(completions=["right"] * 3, environments=[Room()] * 3)
    with pytest.raises(BadInput, match="environment_factory"):
        reward(completions=["right"] * 4)


def test_calls_that_the_trainer_could_not_pass_on_count_too():
    reward = CuriosityReward(lambda completions, **_: [0.0] * len(completions), 2)
    turn = {"role": "assistant", "content": "", "tool_calls": [{}, {}, {}]}
    found = reward(completions=[[turn], [{"role": "assistant", "content": "no"}]], environments=[Room(1), Room()])
    assert found == pytest.approx([-0.10, 0])


def vital(reward, name):
    return next(vital for vital in reward.vitals() if vital.name == f"curiosity/{name}")


def test_alarms():
    """RaPR under 0.05; and groups in which looking is rare and nothing is paid, which is how a port failed silently."""
    reward = CuriosityReward(right_when_marked, 4)
    assert vital(reward, "rapr").ok is None
    reward(completions=["right"] * 4, environments=[Room()] * 4)
    assert vital(reward, "rapr").ok is False
    assert vital(reward, "silent").ok is False
    assert vital(reward, "unpaid").ok is None
    reward(completions=["right"] * 4, environments=[Room(1), Room(), Room(), Room()])
    assert vital(reward, "unpaid").ok is True
    broken = CuriosityReward(right_when_marked, 4, Curiosity(alpha=0.0))
    broken(completions=["right"] * 4, environments=[Room(1), Room(), Room(), Room()])
    assert vital(broken, "unpaid").ok is False
