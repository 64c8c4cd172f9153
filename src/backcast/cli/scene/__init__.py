"""``backcast scene``: what happens next in streams of typed graphs."""

from backcast.cli.scene.capture import Capture, capture, show_capture
from backcast.cli.scene.convert import Convert, convert, show_convert
from backcast.cli.scene.fit import Fit, fit, show_fit
from backcast.cli.scene.forecast import Forecast, forecast, show_forecast
from backcast.cli.scene.score import Score, score, show_score

VERBS = {
    "capture": (Capture, capture, show_capture),
    "convert": (Convert, convert, show_convert),
    "fit": (Fit, fit, show_fit),
    "forecast": (Forecast, forecast, show_forecast),
    "score": (Score, score, show_score),
}
