"""The table of necessity, with a scripted policy that sees only what the tools really show it."""

import pytest

from backcast.core.errors import BadInput
from backcast.vision.looker import preset
from backcast.vision.problems import Scenes, generate
from backcast.vision.score import ARMS, necessity
from tests.vision.oracle import NoisyOracle, numbered

PROBLEMS = numbered(generate(24, Scenes(canvas=224, ratio=0.5), seed=0))


def table(policy, problems=PROBLEMS):
    return {arm.name: arm for arm in necessity(policy, problems, preset("strict")).arms}


def test_a_policy_that_needs_its_tools_shows_it():
    """Right with tools and with the oracle, at chance without, with a random part and with grey."""
    arms = table(NoisyOracle(PROBLEMS))
    assert tuple(arms) == ARMS
    assert arms["on"].score.value == arms["oracle"].score.value == 1
    for name in ("off", "random", "blank"):
        assert arms[name].score.value < 0.45
        assert arms[name].against_on.low > 0.3
    assert (arms["on"].looked, arms["off"].looked) == (1, 0)
    assert arms["off"].errors is None


def test_errors_are_counted_and_the_oracle_mends_bad_boxes():
    arms = table(NoisyOracle(PROBLEMS, misses=0.5, reversed_boxes=0.5))
    assert arms["on"].score.value < 0.8
    assert arms["oracle"].score.value == 1
    assert 0.1 < arms["on"].errors < 0.5
    assert arms["on"].calls > 1


def test_without_known_boxes_the_oracle_is_unmeasured():
    blind = [problem.__class__(**{**vars(problem), "box": None}) for problem in PROBLEMS[:4]]
    policy = NoisyOracle(PROBLEMS)  # knows the boxes; the files do not
    arms = {arm.name: arm for arm in necessity(policy, blind).arms}
    assert arms["oracle"].score.value is None
    assert arms["on"].score.n == 4


def test_what_cannot_be_measured_is_refused():
    from dataclasses import replace

    with pytest.raises(BadInput, match="no problems"):
        necessity(NoisyOracle(PROBLEMS), [])
    with pytest.raises(BadInput, match="settings show 'blank'"):
        necessity(NoisyOracle(PROBLEMS), PROBLEMS[:1], replace(preset("strict"), shows="blank"))
