"""The decision process and the policy: masks, probabilities, repaired defects, training that learns and resumes."""

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from backcast.core.errors import BadInput  # noqa: E402
from backcast.routing.nets import (  # noqa: E402
    Policy,
    Shape,
    candidates,
    gather,
    load_policy,
    make_board,
    make_policy,
    save_policy,
)
from backcast.routing.partition import rotated  # noqa: E402
from backcast.routing.policy import (  # noqa: E402
    decoded,
    episodes,
    log_probabilities,
    policy_groups,
    policy_routes,
    weights_of,
)
from backcast.routing.problems import Instance, uniform  # noqa: E402
from backcast.routing.process import (  # noqa: E402
    Board,
    actions_of,
    decode,
    replay,
    routes_of_actions,
    vehicles_for,
)
from backcast.routing.score import cost, faults  # noqa: E402
from backcast.routing.train import (  # noqa: E402
    Training,
    begin,
    costs_after,
    global_tasks,
    level_by_policy,
    local_tasks,
    pairs_of,
    resume,
    train,
)

SMALL = Shape(layers=2, width=16, near=8)


def state(seed):
    return np.array([seed], np.uint64)


def test_masks_never_lead_to_infeasible_sequences():
    """10^5 sampled steps under random weights: every episode is a feasible partition; the fleet mask keeps the number
    of vehicles within its limit wherever customers still fit."""
    rng, steps, k = np.random.default_rng(0), 0, 0
    while steps < 100_000:
        instance = uniform(int(rng.integers(1, 80)), rng)
        board = make_board(instance, SMALL)
        weights = rng.random(board.near.shape) ** 4 + 1e-9
        starts = rng.random(instance.size + 1) + 1e-9
        for _ in range(40):
            actions, logp = decode(board, weights, starts, False, state(k))
            routes = routes_of_actions(actions)
            assert faults(instance, routes) == []
            assert math.isfinite(logp)
            assert logp <= 1e-12
            steps, k = steps + len(actions), k + 1


def test_the_fleet_mask_by_hand():
    """Three customers of 5 with capacity 10 and room for 2 departures: after the first customer 10 are unserved but
    one vehicle may still depart, so the depot is open; with only 1 departure allowed it is closed."""
    demand = np.array([0, 5, 5, 5])
    near = np.array([[-1, -1, -1], [0, 2, 3], [0, 1, 3], [0, 1, 2]], np.int32)
    for most, open_depot in ((2, True), (1, False)):
        board = Board(np.zeros((4, 2)), demand, 10, near, most)
        found = replay(board, np.array([1, 2, 0, 3]))
        assert found.masks[0].tolist() == [open_depot, True, True]
        # At customer 2 nothing fits: the depot is the only candidate, or beyond the limit the forced way out.
        assert found.rows.tolist() == ([1, 2] if open_depot else [1])
        assert found.fixed == 0
        assert found.starts.tolist() == [1, 3]
        assert found.start_masks.tolist() == [[False, True, True, True], [False, False, False, True]]
    with pytest.raises(BadInput, match="step 1 of the sequence goes to 1, which is closed"):
        replay(board, np.array([1, 1]))


def test_probabilities_of_all_partitions_sum_to_one():
    """Brute force: the process's log-probabilities over every sequence of a tiny instance exponentiate to 1."""
    instance = Instance("tiny", np.array([0, 1, 2, 2]), 3, np.random.default_rng(1).random((4, 2)))
    policy = make_policy(SMALL, 0).eval()
    board = make_board(instance, SMALL, 4)
    graphs = gather([board], SMALL)
    scores, starts = policy(graphs)
    total, count = 0.0, 0
    for order in itertools.permutations([1, 2, 3]):
        for cuts in itertools.product([False, True], repeat=2):
            actions = [order[0]]
            for cut, customer in zip(cuts, order[1:], strict=True):
                actions += [0, customer] if cut else [customer]
            try:
                found = replay(board, np.array(actions))
            except BadInput:
                continue
            total += float(log_probabilities([found], scores, starts)[0].detach().exp())
            count += 1
    assert count > 6
    assert total == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("sure", [1.0, 1e4])
