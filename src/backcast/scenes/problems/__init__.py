"""Streams of typed graphs: what they are, where they come from, and where they are cut."""

from backcast.scenes.problems.clip import Clip as Clip
from backcast.scenes.problems.clip import Clips as Clips
from backcast.scenes.problems.clip import Frame as Frame
from backcast.scenes.problems.clip import cut as cut
from backcast.scenes.problems.clip import dense as dense
from backcast.scenes.problems.clip import last_observed as last_observed
from backcast.scenes.problems.clip import make_clip as make_clip
from backcast.scenes.problems.files import read_clips as read_clips
from backcast.scenes.problems.files import write_clips as write_clips
from backcast.scenes.problems.split import folds as folds
from backcast.scenes.problems.vocabulary import ACTION_GENOME as ACTION_GENOME
from backcast.scenes.problems.vocabulary import Group as Group
from backcast.scenes.problems.vocabulary import Vocabulary as Vocabulary
