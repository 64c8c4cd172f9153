"""Pixel Reasoner: one call of zoom_in, and the curiosity reward.  python examples/pixel_reasoner.py"""

import numpy as np

from backcast.lm.sight import Call
from backcast.vision import Desk, Scenes, curious, generate, preset

problem = generate(1, Scenes(), seed=0)[0]
desk = Desk(problem.media(), preset("strict"))
looked = desk.carry_out(Call("zoom_in", {"bbox_2d": [0.2, 0.2, 0.5, 0.5], "target_image": 1}))
print(problem.question, looked.error or looked.views[0].box)
print(curious(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[1, 0, 0, 0]])))  # r' of four attempts, one of which looked
