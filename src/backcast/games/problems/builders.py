"""Games with a name: repeated matrix games, the two-state donation game, traveller's dilemma, coin, random games."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.games.numbers import parse_number
from backcast.games.problems.game import StochasticGame, from_rows


def repeated(
    payoffs: Any, actions: Sequence[Sequence[str]], name: str = "matrix", discount: Any = 0.9
) -> StochasticGame:
    """Returns the one-state game that repeats a matrix game; ``payoffs``: shape (n, A_1, ..., A_n)."""
    table = np.asarray(payoffs)
    sizes = tuple(len(names) for names in actions)
    if table.shape != (len(actions), *sizes):
        raise BadInput(
            f"game '{name}': payoffs have shape {table.shape}; expected {(len(actions), *sizes)} for these actions"
        )
    return from_rows(name, actions, table.reshape(len(actions), 1, -1), discount=discount)


def prisoners_dilemma(reward: Any = 3, sucker: Any = 0, temptation: Any = 5, punishment: Any = 1) -> StochasticGame:
    """Returns the repeated prisoner's dilemma; payoffs in the order R, S, T, P (Axelrod's library says R, P, S, T)."""
    mine = np.array([[reward, sucker], [temptation, punishment]], dtype=object)
    return repeated(np.stack([mine, mine.T]), ("CD", "CD"), "ipd")


def travellers_dilemma(low: int = 2, high: int = 100) -> StochasticGame:
    """Returns the repeated traveller's dilemma: player 1 gets min(a1, a2) + 2 sign(a2 - a1) for bids low..high."""
    if int(low) != low or int(high) != high:
        raise BadInput(f"traveller: bids {low}..{high}; bids are whole numbers")
    low, high = int(low), int(high)
    if high <= low:
        raise BadInput(f"traveller: bids {low}..{high}; the highest bid must exceed the lowest")
    bids = np.arange(low, high + 1)
    mine = np.minimum(bids[:, None], bids[None, :]) + 2 * np.sign(bids[None, :] - bids[:, None])
    names = tuple(str(bid) for bid in bids)
    return repeated(np.stack([mine, mine.T]), (names, names), f"traveller {low}..{high}")


def donation_game(cost: Any = 1, rich: Any = 2, poor: Any = Fraction(6, 5)) -> StochasticGame:
    """Returns the two-state donation game: mutual C leads to 'rich', anything else to 'poor'; a gift of the other
    pays."""
    cost = parse_number(cost)
    rewards = np.zeros((2, 2, 4), dtype=object)
    for s, benefit in enumerate((parse_number(rich), parse_number(poor))):
        for a in range(4):
            moves = divmod(a, 2)
            for i in range(2):
                rewards[i, s, a] = benefit * (moves[1 - i] == 0) - cost * (moves[i] == 0)
    rows = [[{0: 1} if a == 0 else {1: 1} for a in range(4)] for _ in range(2)]
    return from_rows("donation", ("CD", "CD"), rewards, rows, states=("rich", "poor"))


def matching_pennies() -> StochasticGame:
    """Returns matching pennies: player 1 wins 1 when the sides agree, zero-sum."""
    mine = np.array([[1, -1], [-1, 1]])
    return repeated(np.stack([mine, -mine]), ("HT", "HT"), "pennies")


def rock_paper_scissors() -> StochasticGame:
    """Returns rock, paper, scissors with payoffs 1, 0, -1."""
    mine = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return repeated(np.stack([mine, -mine]), ("RPS", "RPS"), "rps")


def battle_of_sexes() -> StochasticGame:
    """Returns the battle of the sexes: (2, 1) at the opera, (1, 2) at the football, 0 apart."""
    return repeated([[[2, 0], [0, 1]], [[1, 0], [0, 2]]], ("OF", "OF"), "bos")


def stag_hunt() -> StochasticGame:
    """Returns the stag hunt: 4 each for two stags, 3 for a hare, 0 for a stag alone."""
    mine = np.array([[4, 0], [3, 3]])
    return repeated(np.stack([mine, mine.T]), ("SH", "SH"), "stag")


def guess_the_coin() -> StochasticGame:
    """Returns the game of guessing a coin: player 1 gets 1 when the guess equals the other's side, the coin
    nothing."""
    return repeated([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], ("HT", "HT"), "coin")


def random_game(
    states: int = 10, sizes: Sequence[int] = (2, 2), branches: int = 3, seed: int = 0, discount: Any = 0.95
) -> StochasticGame:
    """Returns a game with Dirichlet(1) transitions to ``branches`` states and payoffs uniform in [0, 1)."""
    rng = np.random.default_rng(seed)
    joint, branches = int(np.prod(sizes)), min(branches, states)
    rows = states * joint
    targets = rng.integers(0, states, size=(rows, branches))
    if branches > 1:  # distinct targets: an arithmetic walk with a random start and step coprime by construction
        step = 1 + rng.integers(0, max(1, states // branches), size=(rows, 1))
        targets = (targets[:, :1] + step * np.arange(branches)) % states
    chance = rng.dirichlet(np.ones(branches), size=rows)
    start = np.zeros(states)
    start[0] = 1
    return StochasticGame(
        name=f"random {states}x{'x'.join(map(str, sizes))}",
        players=tuple(f"player {i + 1}" for i in range(len(sizes))),
        states=tuple(str(s) for s in range(states)),
        actions=tuple(tuple(str(a) for a in range(size)) for size in sizes),
        rewards=rng.random((len(sizes), states, joint)),
        indptr=np.arange(rows + 1, dtype=np.int64) * branches,
        next_state=targets.astype(np.int32).ravel(),
        probability=chance.ravel(),
        start=start,
        discount=discount,
    )


def _pursuit(*numbers: int) -> StochasticGame:
    from backcast.games.problems.pursuit import pursuit

    return pursuit(*numbers)


GAMES: dict[str, Callable[..., StochasticGame]] = {
    "ipd": prisoners_dilemma,
    "traveller": travellers_dilemma,
    "donation": donation_game,
    "pennies": matching_pennies,
    "rps": rock_paper_scissors,
    "bos": battle_of_sexes,
    "stag": stag_hunt,
    "coin": guess_the_coin,
    "pursuit": _pursuit,
}
"""Every named game; ``name:1,2`` passes whole numbers or fractions in the builder's order, as in ``traveller:2,4``."""


ALIASES = {
    "prisoners-dilemma": "ipd",
    "itd": "traveller",
    "travellers-dilemma": "traveller",
    "donation-game": "donation",
    "matching-pennies": "pennies",
    "rock-paper-scissors": "rps",
    "battle-of-sexes": "bos",
    "stag-hunt": "stag",
    "guess-the-coin": "coin",
}


def named_game(text: str) -> StochasticGame:
    """Returns the game called ``text``: ``ipd``, ``ipd:3,0,5,1`` (R, S, T, P), ``traveller:2,4``, ``pursuit:5``."""
    name, _, rest = text.partition(":")
    name = ALIASES.get(name.lower().replace("_", "-"), name)
    if name not in GAMES:
        raise BadInput(f"game: '{name}' is neither a file nor a named game{nearest(name, [*GAMES, *ALIASES])}")
    values = [parse_number(part, f"game '{name}'") for part in rest.split(",")] if rest else []
    numbers = [int(value) if value.denominator == 1 else value for value in values]
    try:
        return GAMES[name](*numbers)
    except TypeError:
        raise BadInput(f"game: '{text}' gives {len(numbers)} numbers, more than '{name}' takes") from None
