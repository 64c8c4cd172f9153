"""Plain-loop oracles and random instances of this room: nothing here shares code with what it checks."""

import itertools
from fractions import Fraction

import numpy as np

from backcast.games.memory import Automaton
from backcast.games.problems import from_rows


def any_game(rng, players=None, landing=None, discount="9/10"):
    """A small random game: 1 to 4 players, 1 to 3 states, 1 to 3 actions (one too), numbers that are fractions."""
    n = int(players or rng.choice([1, 2, 2, 3, 4]))
    states, sizes = int(rng.integers(1, 4)), [int(rng.integers(1, 4)) for _ in range(n)]
    joint = int(np.prod(sizes))
    landing = bool(rng.random() < 0.4) if landing is None else landing
    rows = [[{} for _ in range(joint)] for _ in range(states)]
    paid = [[{} for _ in range(joint)] for _ in range(states)]
    for s, a in itertools.product(range(states), range(joint)):
        targets = rng.choice(states, size=int(rng.integers(1, states + 1)), replace=False)
        weights = rng.integers(1, 5, size=len(targets))
        for target, weight in zip(targets.tolist(), weights.tolist(), strict=True):
            rows[s][a][target] = Fraction(weight, int(weights.sum()))
            paid[s][a][target] = tuple(Fraction(int(v), 4) for v in rng.integers(-8, 9, size=n))
    return from_rows(
        "any",
        [[f"{'abcd'[i]}{k}" for k in range(size)] for i, size in enumerate(sizes)],
        rng.integers(-8, 9, size=(n, states, joint)).astype(object),
        rows,
        states=[f"s{i}" for i in range(states)],
        start=[Fraction(1, states)] * states if rng.random() < 0.5 else 0,
        discount=discount,
        landing=paid if landing else None,
    )


def any_machine(rng, game, seat, pure=None):
    """A random automaton of 1 to 3 nodes, pure or with fractions, that may look at the state."""
    nodes, actions, states = int(rng.integers(1, 4)), game.sizes[seat], len(game.states)
    layers = [int(rng.choice([1, states])) for _ in range(2)]
    pure = bool(rng.random() < 0.5) if pure is None else pure
    weights = rng.integers(0, 4, size=(layers[0], nodes, actions))
    weights[..., 0] += weights.sum(axis=-1) == 0
    play = np.empty(weights.shape, dtype=object)
    for place, weight in np.ndenumerate(weights):
        play[place] = Fraction(int(weight), int(weights[place[:-1]].sum()))
    if pure:
        play = np.eye(actions, dtype=int)[rng.integers(0, actions, (layers[0], nodes))]
    following = rng.integers(0, nodes, (layers[1], nodes, game.joint)).astype(np.int32)
    start = int(rng.integers(nodes))
    return Automaton(seat, game.actions, play, following, start, f"machine {seat + 1}", states=game.states)


def any_table(rng, player=None, **options):
    """A random game, one of its seats, and automata in all the others."""
    game = any_game(rng, **options)
    player = int(rng.integers(len(game.players))) if player is None else player
    return game, player, [any_machine(rng, game, seat) for seat in range(len(game.players)) if seat != player]


def joint_number(game, moves):
    """The number of a joint action, first player most significant."""
    number = 0
    for move, size in zip(moves, game.sizes, strict=True):
        number = number * size + move
    return number


def dense_process(game, player, others):
    """What the player faces, by loops: P (N, A, N), R (N, A), start (N,); a state is (game state, node, node, ...)."""
    keys = [(s, *m) for s in range(len(game.states)) for m in itertools.product(*(range(t.nodes) for t in others))]
    place = {key: n for n, key in enumerate(keys)}
    size, actions = len(keys), game.sizes[player]
    law, pay = np.zeros((size, actions, size)), np.zeros((size, actions))
    for key in keys:
        for moves in itertools.product(*(range(size) for size in game.sizes)):
            chance = 1.0
            for t, m in zip(others, key[1:], strict=True):
                chance *= float(t.play[key[0] % len(t.play), m, moves[t.player]])
            joint = joint_number(game, moves)
            after = [int(t.next[key[0] % len(t.next), m, joint]) for t, m in zip(others, key[1:], strict=True)]
            for entry in range(*game.indptr[key[0] * game.joint + joint :][:2]):
                p = chance * float(game.probability[entry])
                paid = game.rewards[player, key[0], joint] if game.landing is None else game.landing[player, entry]
                law[place[key], moves[player], place[(int(game.next_state[entry]), *after)]] += p
                pay[place[key], moves[player]] += p * float(paid)
    start = np.zeros(size)
    for s, p in enumerate(game.start.tolist()):
        start[place[(s, *(t.start for t in others))]] = float(p)
    return law, pay, start


def long_run(chain, pay):
    """The average payoff from every state of a chain, by squaring its lazy version until nothing moves."""
    power = 0.5 * (np.eye(len(chain)) + chain)
    for _ in range(60):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return power @ pay


def finite_horizon(game, mixture, player, discount, steps):
    """The most anybody earns in so many steps against a mixture of two-player types: plain recursion over beliefs."""
    types, other = mixture.types, 1 - player

    def value(s, nodes, weights, left):
        if left == 0:
            return 0.0
        best = -np.inf
        for own in range(game.sizes[player]):
            total = 0.0
            for reply in range(game.sizes[other]):
                moves = (own, reply) if player == 0 else (reply, own)
                joint = joint_number(game, moves)
                mass = [
                    w * float(t.play[s % len(t.play), m, reply]) for w, t, m in zip(weights, types, nodes, strict=True)
                ]
                chance = sum(mass)
                if chance == 0:
                    continue
                after = [int(t.next[s % len(t.next), m, joint]) for t, m in zip(types, nodes, strict=True)]
                known = [part / chance for part in mass]
                for entry in range(*game.indptr[s * game.joint + joint :][:2]):
                    target = int(game.next_state[entry])
                    paid = game.rewards[player, s, joint] if game.landing is None else game.landing[player, entry]
                    rest = discount * value(target, after, known, left - 1)
                    total += chance * float(game.probability[entry]) * (float(paid) + rest)
            best = max(best, total)
        return best

    begin = [t.start for t in types]
    weights = [float(w) for w in mixture.weights]
    return sum(float(p) * value(s, begin, weights, steps) for s, p in enumerate(game.start.tolist()) if p)
