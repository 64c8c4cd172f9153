"""HICRA: planning tokens get more of the credit, and less of the blame.  python examples/hicra.py"""

import numpy as np

from backcast.core.credit import group_advantages, planning_credit

advantages = group_advantages(np.array([[1.0, 0.0, 0.0, 1.0]])).reshape(4, 1).repeat(3, axis=1)  # 4 answers, 3 tokens
planning = np.array([[True, False, False]] * 4)
print(planning_credit(advantages, planning, np.ones_like(planning), alpha=0.2))
