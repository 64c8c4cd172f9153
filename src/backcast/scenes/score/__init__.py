"""How good a forecast of graphs is: recall in every mode of the field, sets, novelty, calibration, horizons."""

from backcast.scenes.score.candidates import COMPAT as COMPAT
from backcast.scenes.score.candidates import MODES as MODES
from backcast.scenes.score.measure import by_horizon as by_horizon
from backcast.scenes.score.measure import interval as interval
from backcast.scenes.score.measure import mean_recall as mean_recall
from backcast.scenes.score.measure import metric as metric
from backcast.scenes.score.measure import short_and_long as short_and_long
from backcast.scenes.score.measure import summary as summary
from backcast.scenes.score.rows import Rules as Rules
from backcast.scenes.score.rows import Tally as Tally
from backcast.scenes.score.rows import tally as tally
from backcast.scenes.score.sweep import sweep as sweep
