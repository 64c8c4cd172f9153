"""Warm start: traces with mistakes that get corrected, and which of their tokens are learnt."""

from backcast.vision.warmup.masks import mask as mask
from backcast.vision.warmup.mix import IMAGE as IMAGE
from backcast.vision.warmup.mix import VIDEO as VIDEO
from backcast.vision.warmup.mix import quota as quota
from backcast.vision.warmup.traces import ModelWriter as ModelWriter
from backcast.vision.warmup.traces import RuleWriter as RuleWriter
from backcast.vision.warmup.traces import WarmTrace as WarmTrace
from backcast.vision.warmup.traces import synthesise as synthesise
