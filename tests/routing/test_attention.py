"""The attention policy: its equations by hand, invariances, probabilities, masks, imitation that learns and resumes."""

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from backcast.core.errors import BadInput  # noqa: E402
from backcast.routing.attention import (  # noqa: E402
    Attention,
    AttentionShape,
    Episode,
    boxed,
    decoded_by_attention,
    followed,
    log_probabilities_of,
)
from backcast.routing.nets import load_policy, make_board, make_policy, save_policy  # noqa: E402
from backcast.routing.policy import policy_groups, policy_routes  # noqa: E402
from backcast.routing.problems import Instance, uniform  # noqa: E402
from backcast.routing.process import Board, routes_of_actions, vehicles_for  # noqa: E402
from backcast.routing.score import cost, faults  # noqa: E402
from backcast.routing.train import Training, begin, global_tasks, level_by_policy, pairs_of, resume, train  # noqa: E402

SMALL = AttentionShape(layers=2, width=16, heads=2, hidden=24, near=8)


def awake(seed, shape=SMALL):
    """Random weights with residual scalars away from 0, where the layers would do nothing."""
    policy = make_policy(shape, seed).eval()
    with torch.no_grad():
        for k, layer in enumerate(policy.layers):
            layer.a.fill_(0.7 + 0.1 * k)
            layer.b.fill_(-0.4)
    return policy


def by_hand(policy, features):
    """The network by plain loops over tokens and heads, for one state without padding."""
    weights = {name: value.detach().numpy().astype(np.float64) for name, value in policy.named_parameters()}
    x = features @ weights["embed.weight"].T + weights["embed.bias"]
    x[:2] += weights["tokens"]
    heads, size = policy.shape.heads, policy.shape.width // policy.shape.heads
    for k in range(policy.shape.layers):
        part = {n.removeprefix(f"layers.{k}."): v for n, v in weights.items() if n.startswith(f"layers.{k}.")}
        q, key, value = np.split(x @ part["qkv.weight"].T, 3, axis=1)
        seen = np.zeros_like(x)
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            for i in range(len(x)):
                scores = [q[i, own] @ key[j, own] / math.sqrt(size) for j in range(len(x))]
                share = np.exp(scores) / np.exp(scores).sum()
                seen[i, own] = sum(s * value[j, own] for j, s in enumerate(share))
        x = x + part["a"] * (seen @ part["mix.weight"].T + part["mix.bias"])
        wide = np.maximum(x @ part["wide.weight"].T + part["wide.bias"], 0)
        x = x + part["b"] * (wide @ part["narrow.weight"].T + part["narrow.bias"])
    return x @ weights["head.weight"].T + weights["head.bias"]


def test_the_equations_by_hand():
    """Softmax attention, feed-forward with relu, ReZero scalars; with those at 0, as they begin, layers do nothing."""
    policy, features = awake(0), np.random.default_rng(0).random((5, 4))
    got = policy(torch.tensor(features[None], dtype=torch.float32), torch.ones(1, 5, dtype=torch.bool))[0]
    assert np.allclose(got.detach().numpy(), by_hand(policy, features.copy()), atol=1e-5)
    fresh = make_policy(SMALL, 0)
    x = fresh.embed(torch.tensor(features, dtype=torch.float32)) + torch.cat([fresh.tokens, torch.zeros(3, 16)])
    alone = fresh(torch.tensor(features[None], dtype=torch.float32), torch.ones(1, 5, dtype=torch.bool))[0]
    assert torch.allclose(alone, fresh.head(x), atol=1e-6)


def test_a_state_by_hand():
    """After customer 1 (demand 4 of 10) customer 2 (7) fits only by way of the depot, customer 3 (6) both ways; places
    lie in the state's own box, its long side along x."""
    xy = np.array([[0.0, 0], [0, 2], [1, 4], [1, 0]])
    episode = Episode(Board(xy, np.array([0, 4, 7, 6]), 10, np.zeros((4, 1), np.int32), 3), near=5)
    first = episode.state()
    assert first.nodes[:2].tolist() == [0, 0]
    assert first.open[2:].tolist() == [[True, False]] * 3
    episode.go(1, 0)
    state = episode.state()
    assert state.nodes.tolist() == [1, 0, 2, 3]
    assert state.open.tolist() == [[False, False], [False, False], [False, True], [True, True]]
    assert state.features[:, 2].tolist() == pytest.approx([0, 0, 0.7, 0.6])
    assert state.features[:, 3].tolist() == pytest.approx([0.6] * 4)
    assert state.features[:, :2].tolist() == [[0.5, 0.0], [0.0, 0.0], [1.0, 0.25], [0.0, 0.25]]
    with pytest.raises(BadInput, match="goes to 2, which is served or does not fit"):
        episode.go(2, 0)


