"""Looking: boxes, tools, the desk with its numbered images, the conversation, and its TRL environment."""

from backcast.vision.looker.boxes import BadBox as BadBox
from backcast.vision.looker.boxes import Box as Box
from backcast.vision.looker.boxes import Budget as Budget
from backcast.vision.looker.desk import Desk as Desk
from backcast.vision.looker.loop import Ask as Ask
from backcast.vision.looker.loop import Look as Look
from backcast.vision.looker.loop import Looking as Looking
from backcast.vision.looker.settings import LookSettings as LookSettings
from backcast.vision.looker.settings import preset as preset
from backcast.vision.looker.tools import schemas as schemas
