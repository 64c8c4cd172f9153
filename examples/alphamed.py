"""AlphaMed: which option does a reply state, and which questions still teach?  python examples/alphamed.py"""

from backcast.core.credit import effective_chance
from backcast.text import choose

options = ("insulin", "glucagon", "cortisol")
for reply in ("It lowers sugar, so \\boxed{A}.", "The answer is \\boxed{B}, no: \\boxed{A}", "I do not know."):
    print(reply, "->", choose(reply, options))
print([round(effective_chance(passed / 8, 8), 3) for passed in range(9)])  # groups of 8 that can teach
