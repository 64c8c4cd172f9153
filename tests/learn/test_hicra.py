import math

import pytest
import torch

from backcast.core.credit import Batch
from backcast.core.errors import BadInput
from backcast.learn.grams import Matcher
from backcast.learn.hicra import (
    PlanningCredit,
    conditional_entropy,
    procedure_entropy,
    semantic_entropy,
    token_metrics,
)
from backcast.lm.tiny import tiny_tokenizer

TEXTS = ["wait, the answer is 42", "the answer is 42 and more", "wait wait wait", "hold on. I see the road"]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def batch(tokenizer, advantages, texts=TEXTS, **more):
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    width = max(map(len, ids))
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    data = {
        "completion_ids": torch.tensor([row + [0] * (width - len(row)) for row in ids]),
        "completion_mask": mask,
        "advantages": torch.tensor(advantages),
        "old_per_token_logps": torch.full(mask.shape, -0.5),
    }
    return Batch(data, data["advantages"], 0, 2, entropies=more.get("entropies"))


def part(tokenizer, **settings):
    found = PlanningCredit(["wait", "hold on"], **settings)
    found.attach(tokenizer, 0)
    return found


def test_semantic_entropy_by_hand():
    """U9: counts 4, 2, 1, 1 give 1.75 bits, in any order; one gram gives 0."""
    grams = list("aaaabbcd")
    assert semantic_entropy(grams) == pytest.approx(1.21301, abs=5e-6)
    assert semantic_entropy(reversed(grams)) == pytest.approx(1.75 * math.log(2))
    assert semantic_entropy("aaa") == 0
    assert semantic_entropy([]) == 0


def test_conditional_entropy_by_hand():
    """U9: after a two things equally often, after b always the same."""
    pairs = [("a", "y1"), ("a", "y1"), ("a", "y2"), ("a", "y2")] + [("b", "y3")] * 4
    assert conditional_entropy(pairs) == pytest.approx(0.5 * math.log(2))
    assert conditional_entropy([]) == 0


def test_procedures_are_the_words_between_grams():
    """U9 on text: three words after each gram up to the next; shorter rests are no pair."""
    matcher = Matcher(["first", "then"])
    texts = ["first a b c then d e f", "first a b c then x", "first a b d then d e f"]
    found = procedure_entropy([(text, matcher.find(text)) for text in texts])
    first = 3 / 5 * semantic_entropy(["abc", "abc", "abd"])
    assert found == pytest.approx(first)


def test_only_planning_tokens_change(tokenizer):
    """U2 on real tokens: 1.2 times the credit, 0.8 times the blame, zero stays, padding is 0."""
    raw = batch(tokenizer, [1.0, 1.0, -1.0, 0.0])
    shaper = part(tokenizer)
    out = shaper(raw).data["advantages"]
    rows = [tokenizer.convert_ids_to_tokens(row) for row in raw.data["completion_ids"].tolist()]
    assert out.shape == raw.data["completion_ids"].shape
    first_comma = rows[0].index(",")
    assert out[0, :first_comma].tolist() == pytest.approx([1.2] * first_comma)
    assert out[0, first_comma:][raw.data["completion_mask"][0, first_comma:].bool()].unique().tolist() == [1.0]
    assert set(out[1].tolist()) <= {1.0, 0.0}
    valid = raw.data["completion_mask"][2].bool()
    assert out[2][valid].tolist() == pytest.approx([-0.8] * int(valid.sum()))
    assert not out[3].any()
    assert not out[~raw.data["completion_mask"].bool()].any()
    assert shaper.acted == shaper.opportunities == 1


def test_the_control_takes_all_other_tokens(tokenizer):
    """Planning and control together change every valid token exactly once."""
    raw = batch(tokenizer, [1.0] * 4)
    on, off = part(tokenizer)(raw).data["advantages"], part(tokenizer, target="execution")(raw).data["advantages"]
    valid = raw.data["completion_mask"].float()
    torch.testing.assert_close(on + off, 2.2 * valid)


def test_alpha_zero_changes_nothing_and_is_no_opportunity(tokenizer):
    shaper = part(tokenizer, alpha=0.0)
    raw = batch(tokenizer, [1.0, -1.0, 0.5, 0.0])
    valid = raw.data["completion_mask"]
    assert torch.equal(shaper(raw).data["advantages"], raw.data["advantages"][:, None] * valid)
    assert (shaper.acted, shaper.opportunities) == (0, 0)


def test_a_list_that_never_fires_is_an_opportunity_not_taken(tokenizer):
    shaper = PlanningCredit(["no such phrase"])
    shaper.attach(tokenizer, 0)
    shaper(batch(tokenizer, [1.0, -1.0, 1.0, -1.0]))
    assert (shaper.acted, shaper.opportunities) == (0, 1)


