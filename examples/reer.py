"""REER: which reasoning makes a known-good text likely?  python examples/reer.py [MODEL]"""

import sys
import tempfile

from backcast.core.trace import TraceLog
from backcast.lm import load
from backcast.reasons import Models, Pair, preset, search

lm = load(sys.argv[1] if len(sys.argv) > 1 else "smollm2")
pair = Pair("tea", "How do I make tea?", "Boil fresh water.\n\nPour it on the leaves and wait four minutes.")
log = TraceLog(f"{tempfile.mkdtemp()}/traces.jsonl")
trace = search([pair], Models(lm, lm), preset("small", max_steps=2, expansions=2), log)
print(trace[0].score.value, trace[0].score.reference, trace[0].outcome)
