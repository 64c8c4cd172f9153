"""A scripted policy that knows where the answer is, and errs as often as it is told to: no model, the real protocol.

It reads the answer only if the newest picture really shows the tile (the tile's colour fills enough of it), so that
random, blank and oracle crops matter to it as they would to a model.
"""

import json
import random

import numpy as np

from backcast.lm.sight import Reply
from backcast.vision.looker.boxes import Box
from backcast.vision.problems.scenes import COLOURS


def numbered(problems):
    """The problems with questions that differ, by which the policy knows them."""
    pairs = enumerate(problems)
    return [p.__class__(**{**vars(p), "question": f"{p.question} (scene {number})"}) for number, p in pairs]


class NoisyOracle:
    name = fingerprint = "oracle"

    def __init__(self, problems, misses=0.0, reversed_boxes=0.0, least=0.05, seed=0):
        self.problems = {problem.question: problem for problem in problems}
        self.misses, self.reversed_boxes, self.least = misses, reversed_boxes, least
        self.chance = random.Random(seed)

    def reply(self, conversations, tools, sampling):
        return [self.one(turns, tools) for turns in conversations]

    def one(self, turns, tools):
        text = next(turn for turn in turns if turn.role == "user").text
        problem = next(problem for question, problem in self.problems.items() if question in text)
        pictures = [picture for turn in turns for picture in turn.pictures]
        failed = "Error" in turns[-1].text
        if not tools or (len(pictures) > 1 and not failed):
            return self.said(f"\\boxed{{{self.read(problem, pictures[-1])}}}")
        size = problem.media().images[0].size
        x1, y1, x2, y2 = Box(*problem.box, frame="own").padded(0.02, size).in_frame("unit", size).numbers
        if self.chance.random() < self.misses:
            x1, x2, y1, y2 = (0.0, 0.2, 0.0, 0.2) if x1 > 0.3 or y1 > 0.3 else (0.7, 0.9, 0.7, 0.9)
        if self.chance.random() < self.reversed_boxes and not failed:
            x1, x2 = x2, x1
        box = [round(n, 4) for n in (x1, y1, x2, y2)]
        call = {"name": "zoom_in", "arguments": {"bbox_2d": box, "target_image": 1}}
        return self.said(f"<tool_call>\n{json.dumps(call)}\n</tool_call>")

    def read(self, problem, picture):
        """The digit if the tile fills enough of the picture, else a guess."""
        colour = COLOURS[problem.question.split(" tile")[0].split()[-1]]
        share = (np.abs(np.asarray(picture).astype(int) - colour).sum(-1) < 60).mean()
        return problem.answer if share > self.least else str(self.chance.randrange(10))

    def said(self, text):
        return Reply(text, (), 20, 100, True)