def test_replayed_log_probabilities_equal_the_sampled_ones(sure):
    """Also of a policy that is very sure of itself, where the masks leave open only what it all but rules out."""
    rng = np.random.default_rng(2)
    policy = make_policy(SMALL, 1).eval()
    with torch.no_grad():
        for head in (policy.head, policy.start):
            head[-1].weight *= sure
    for size in (5, 40, 90):
        instance = uniform(size, rng)
        board = make_board(instance, SMALL)
        graphs = gather([board], SMALL)
        scores, starts = policy(graphs)
        rows, first = weights_of(scores, starts)
        for k in range(5):
            actions, logp = decode(board, rows, first, False, state(k))
            found = replay(board, actions)
            assert found.off == 0
            assert float(log_probabilities([found], scores, starts)[0].detach()) == pytest.approx(
                logp, rel=1e-5, abs=1e-4
            )


def test_the_released_defects_are_repaired():
    """The depot is a candidate of every row, nobody is its own candidate, none stands twice, edge channels differ; the
    paper's features are the paper's: two equal channels."""
    instance = uniform(60, np.random.default_rng(3))
    near = candidates(instance, SMALL)
    assert (near[1:, 0] == 0).all()
    for c in range(1, 61):
        own = near[c][near[c] >= 0]
        assert c not in own
        assert len(set(own.tolist())) == len(own)
        gaps = np.sqrt(((instance.coords[1:] - instance.coords[c]) ** 2).sum(1))
        assert set((np.argsort(gaps)[1:9] + 1).tolist()) <= set(own.tolist())
    repaired = gather([make_board(instance, SMALL)], SMALL).edges
    assert not torch.allclose(repaired[..., 0], repaired[..., 1])
    paper = Shape(layers=2, width=16, near=8, features="paper")
    released = gather([make_board(instance, paper)], paper)
    assert torch.equal(released.edges[..., 0], released.edges[..., 1])
    assert released.nodes.shape[1] == 3


def test_memory_of_the_graph_grows_with_customers_not_their_square():
    """Twice the customers, twice the numbers."""
    sizes = [gather([make_board(uniform(n, np.random.default_rng(4)), SMALL)], SMALL).edges.numel() for n in (400, 800)]
    assert sizes[1] <= 2.1 * sizes[0]


def test_a_batch_is_its_parts_and_reflection_changes_only_the_angle():
    """Logits of two instances in one batch equal those one by one; a mirrored one differs only through what has a
    sign: sines and how far to the side."""
    a, b = (uniform(n, np.random.default_rng(5)) for n in (20, 33))
    policy = make_policy(SMALL, 2).eval()
    boards = [make_board(a, SMALL), make_board(b, SMALL)]
    both = policy(gather(boards, SMALL))
    for board, low, high in ((boards[0], 0, 21), (boards[1], 21, 55)):
        alone = policy(gather([board], SMALL))
        width = board.near.shape[1]
        assert torch.allclose(both[0][low:high, :width], alone[0], atol=1e-5)
        assert torch.allclose(both[1][low:high], alone[1], atol=1e-5)
    mirrored = Instance("mirrored", a.demands, a.capacity, a.coords * np.array([1.0, -1.0]))
    first, second = (gather([make_board(one, SMALL)], SMALL) for one in (a, mirrored))
    assert torch.allclose(first.edges * torch.tensor([1, -1, 1, -1, 1, 1]), second.edges, atol=1e-5)
    assert torch.allclose(first.nodes[:, [0, 1, 3, 4]], second.nodes[:, [0, 1, 3, 4]], atol=1e-5)


def test_edges_tell_outward_from_inward_and_left_from_right():
    """By hand: depot at the origin, one customer at (2, 0), another at (2, 1); farthest sqrt(5) away, three nodes."""
    instance = Instance("three", [0, 1, 1], 2, np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]))
    graphs = gather([make_board(instance, SMALL)], SMALL)
    unit, far = 3**0.5 / 10 / 5**0.5, 5**0.5
    to = graphs.near.tolist()
    there = dict(zip(to[1], graphs.edges[1].tolist(), strict=True))
    assert there[2] == pytest.approx([2 / far, 1 / far, 0.0, unit, unit, 0.0], abs=1e-6)
    assert there[0] == pytest.approx([0.0, 0.0, -2 * unit, 0.0, 2 * unit, 1.0], abs=1e-6)
    back = dict(zip(to[2], graphs.edges[2].tolist(), strict=True))
    assert back[1] == pytest.approx([2 / far, -1 / far, -unit / far, -2 * unit / far, unit, 0.0], abs=1e-6)


