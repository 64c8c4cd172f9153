"""SplitQuantV2: three parts that add up to the layer, bit for bit.  python examples/splitquant.py"""

import numpy as np

from backcast.compress.splitquant import bounds, split

weights = np.random.default_rng(0).standard_t(4, (64, 64)).astype(np.float32)
lower, middle, upper = split(weights, bounds(weights))
spans = [float(np.ptp(part[part != 0])) for part in (lower, middle, upper)]
print("exact:", np.array_equal(lower + middle + upper, weights), spans)
