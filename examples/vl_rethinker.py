"""VL-Rethinker: which stored answers are replayed when a batch teaches nothing?  python examples/vl_rethinker.py"""

import numpy as np

from backcast.core.credit import group_advantages, replay_probabilities

rewards = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
advantages = group_advantages(rewards)
print(advantages, replay_probabilities(advantages[np.abs(advantages) > 0], alpha=1.0), sep="\n")
