import pytest

from backcast.core.errors import BadInput
from backcast.learn.presets import PRESETS, grpo_values, parts, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_makes_a_trainer(make_trainer, name):
    """Its values are known to TRL, its parts go together; a group is made small for the test."""
    values = {**grpo_values(name), "num_generations": 4}
    trainer = make_trainer(parts=parts(name), **values)
    assert trainer.args.epsilon_high == PRESETS[name]["epsilon_high"].value
    assert trainer.advantage == PRESETS[name]["advantage"].value


def test_every_constant_has_its_source():
    known = ("paper", "code", "DAPO", "ours", "2402.03300", "TRL")
    for name in PRESETS:
        assert all(any(word in constant.source for word in known) for constant in preset(name).values())


def test_the_papers_own_values():
    """Spot checks against the papers: HICRA's alpha, SSR's alpha and quota, the code's clip."""
    assert preset("hicra")["alpha"].value == 0.2
    assert preset("vl_rethinker")["replay_alpha"].value == 1.0
    assert preset("vl_rethinker")["quota"].value == 2
    assert preset("vl_rethinker")["batch"].value == 512
    assert preset("vl_rethinker")["max_completion_length"].value == 2048
    assert preset("hicra")["max_completion_length"].value == 16384
    assert (preset("vl_rethinker")["epsilon"].value, preset("vl_rethinker")["epsilon_high"].value) == (0.2, 0.35)


def test_unknown_preset():
    with pytest.raises(BadInput, match="unknown preset 'hikra'; did you mean 'hicra'"):
        preset("hikra")
