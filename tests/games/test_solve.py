"""Exact answers: every printed number of the specification, the traps, and properties that must hold for any
opponent."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.games.memory import (
    Automaton,
    embed,
    k_memory,
    load_strategy,
    memory_one,
    minimise,
    named_automaton,
    stationary,
    with_noise,
)
from backcast.games.problems import load_game, pursuit, random_game, repeated, travellers_dilemma
from backcast.games.solve import (
    average,
    average_response,
    best_response,
    evaluate,
    exact_average,
    exact_values,
    product,
    simulate,
)

F = Fraction
GRIM = "1;1,0,0,0"
TENTH = "1;1,.1,1,.1"
TABLE = {
    "tft": ("30", "20/3", "21/4"),
    "stft": ("27", "10/3", "5/4"),
    GRIM: ("30", "6", "21/4"),
    "wsls": ("590/19", "22/3", "65/12"),
    "gtft": ("590/19", "22/3", "67/12"),
    TENTH: ("30", "103/15", "107/20"),
    "extort-2": ("24", "22/3", "205/36"),
    "allc": ("50", "10", "25/4"),
    "alld": ("10", "2", "5/4"),
    "random": ("30", "6", "15/4"),
    "tf2t": ("770/19", "26/3", "121/20"),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.method(9, proves="exact best responses, as fractions")
def test_best_responses_as_fractions(ipd, reply, name):
    """The value against each named opponent at three discounts, to the fraction, by every solver."""
    for discount, wanted in zip((".9", ".5", ".2"), TABLE[name], strict=True):
        answer = reply(ipd, name, discount)
        assert answer.exact == F(wanted)
        assert answer.certify() == pytest.approx(float(F(wanted)), abs=1e-10)
        for method in ("vi", "mpi", "pi", "lp"):
            rough = reply(ipd, name, discount, method=method, exact=False)
            assert rough.lower <= float(F(wanted)) <= rough.upper
            assert rough.value == pytest.approx(float(F(wanted)), abs=1e-7)


def moves(answer):
    """Optimal moves at start, CC, CD, DC, DD; ties in full."""
    actions = answer.actions()
    return ["".join(actions[w]) for w in ("start", "CC", "CD", "DC", "DD")]


@pytest.mark.parametrize(
    ("name", "discount", "wanted"),
    [
        ("tft", ".9", ["C", "C", "C", "C", "C"]),
        ("tft", ".5", ["D", "D", "D", "C", "C"]),
        ("tft", ".2", ["D", "D", "D", "D", "D"]),
        (GRIM, ".9", ["C", "C", "D", "D", "D"]),
        (GRIM, ".5", ["CD", "CD", "D", "D", "D"]),
        ("wsls", ".9", ["D", "D", "D", "D", "D"]),
        ("gtft", ".9", ["D", "D", "D", "C", "C"]),
        ("gtft", ".5", ["D", "D", "D", "CD", "CD"]),
        ("gtft", ".2", ["D", "D", "D", "D", "D"]),
        ("extort-2", ".9", ["C", "C", "C", "C", "C"]),
        ("extort-2", ".5", ["D", "D", "D", "D", "D"]),
    ],
)
def test_policies_and_ties(ipd, reply, name, discount, wanted):
    """The optimal action SETS in the learner's view; ties are reported as ties, also without fractions."""
    assert moves(reply(ipd, name, discount)) == wanted
    assert moves(reply(ipd, name, discount, exact=False)) == wanted


def test_value_tables(ipd, reply):
    """The values from every window at discount .9."""
    for name, wanted in {
        "tft": ["30", "30", "30", "27", "27"],
        "extort-2": ["24", "70/3", "20", "21", "18"],
        "wsls": ["590/19", "590/19", "550/19", "550/19", "590/19"],
    }.items():
        assert reply(ipd, name, ".9").exact_values is not None
        values = reply(ipd, name, ".9").values()
        expected = [float(F(x)) for x in wanted]
        assert [values[w] for w in ("start", "CC", "CD", "DC", "DD")] == pytest.approx(expected, abs=1e-12)