def test_routes_of_a_policy_and_its_levels():
    """Any weights give feasible routes; best of samples is no worse than the mean; levels never raise the cost."""
    instance = uniform(80, np.random.default_rng(6))
    policy = make_policy(SMALL, 3)
    routes = policy_routes(policy, instance)
    assert faults(instance, routes) == []
    assert len(routes) <= vehicles_for(instance) + 1
    eight = policy_routes(policy, instance, copies=8)
    assert faults(instance, eight) == []
    assert cost(instance, eight) < cost(instance, routes)
    with pytest.raises(BadInput, match="9 copies; there are 1 to 8"):
        policy_routes(policy, instance, copies=9)
    subs = pairs_of(instance, routes)
    after = level_by_policy(policy, routes, subs, samples=4)
    assert faults(instance, after) == []
    assert cost(instance, after) <= cost(instance, routes)
    assert len(after) <= len(routes)
    new = policy_groups(policy, [(sub.instance, sub.routes) for sub in subs])
    assert all(faults(sub.instance, one) == [] for sub, one in zip(subs, new, strict=True))
    assert policy_routes(policy, uniform(0, np.random.default_rng(0))) == []


@pytest.mark.parametrize("how", ["rl", "sl"])
def test_training_learns_and_resumes_bit_equal(tmp_path, how):
    """On drawn instances of 20 customers the decoded cost falls; ten steps after a checkpoint are the same steps, at a
    learning rate that has gone on falling."""
    training = Training(how=how, size=20, instances=8, samples=8, refine=400, learning_rate=5e-3, seed=1)
    trainee = begin(SMALL, training)
    tasks = global_tasks(training)
    rng = np.random.default_rng(7)
    held_out = [uniform(20, rng) for _ in range(30)]

    def greedy(policy):
        return float(np.mean([cost(one, policy_routes(policy, one)) for one in held_out]))

    before = greedy(trainee.policy)
    rows = list(itertools.islice(train(trainee, tasks, training, lambda step: step / 50), 40))
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["gradient"]) for row in rows)
    assert greedy(trainee.policy) < 0.95 * before
    trainee.save(tmp_path / "c.pt")
    again = resume(tmp_path / "c.pt", SMALL, training)
    one, two = (list(train(t, tasks, training, lambda step: step / 50)) for t in (trainee, again))
    assert len(one) == 10
    assert one == two
    rate = again.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(5e-3 * (1 + math.cos(math.pi * 49 / 50)) / 2)
    assert all(torch.equal(a, b) for a, b in zip(trainee.policy.parameters(), again.policy.parameters(), strict=True))
    with pytest.raises(BadInput, match="another architecture"):
        resume(tmp_path / "c.pt", Shape(layers=1, width=16, near=8), training)


def test_local_training_takes_pairs():
    """Tasks of the local policy are pairs of at most two vehicles; a step changes the weights."""
    training = Training(size=40, instances=4, samples=4, seed=2)
    first, trainee = make_policy(SMALL, 4), begin(SMALL, training)
    tasks = local_tasks(training, first, trainee.policy)
    assert all(task.most == 2 for step in range(3) for task in tasks(step))
    before = [p.clone() for p in trainee.policy.parameters()]
    list(train(trainee, tasks, training, lambda step: step >= 3))
    assert any(not torch.equal(a, b) for a, b in zip(before, trainee.policy.parameters(), strict=True))


