"""What several verbs print for people."""

from backcast.cli import tables
from backcast.core.vitals import Vital


def test_a_vital_outside_its_range_is_said_in_words(capsys):
    """A range open on one side reads as a person says it; healthy signs are not printed."""
    vitals = [Vital("gain", -0.5, 0.0, None, "below 0, it costs"), Vital("fine", 0.1, 0.0, 1.0, "all is well")]
    tables.show_vitals([vital.to_dict() for vital in vitals])
    assert capsys.readouterr().out.strip() == "out of range: gain -0.5 (healthy: at least 0); below 0, it costs"


def test_a_paired_interval_is_said_to_be_one_beside_any_note(capsys):
    """A note does not hide that the interval is of the difference; without an interval nothing is said of it."""
    row = {"stage": "judge", "metric": "NLL", "baseline": 3.0, "value": 2.5, "low": -0.6, "high": -0.4, "n": 6}
    tables.show_gaps([{**row, "paired": True, "note": "by j"}])
    assert "by j; interval of the difference" in " ".join(capsys.readouterr().out.split())
    tables.show_gaps([{**row, "low": None, "high": None, "paired": True, "note": ""}])
    assert "difference" not in capsys.readouterr().out