def test_closed_forms(ipd, reply):
    """TFT is worth max{3/(1-g), 5/(1-g^2), 5+g/(1-g)}, switching at 1/4 and 2/3; WSLS (5+g)/(1-g^2) for every g."""
    for k in range(0, 100, 3):
        g = F(k, 100)
        assert reply(ipd, "tft", g).exact == max(3 / (1 - g), 5 / (1 - g * g), 5 + g / (1 - g))
        assert reply(ipd, "wsls", g).exact == (5 + g) / (1 - g * g)
    assert moves(reply(ipd, "tft", F(2, 3)))[0] == "CD"
    assert moves(reply(ipd, "tft", F(1, 4)))[3] == "CD"


def test_noise_and_the_two_grims(ipd, reply):
    """Trembling opponents; the trigger automaton and the memory-one Grim part ways once there is noise."""

    def noisy(name, discount):
        return reply(ipd, with_noise(load_strategy(ipd, name, 1), ".05"), discount).value

    assert [noisy("tft", d) for d in (0.9, 0.5)] == [28.5, 6.5]
    assert [noisy("wsls", d) for d in (0.9, 0.5)] == pytest.approx([30.99447514, 7.24137931], abs=1e-8)
    assert [noisy("gtft", d) for d in (0.9, 0.5)] == pytest.approx([30.23684211, 7.2], abs=1e-8)
    assert reply(ipd, "grim", 0.9).exact == reply(ipd, GRIM, 0.9).exact == 30
    assert noisy("grim", 0.9) == 28.5
    assert noisy(GRIM, 0.9) == pytest.approx(23.3793103, abs=1e-7)


def test_the_first_move_is_not_pretended(ipd, reply):
    """STFT and TFT share a vector and differ by their start window: 27 and 30."""
    assert (reply(ipd, "stft", 0.9).exact, reply(ipd, "tft", 0.9).exact) == (27, 30)


def test_theorem_one_embeddings(ipd, reply):
    """TFT in tables of K = 1..5 is worth the same, and the K = 4 policy depends on the last step only."""
    tft = load_strategy(ipd, "tft", 1)
    one = reply(ipd, tft, 0.9)
    for k in range(1, 6):
        large = embed(tft, k)
        assert large.nodes == (5, 21, 85, 341, 1365)[k - 1]
        assert minimise(large)[0].nodes == 2
        for discount, wanted in ((0.9, 30), (0.5, 20 / 3), (0.2, 21 / 4)):
            assert reply(ipd, large, discount, exact=False).value == pytest.approx(wanted, abs=1e-10)
    four = reply(ipd, embed(tft, 4), 0.9).actions()
    for window, chosen in four.items():
        assert chosen == one.actions()[window.split()[-1]]


def test_embeddings_in_a_game_with_states():
    """A random two-state game with a K = 1 opponent that sees states keeps its start values for K = 2 and 3."""
    game = random_game(2, (2, 2), 2, seed=7)
    rng = np.random.default_rng(7)
    opponent = k_memory(game, 1, 1, rng.dirichlet(np.ones(2), size=(2, 9)), seen_states=True)
    wanted = best_response(game, opponent).solution.value[[0, 9]]
    for k in (2, 3):
        large = best_response(game, embed(opponent, k))
        starts = [large.lifted.index[(s, 0)] for s in range(2)]
        assert large.solution.value[starts] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("opponent", "discount", "rich", "poor", "first"),
    [
        ("tft", ".9", "10", "46/5", ("C", "C")),
        ("tft", ".5", "2", "6/5", ("CD", "CD")),
        ("tft", ".2", "2", "6/5", ("D", "D")),
        ("wsls", ".9", "10", "46/5", ("C", "C")),
        ("wsls", ".5", "12/5", "8/5", ("D", "D")),
        ("wsls", ".2", "41/20", "5/4", ("D", "D")),
    ],
)
def test_the_donation_game(reply, opponent, discount, rich, poor, first):
    """Values and first moves from both states; at .5 against TFT, C is optimal and D ties after a C."""
    game = load_game("donation")
    answer = reply(game, opponent, discount)
    starts = [answer.lifted.index[(s, 0)] for s in range(2)]
    assert [answer.exact_values[n] for n in starts] == [F(rich), F(poor)]
    actions = answer.actions()
    assert ("".join(actions["rich: start"]), "".join(actions["poor: start"])) == first


