"""Constant-memory games: the exact best response to tit-for-tat.  python examples/memory_games.py"""

from backcast.games import best_response, load_game, load_strategy

game = load_game("ipd")
for name in ("tft", "grim", "alld"):
    found = best_response(game, load_strategy(game, name, player=1), discount="9/10")
    print(name, found.exact, found.value)