def test_padding_order_place_and_scale_change_nothing():
    """A state's log-probabilities are the same alone and padded in a batch, and move with its customers; an instance
    moved, scaled and mirrored across the diagonal is the same to the policy."""
    policy, rng = awake(1), np.random.default_rng(1)
    small, large = (uniform(n, rng) for n in (4, 12))
    states = [Episode(make_board(one, SMALL), SMALL.near).state() for one in (small, large)]
    both = log_probabilities_of(policy, states)
    for row, state in zip(both, states, strict=True):
        alone = log_probabilities_of(policy, [state])[0]
        assert torch.allclose(row[: len(alone)].exp(), alone.exp(), atol=1e-6)
        assert torch.isinf(row[len(alone) :]).all()
    state = states[1]
    turn = [0, 1, *(2 + rng.permutation(len(state.nodes) - 2))]
    turned = state._replace(nodes=state.nodes[turn], features=state.features[turn], open=state.open[turn])
    expected = log_probabilities_of(policy, [state])[0].reshape(-1, 2)[turn].reshape(-1)
    assert torch.allclose(log_probabilities_of(policy, [turned])[0].exp(), expected.exp(), atol=1e-6)
    moved = Instance("moved", large.demands, large.capacity, large.coords[:, ::-1] * 7 + np.array([3.0, -2]))
    other = Episode(make_board(moved, SMALL), SMALL.near).state()
    assert np.allclose(other.features, state.features, atol=1e-6)
    assert np.allclose(boxed(large.coords).max(0).max(), 1.0)


def test_probabilities_of_all_sequences_sum_to_one():
    """Brute force over every order and way of a tiny instance."""
    instance = Instance("tiny", np.array([0, 1, 2, 2]), 3, np.random.default_rng(2).random((4, 2)))
    policy, board = awake(2), make_board(instance, SMALL, 4)
    total, count = 0.0, 0
    for order in itertools.permutations([1, 2, 3]):
        for cuts in itertools.product([False, True], repeat=2):
            routes = [[order[0]]]
            for cut, customer in zip(cuts, order[1:], strict=True):
                routes = [*routes, [customer]] if cut else [*routes[:-1], [*routes[-1], customer]]
            if faults(instance, routes):
                continue
            states, taken, off = followed(board, SMALL.near, routes)
            assert off == 0
            logs = log_probabilities_of(policy, states)
            total += float(logs[torch.arange(3), torch.tensor(taken)].sum().exp().detach())
            count += 1
    assert count > 6
    assert total == pytest.approx(1.0, abs=1e-5)


def test_samples_follow_the_probabilities():
    """Of 4,000 sampled first customers each comes up as often as the policy says, within four standard errors."""
    instance = uniform(5, np.random.default_rng(3))
    policy, board = awake(3), make_board(instance, SMALL)
    (tries,) = decoded_by_attention(policy, [board], 4000, seed=1)
    state = Episode(board, SMALL.near).state()
    logs = log_probabilities_of(policy, [state])[0].exp().detach().numpy()
    for k, customer in enumerate(state.nodes[2:], start=2):
        p = float(logs[2 * k])
        share = np.mean([actions[0] == customer for actions in tries])
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 4000) + 1e-9


def test_masks_never_lead_to_infeasible_routes():
    """Sampled under random weights: every episode is a feasible partition, the fleet mask keeps to its limit wherever
    what is left fits; nobody is forgotten beyond the nearest ones."""
    rng, policy = np.random.default_rng(4), awake(4)
    for k in range(25):
        instance = uniform(int(rng.integers(1, 60)), rng)
        (tries,) = decoded_by_attention(policy, [make_board(instance, SMALL)], 4, seed=k)
        for actions in tries:
            assert faults(instance, routes_of_actions(actions)) == []
    routes = policy_routes(policy, instance)
    assert len(routes) <= vehicles_for(instance) + 2
    assert policy_routes(policy, uniform(0, rng)) == []
    subs = pairs_of(instance, routes)
    after = level_by_policy(policy, routes, subs)
    assert faults(instance, after) == []
    assert cost(instance, after) <= cost(instance, routes)
    assert len(policy_groups(policy, [(sub.instance, sub.routes) for sub in subs])) == len(subs)


def test_imitation_learns_and_resumes_bit_equal(tmp_path):
    """On drawn instances of 20 customers the greedy cost falls; steps after a checkpoint are the same steps."""
    training = Training(how="sl", size=20, instances=8, refine=300, learning_rate=1e-2, seed=1)
    shape = AttentionShape(2, 32, 4, 64, 12)
    trainee, tasks, rng = begin(shape, training), global_tasks(training), np.random.default_rng(7)
    held_out = [uniform(20, rng) for _ in range(20)]

    def greedy():
        return float(np.mean([cost(one, policy_routes(trainee.policy, one)) for one in held_out]))

    before = greedy()
    rows = list(train(trainee, tasks, training, lambda step: step >= 60))
    assert all(math.isfinite(row["loss"]) and row["off_list"] < 0.3 for row in rows)
    assert greedy() < 0.9 * before
    trainee.save(tmp_path / "c.pt")
    again = resume(tmp_path / "c.pt", shape, training)
    one, two = (list(train(t, tasks, training, lambda step: step >= 63)) for t in (trainee, again))
    assert one == two
    assert all(torch.equal(a, b) for a, b in zip(trainee.policy.parameters(), again.policy.parameters(), strict=True))


def test_folders_and_what_is_refused(tmp_path):
    """Saved and loaded the policy decodes the same; REINFORCE, and heads that do not divide the width, are refused."""
    instance, policy = uniform(15, np.random.default_rng(8)), awake(5)
    save_policy(policy, tmp_path, "global")
    again = load_policy(tmp_path, "global")
    assert isinstance(again, Attention)
    assert policy_routes(again, instance) == policy_routes(policy, instance)
    with pytest.raises(BadInput, match="trained by imitation only"):
        begin(SMALL, Training(how="rl"))
    with pytest.raises(BadInput, match="width 10 does not divide into 4 heads"):
        Attention(AttentionShape(width=10))