def test_the_state_turns_defection_into_cooperation(reply):
    """Against WSLS at .9 defection pays 10.526 in the one-state game, and cooperation in the two-state
    game."""
    game = load_game("donation")
    answer = reply(game, "wsls", ".9")
    after = answer.lifted.index[(1, 2)]
    assert answer.exact_values[after] == F(207, 25)
    assert answer.actions()["poor: CD"] == answer.actions()["poor: DC"] == ["D"]
    flat = repeated([[[1, -1], [2, 0]], [[1, 2], [-1, 0]]], ("CD", "CD"))
    one = reply(flat, "wsls", ".9")
    assert one.exact == F(200, 19)
    assert one.actions()["start"] == ["D"]


def test_travellers(reply):
    """Against a mirror with 3, 99 and 2 bids, and against always-high."""
    small, large, two = travellers_dilemma(2, 4), travellers_dilemma(2, 100), travellers_dilemma(0, 1)
    assert [reply(small, "mirror", d).exact for d in (".9", ".5", ".2")] == [40, 8, F(59, 10)]
    assert reply(small, "mirror", ".5").actions()["start"] == ["3", "4"]
    wanted = [1000, 200.1333333333, 125.9375]
    assert [reply(large, "mirror", d).value for d in (0.9, 0.5, 0.2)] == pytest.approx(wanted, abs=1e-8)
    assert [reply(two, "mirror", d).exact for d in (".9", ".5", ".2")] == [10, 2, 2]
    assert reply(two, "highest", ".99").exact == 200


def test_the_long_traveller_cycle(reply):
    """At .5 the best response to the mirror over 2..100 cycles 99, 98, 97, 100."""
    game = travellers_dilemma(2, 100)
    answer = reply(game, "mirror", 0.5)
    policy = answer.automaton()
    bids, node = [], policy.start
    for _ in range(8):
        mine = int(policy.chances[0, node].argmax())
        theirs = int(answer.lifted.others[0].chances[0, node].argmax())
        bids.append(int(game.actions[0][mine]))
        node = int(policy.next[0, node, mine * 99 + theirs])
    assert bids[:4] == [99, 98, 97, 100]
    assert bids[4:] == bids[:4]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("evolved-fsm-4", 36.715867),
        ("evolved-fsm-6", 33.394834),
        ("evolved-fsm-16", 35.815867),
        ("evolved-fsm-16-noise-05", 37.673684),
    ],
)
def test_axelrod_machines(ipd, reply, name, value):
    """Best responses to the evolved machines from the static table."""
    assert reply(ipd, name, 0.9).value == pytest.approx(value, abs=5e-7)


def test_mealy_machines_need_a_node_per_pending_move(ipd):
    """A Mealy machine's node is (state, pending move): the 16-state ones need 16 or 17, TF1 22."""
    sizes = [named_automaton(ipd, n, 1).nodes for n in ("evolved-fsm-16", "evolved-fsm-16-noise-05", "tf1")]
    assert sizes == [16, 17, 22]


def test_zero_determinant_extortion(ipd):
    """Against any interior memory-one player, s_X - 1 = chi (s_Y - 1) in averages."""
    rng = np.random.default_rng(0)
    for vector, chi in (("extort-2", 2), ("zd-extort-3", 3)):
        extort = load_strategy(ipd, vector, 0)
        for _ in range(60):
            q = rng.uniform(0.01, 0.99, 5)
            mine, theirs = average(ipd, [extort, memory_one(ipd, 1, q[0], q[1:])])
            assert abs((mine - 1) - chi * (theirs - 1)) <= 2e-13


