"""OOTSM's two stages: which objects, then their relations; a tiny decoder of a closed vocabulary."""

from backcast.scenes.ootsm.fit import Settings as Settings
from backcast.scenes.ootsm.fit import fit as fit
from backcast.scenes.ootsm.model import TwoStage as TwoStage
