"""Conversations with tools per CPU-second: the batched loop beside one conversation after the other.

The peer asks a single question at a time, each turn by transformers' ``generate`` on the whole conversation, which is
how the demos of Pixel Reasoner and DeepEyes ask. Our own loop with a single question at a time is shown beside it.
A scripted first turn makes every conversation call the tool once, so that both ways do the same work: a random tiny
model then writes on behind the picture. Run: python benchmarks/vision_rollouts.py [QUESTIONS]
"""

import json
import sys
import time
from dataclasses import replace

from backcast.lm.base import Sampling
from backcast.lm.local_sight import LocalSight
from backcast.lm.sight import Reply
from backcast.lm.tiny import tiny_vlm
from backcast.vision import Ask, Budget, Looking, Scenes, generate, preset

CALL = {"name": "zoom_in", "arguments": {"bbox_2d": [0.2, 0.2, 0.6, 0.6], "target_image": 1}}
FIRST = f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
TOKENS = 24


class CallsOnce:
    """The model, whose first turn of each conversation is replaced by a call of the same cost."""

    name = fingerprint = "calls-once"

    def __init__(self, lm, anew=False):
        self.lm, self.cell, self.remembering = lm, lm.cell, lm.remembering
        self.draw = lm.reply_anew if anew else lm.reply

    def reply(self, conversations, tools, sampling):
        found = self.draw(conversations, tools, sampling)
        pairs = zip(found, conversations, strict=True)
        return [
            replace(reply, text=FIRST, finished=True)
            if len(turns) == 1
            else Reply("4", (), reply.tokens, reply.prompt_tokens, True)
            for reply, turns in pairs
        ]


def rate(asks, looking, at_once):
    """Conversations a CPU-second, asked ``at_once`` at a time."""
    begun = time.process_time()
    for first in range(0, len(asks), at_once):
        looks = looking.look(asks[first : first + at_once])
        assert all(look.calls == 1 and len(look.views) == 2 for look in looks)
    return len(asks) / (time.process_time() - begun)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    lm = LocalSight(*tiny_vlm())
    small = replace(preset("strict"), reply_tokens=TOKENS, first=Budget(4, 16), crop=Budget(4, 16))
    ours, peer = (Looking(CallsOnce(lm, anew), small, Sampling(1.0)) for anew in (False, True))
    asks = [
        Ask(problem.media(), problem.question, problem.id) for problem in generate(count, Scenes(canvas=224, ratio=0.5))
    ]
    for looking in (ours, peer):
        looking.look(asks[:2])  # warms up
    some = asks[:8]
    rates = [(rate(asks, ours, count), rate(some, ours, 1), rate(some, peer, 1)) for _ in range(3)]
    print(f"{count} questions, {TOKENS} tokens a turn; conversations a CPU-second, median of 3 (lowest to highest)")
    names = ("batched", "ours one by one", "generate one by one")
    for name, values in zip(names, zip(*rates, strict=True), strict=True):
        print(f"{name}: {spread(values)}")
    print(f"ratio, batched against generate: {spread([batched / peer for batched, _, peer in rates])}")
    print(f"ratio, batched against ours one by one: {spread([batched / single for batched, single, _ in rates])}")


def spread(values):
    """Median of three, and the other two."""
    low, middle, high = sorted(values)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