def test_zero_determinant_with_discounting(ipd):
    """The undiscounted vector fails at .9; the discounted one (D; 8/9, 1/9, 2/3, 0) holds there."""
    rng = np.random.default_rng(1)
    plain, discounted = load_strategy(ipd, "extort-2", 0), load_strategy(ipd, "D;8/9,1/9,2/3,0", 0)
    for _ in range(60):
        q = rng.uniform(0.01, 0.99, 5)
        other = memory_one(ipd, 1, q[0], q[1:])
        rest = [0.1 * evaluate(ipd, [me, other], 0.9).values for me in (plain, discounted)]
        residual = [(mine - 1) - 2 * (theirs - 1) for mine, theirs in rest]
        assert -1.6 < residual[0] < -0.5
        assert abs(residual[1]) <= 2e-14


def test_exact_profiles(ipd):
    """Averages and discounted values of Extort players as fractions."""
    extort = load_strategy(ipd, "extort-2", 0)
    other = {name: load_strategy(ipd, name, 1) for name in ("allc", "tft", "extort-2")}
    assert exact_average(ipd, [extort, other["allc"]]) == [F(7, 2), F(9, 4)]
    assert exact_average(ipd, [load_strategy(ipd, "zd-extort-3", 0), other["allc"]]) == [F(41, 11), F(21, 11)]
    assert exact_average(ipd, [extort, other["tft"]]) == [1, 1]
    assert exact_values(ipd, [extort, other["allc"]], ".9") == [34, 24]
    assert exact_values(ipd, [extort, other["extort-2"]], ".9") == [F(2420, 119)] * 2


def test_averages_with_several_recurrent_classes(ipd):
    """TFT against TFT has several closed classes and from its start earns 3; a coin that settles for ever splits
    evenly."""
    tft = [load_strategy(ipd, "tft", seat) for seat in range(2)]
    assert average(ipd, tft).tolist() == [3, 3]
    nodes = {"coin": {"play": {"C": "1/2", "D": "1/2"}, "next": {"C,*": "c", "D,*": "d"}}}
    nodes |= {"c": {"play": "C", "next": "c"}, "d": {"play": "D", "next": "d"}}
    from backcast.games.memory import read_strategy

    chooser = read_strategy(ipd, {"start": "coin", "nodes": nodes}, 0)
    allc = load_strategy(ipd, "allc", 1)
    assert exact_average(ipd, [chooser, allc]) == [4, F(3, 2)]
    assert average(ipd, [chooser, allc]) == pytest.approx([4, 1.5])


@pytest.mark.parametrize(
    ("name", "gain"),
    [("tft", 3), ("grim", 3), ("wsls", 3), ("gtft", 3), ("allc", 5), ("alld", 1), ("extort-2", 9 / 4), ("tf2t", 4)],
)
def test_average_best_responses(ipd, name, gain):
    """The best long-run average against known opponents: 9/4 is what unconditional cooperation gets from Extort-2."""
    assert average_response(ipd, load_strategy(ipd, name, 1)).value == pytest.approx(gain, abs=1e-8)


def test_average_best_response_chooses_its_class():
    """From a fork one absorbing side pays 2 for ever, the other 1 after a first 100; the average prefers 2."""
    from backcast.games.problems import from_rows

    game = from_rows(
        "fork",
        (("l", "r"), ("x",)),
        [[[100, 0], [1, 1], [2, 2]], [[0, 0]] * 3],
        [[{1: 1}, {2: 1}], [{1: 1}] * 2, [{2: 1}] * 2],
        states=("fork", "one", "two"),
    )
    answer = average_response(game, stationary(game, 1, np.array([1])))
    assert answer.value == pytest.approx(2)
    assert answer.gain == pytest.approx([2, 1, 2])
    assert len(answer.components) == 2