def test_the_cost_after_the_levels_is_the_reward():
    """Costs after a level are those of ``level_by_policy`` partition by partition, never above those before; training
    on them changes the weights otherwise than on the costs before; without a local policy they are refused."""
    rng, local = np.random.default_rng(11), make_policy(SMALL, 6)
    instances = [uniform(40, rng) for _ in range(2)]
    first = make_policy(SMALL, 7)
    partitions = [[policy_routes(first, one, 1, seed) for seed in range(3)] for one in instances]
    after = costs_after(local, instances, partitions, 2)
    for one, tries, values in zip(instances, partitions, after, strict=True):
        for routes, value in zip(tries, values, strict=True):
            here = routes
            for level in range(2):
                circle = rotated(one, here, 1 if level else 0)
                here = level_by_policy(local, circle, pairs_of(one, circle))
            assert cost(one, here) == pytest.approx(value)
            assert value <= cost(one, routes) + 1e-9
    weights = []
    for reward in ("before", "after"):
        training = Training(size=40, instances=4, samples=4, seed=3, reward=reward)
        trainee = begin(SMALL, training)
        given = local if reward == "after" else None
        rows = list(train(trainee, global_tasks(training), training, lambda step: step >= 2, given))
        assert all(math.isfinite(row["loss"]) for row in rows)
        weights.append(torch.cat([p.detach().flatten() for p in trainee.policy.parameters()]))
    assert 0 < rows[-1]["improved"] <= 1
    assert rows[-1]["after"] < rows[-1]["cost"]
    assert not torch.equal(*weights)
    with pytest.raises(BadInput, match="reward 'after' needs a local policy"):
        next(train(trainee, global_tasks(training), training, lambda step: step >= 9))


def test_policy_folders(tmp_path):
    """Saved and loaded the policy decodes the same; another architecture or an empty folder is one line."""
    instance = uniform(30, np.random.default_rng(8))
    policy = make_policy(SMALL, 5)
    save_policy(policy, tmp_path, "global")
    assert policy_routes(load_policy(tmp_path, "global"), instance) == policy_routes(policy, instance)
    with pytest.raises(BadInput, match="holds no local policy"):
        load_policy(tmp_path, "local")
    (tmp_path / "global.json").write_text((tmp_path / "global.json").read_text().replace('"width": 16', '"width": 8'))
    with pytest.raises(BadInput, match="of another architecture"):
        load_policy(tmp_path, "global")
    (tmp_path / "global.json").write_text("{}")
    with pytest.raises(BadInput, match="describes no policy"):
        load_policy(tmp_path, "global")


def test_labels_off_the_candidate_list_are_counted():
    """A partition that jumps across the square has steps without probability; they are counted, not invented."""
    instance = uniform(60, np.random.default_rng(9))
    board = make_board(instance, Shape(near=2))
    order = (np.random.default_rng(10).permutation(60) + 1).tolist()
    routes = [order[k : k + 5] for k in range(0, 60, 5)]
    if faults(instance, routes):
        routes = [order[k : k + 3] for k in range(0, 60, 3)]
    found = replay(Board(*board[:4], 100), actions_of(routes))
    assert found.off > 10
    assert isinstance(make_policy(SMALL, 0), Policy)
    assert len(decoded(make_policy(SMALL, 0), [board], 2)[0]) == 2
    assert callable(episodes)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("global.json", lambda old: b"{oops", "global.json' is no JSON"),
        ("global.json", lambda old: b"[1]", "describes no policy of this room"),
        ("global.json", lambda old: old.replace(b'"near": 8', b'"near": "x"'), "near 'x' is not a whole number from 1"),
        ("global.json", lambda old: old.replace(b"repaired", b"other"), "features 'other' is not repaired or paper"),
        ("global.json", lambda old: old.replace(b'"width": 16', b'"width": 8'), r"is \[16\], by global.json \[8\]"),
        ("global.json", lambda old: old.replace(b'"layers": 2', b'"layers": 3'), "is missing, by global.json"),
        ("global.safetensors", lambda old: old[:500], "global.safetensors' is not whole"),
    ],
)
def test_damaged_policy_folders_are_one_line(tmp_path, name, change, said):
    """The file, what is wrong in it, what next; never torch's own list."""
    save_policy(make_policy(SMALL, 1), tmp_path, "global")
    load_policy(tmp_path, "global")
    old = (tmp_path / name).read_bytes()
    assert change(old) != old
    (tmp_path / name).write_bytes(change(old))
    with pytest.raises(BadInput, match=said) as caught:
        load_policy(tmp_path, "global")
    assert "\n" not in str(caught.value)
