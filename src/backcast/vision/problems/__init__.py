"""Visual problems: questions about images and videos, the files they come in, and a generator."""

from backcast.vision.problems.problem import VisualProblem as VisualProblem
from backcast.vision.problems.problem import anls as anls
from backcast.vision.problems.readers import LAYOUTS as LAYOUTS
from backcast.vision.problems.readers import read_problems as read_problems
from backcast.vision.problems.scenes import Scenes as Scenes
from backcast.vision.problems.scenes import generate as generate
from backcast.vision.problems.scenes import write_problems as write_problems