def test_alternator_against_gtft(ipd):
    """The exact limits 3 and 13/6, which a vectorised simulation approaches."""
    pair = [load_strategy(ipd, "alternator", 0), load_strategy(ipd, "gtft", 1)]
    assert exact_average(ipd, pair) == [3, F(13, 6)]
    seen = simulate(ipd, pair, turns=400, matches=2000, seed=1)
    assert seen.mean.mean(axis=0) == pytest.approx([3, 13 / 6], abs=0.02)


def test_simulation_agrees_with_evaluation_in_a_game_with_states():
    """Discounted sums of simulated matches lie around the exact values."""
    game = random_game(4, (2, 3), 3, seed=5, discount=0.8)
    rng = np.random.default_rng(5)
    pair = [k_memory(game, i, 1, rng.dirichlet(np.ones(game.sizes[i]), size=(4, 7))) for i in range(2)]
    exact = evaluate(game, pair)
    seen = simulate(game, pair, turns=80, matches=20_000, seed=2).discounted
    error = 4 * seen.std(axis=0) / np.sqrt(len(seen))
    assert (np.abs(seen.mean(axis=0) - exact.values) < error).all()
    assert exact.frequencies.sum() == pytest.approx(1)
    assert (1 - 0.8) * exact.values == pytest.approx((exact.frequencies * game.payoff).sum(axis=(1, 2)))


def random_machine(game, seat, seed):
    """A machine with random play and transitions, some of it pure."""
    rng = np.random.default_rng(seed)
    nodes, layers = int(rng.integers(1, 5)), int(rng.choice([1, len(game.states)]))
    play = rng.dirichlet(np.full(game.sizes[seat], 0.5), size=(layers, nodes))
    if seed % 2:
        play = np.eye(game.sizes[seat])[play.argmax(axis=2)]
    following = rng.integers(0, nodes, size=(layers, nodes, game.joint)).astype(np.int32)
    return Automaton(seat, game.actions, play, following, states=game.states)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.9, 0.99]), st.integers(0, 1))
def test_no_strategy_beats_the_best_response(seed, discount, seat):
    """The value is at least that of random machines, equals its own policy's, and lies in the certified interval."""
    game = random_game(3, (2, 3), 2, seed=seed)
    other = random_machine(game, 1 - seat, seed)
    answer = best_response(game, other, seat, discount)
    assert answer.lower <= answer.value <= answer.upper
    assert evaluate(game, [answer.automaton(), other], discount).values[seat] == pytest.approx(
        answer.value, rel=1e-9, abs=1e-9
    )
    for k in range(3):
        mine = random_machine(game, seat, seed + k)
        assert evaluate(game, [mine, other], discount).values[seat] <= answer.upper + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 5), st.floats(-5, 5))
