"""WGM: the best cut of sorted weights into groups, against the greedy one as published.  python examples/wgm.py"""

import numpy as np

from backcast.compress import line

weights = np.random.default_rng(0).standard_t(4, (64, 64)).astype(np.float32)
on = line.magnitudes(weights)
for groups in (1, 2, 8, 32):
    print(groups, "groups of magnitudes: squared error", line.exact(on, groups).sse)