def test_vitals_and_metrics_by_hand(tokenizer):
    """Two rows: share of planning tokens, and alpha times that share of the credit has moved."""
    texts = ["wait", "the"]
    shaper = part(tokenizer)
    raw = batch(tokenizer, [1.0, 1.0], texts)
    shaper.observe(raw)
    shaper(raw)
    tokens = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
    share = tokens[0] / sum(tokens)
    assert shaper.metrics()["planning/share"] == pytest.approx(share)
    assert shaper.metrics()["planning/credit_moved"] == pytest.approx(0.2 * share)
    assert {vital.name: vital.value for vital in shaper.vitals()} == {
        "planning/share": pytest.approx(share),
        "planning/credit_moved": pytest.approx(0.2 * share),
    }


def test_token_metrics_by_hand():
    """Classes, relative order and both overlaps on eight tokens; forks are the top quarter."""
    entropies = torch.tensor([[2.0, 1, 0.1, 0.2], [0.3, 0.4, 3, 9]])
    planning = torch.tensor([[True, True, False, False], [False, False, False, True]])
    valid = torch.tensor([[True] * 4, [True, True, True, False]])
    logps = torch.full((2, 4), -math.log(2))
    logps[0, :2] = -math.log(4)
    found = token_metrics(entropies, logps, planning, valid, top=0.3)
    assert found["planning_entropy"] == pytest.approx(1.5)
    assert found["execution_entropy"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 3) / 5)
    assert found["planning_perplexity"] == pytest.approx(4)
    assert found["execution_perplexity"] == pytest.approx(2)
    assert found["planning_that_forks"] == pytest.approx(1 / 2)
    assert found["forks_that_plan"] == pytest.approx(1 / 2)


def test_the_authors_mode(tokenizer):
    """High-entropy tokens of correct answers longer than their group's mean; it needs the groups in one piece."""
    shaper = part(tokenizer, target="entropy_long_correct")
    raw = batch(tokenizer, [1.0, -1.0, 1.0, -1.0])
    lengths = raw.data["completion_mask"].sum(1).tolist()
    entropies = torch.arange(raw.data["completion_ids"].shape[1]).float().expand(4, -1)
    out = shaper(batch(tokenizer, [1.0, -1.0, 1.0, -1.0], entropies=entropies)).data["advantages"]
    for i in range(4):
        long = lengths[i] > sum(lengths[i // 2 * 2 : i // 2 * 2 + 2]) / 2
        credited = (out[i, : lengths[i]] > 1).sum()
        assert bool(credited) == (long and i % 2 == 0)
    with pytest.raises(BadInput, match="use it without replay"):
        shaper(raw)


def test_the_authors_mode_wants_whole_groups(tokenizer):
    """Three rows of groups of two: as when a group is spread over two processes."""
    texts = TEXTS[:3]
    shape = batch(tokenizer, [1.0] * 3, texts).data["completion_ids"].shape
    with pytest.raises(BadInput, match="within their group of 2, but a process has 3 of them"):
        part(tokenizer, target="entropy_long_correct")(batch(tokenizer, [1.0] * 3, texts, entropies=torch.ones(shape)))


def test_entropies_are_also_shown_against_their_start(tokenizer):
    """A.3: nats and the ratio to the first batch that had any; a batch without a gram sets no start."""
    shaper = part(tokenizer)
    for texts in (
        ["the sea", "the road"],
        ["wait", "hold on"],
        ["wait wait", "wait wait hold on hold on hold on hold on"],
    ):
        shaper.observe(batch(tokenizer, [1.0, 1.0], texts))
        if "planning/semantic_entropy_relative" not in shaper.metrics():
            assert shaper.metrics()["planning/semantic_entropy"] == 0
    assert shaper._first["semantic_entropy"] == pytest.approx(math.log(2))
    assert shaper.metrics()["planning/semantic_entropy_relative"] == pytest.approx(1.0)
    shaper.observe(batch(tokenizer, [1.0, 1.0], ["wait wait wait", "hold on"]))
    three_to_one = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert shaper.metrics()["planning/semantic_entropy"] == pytest.approx(three_to_one)
    assert shaper.metrics()["planning/semantic_entropy_relative"] == pytest.approx(three_to_one / math.log(2))


def test_the_healthy_range_of_moved_credit_goes_up_to_alpha(tokenizer):
    shaper = part(tokenizer, alpha=0.5)
    shaper(batch(tokenizer, [1.0, 1.0], ["wait", "wait wait"]))
    (vital,) = (vital for vital in shaper.vitals() if vital.name == "planning/credit_moved")
    assert vital.value == pytest.approx(0.5, rel=0.2)
    assert vital.ok


def test_settings_and_state(tokenizer):
    with pytest.raises(BadInput, match=r"alpha must be in \[0, 1\)"):
        PlanningCredit(alpha=1.0)
    with pytest.raises(BadInput, match="list of grams is empty"):
        PlanningCredit([])
    with pytest.raises(BadInput, match="unknown target 'plan'; known: planning, execution"):
        PlanningCredit(target="plan")
    first, second = part(tokenizer, token_metrics=True), part(tokenizer, token_metrics=True)
    raw = batch(tokenizer, [1.0] * 4)
    raw = batch(tokenizer, [1.0] * 4, entropies=torch.ones(raw.data["completion_ids"].shape))
    first.observe(raw)
    first(raw)
    assert first.metrics()["planning/planning_perplexity_relative"] == 1
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