def test_affine_rewards_move_values_affinely(seed, scale, shift):
    """R -> aR + b turns V into aV + b/(1 - g), whatever the opponent."""
    from dataclasses import replace

    game = random_game(3, (2, 2), 2, seed=seed)
    other = random_machine(game, 1, seed)
    changed = replace(game, rewards=scale * game.rewards + shift)
    value = best_response(game, other, 0, 0.9).value
    assert best_response(changed, other, 0, 0.9).value == pytest.approx(scale * value + shift * 10, abs=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_swapping_players_and_relabelling_actions(seed):
    """The same game with the seats exchanged, or with the learner's actions renumbered, is worth the same."""
    from dataclasses import replace

    game = random_game(2, (2, 2), 2, seed=seed)
    other = random_machine(game, 1, seed)
    value = best_response(game, other, 0, 0.9).value

    def moved(order, seats, learner):
        rows = (np.arange(2)[:, None] * 4 + np.array(order)).ravel()
        entries = np.concatenate([np.arange(game.indptr[r], game.indptr[r + 1]) for r in rows])
        lengths = np.diff(game.indptr)[rows]
        changed = replace(
            game,
            rewards=game.rewards[seats][:, :, order],
            indptr=np.concatenate([[0], np.cumsum(lengths)]),
            next_state=game.next_state[entries],
            probability=game.probability[entries],
        )
        rival = replace(other, player=1 - learner, next=other.next[:, :, order])
        return best_response(changed, rival, learner, 0.9).value

    assert moved([0, 2, 1, 3], [1, 0], 1) == pytest.approx(value, rel=1e-9)
    assert moved([2, 3, 0, 1], [0, 1], 0) == pytest.approx(value, rel=1e-9)


def test_three_players():
    """In pursuit on a 3 x 3 torus the learner does at least as well as by copying the greedy teammate."""
    game = pursuit(3)
    others = [named_automaton(game, "greedy", 1), named_automaton(game, "uniform", 2)]
    answer = best_response(game, others, 0, 0.9)
    copied = evaluate(game, [named_automaton(game, "greedy", 0), *others], 0.9).values[0]
    assert answer.lower >= copied - 1e-9
    assert answer.certify() == pytest.approx(answer.value, abs=1e-8)
    with pytest.raises(BadInput, match="give one opponent for each"):
        best_response(game, others[:1], 0, 0.9)


def test_the_product_matches_a_dense_oracle():
    """The sparse product equals a brute-force sum over joint actions, and its reachable part is a part of it."""
    game = random_game(3, (2, 2, 2), 2, seed=11)
    others = [random_machine(game, seat, 3 + seat) for seat in (0, 2)]
    lifted = product(game, 1, others)
    dense = np.zeros((lifted.size * 2, lifted.size))
    for n in range(lifted.size):
        s, nodes = lifted.state[n], lifted.memory[n]
        for joint, digits in enumerate(game.digits):
            chance = np.prod(
                [t.chances[s % len(t.play), m, digits[t.player]] for t, m in zip(others, nodes, strict=True)]
            )
            after = [int(t.next[s % len(t.next), m, joint]) for t, m in zip(others, nodes, strict=True)]
            for entry in range(game.indptr[s * 8 + joint], game.indptr[s * 8 + joint + 1]):
                target = lifted.index[(int(game.next_state[entry]), *after)]
                dense[n * 2 + digits[1], target] += chance * game.kernel[entry]
    assert lifted.transition.toarray() == pytest.approx(dense, abs=1e-12)
    part = product(game, 1, others, whole=False)
    assert set(part.index) <= set(lifted.index)
    whole, reached = (best_response(game, others, 1, whole=flag).value for flag in (True, False))
    assert whole == pytest.approx(reached)


def test_refusal_before_building(ipd):
    """A product beyond the budget is refused with its size, and so is a memory that would need one."""
    with pytest.raises(BadInput, match="more than the budget of 10"):
        product(ipd, 0, [embed(load_strategy(ipd, "tft", 1), 3)], whole=True, budget=10)
    with pytest.raises(BadInput, match="more than 3 lifted states are reachable"):
        product(ipd, 0, [embed(load_strategy(ipd, "tft", 1), 3)], whole=False, budget=3)
    with pytest.raises(BadInput, match="22369621 lifted states"):
        k_memory(ipd, 1, 12, lambda *_: 0)


def test_a_trembling_learner(ipd):
    """With the learner's own hand trembling half the time nothing it means matters: it earns the uniform player's
    value."""
    other = load_strategy(ipd, "tft", 1)
    shaky = best_response(ipd, other, 0, 0.9, own_noise=0.5)
    even = evaluate(ipd, [named_automaton(ipd, "uniform", 0), other], 0.9).values[0]
    assert shaky.value == pytest.approx(even)


def test_bad_methods_and_discounts(ipd, reply):
    """Unknown methods and discounts of 1 are refused."""
    with pytest.raises(BadInput, match="method: 'magic'"):
        reply(ipd, "tft", 0.9, method="magic")
    with pytest.raises(BadInput, match="outside"):
        reply(ipd, "tft", 1)
