"""What a report says about a run: the result in a sentence, where the interval lies, how to repeat it."""

import json
import re

import pytest

from backcast.core.run import Gap, Run, Stage, StageResult, View, read_stages
from backcast.core.trace import TraceLog
from backcast.core.vitals import Vital
from backcast.report.collect import attempts, commands, folder_bytes, gap_rows, headline, sources, stage_rows
from tests.report.sample import Settings, build, make_traces


def stages(tmp_path, *gaps):
    return [Stage(gap.stage, tmp_path, False, 1.0, StageResult(gaps=[gap])) for gap in gaps]


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Gap("s", "m", 2.0, 1.5, -0.75, -0.25, 8, True), "−0.750 to −0.250; zero lies outside it"),
        (Gap("s", "m", 2.0, 1.5, -1.25, 0.25, 8, True), "−1.250 to 0.250; zero lies inside it"),
        (Gap("s", "m", 0.5, 0.75, 0.6, 0.9, 8), "of the value 0.600 to 0.900; the baseline lies outside it"),
        (Gap("s", "m", 0.5, 0.75, 0.4, 0.9, 8), "of the value 0.400 to 0.900; the baseline lies inside it"),
        (Gap("s", "m", 0.5, 0.75, n=1), "over 1 item. Without an interval, this may be chance."),
    ],
)
def test_the_sentence_says_whether_the_interval_leaves_chance_out(tmp_path, gap, said):
    """Paired intervals are held against zero, the others against the baseline; no interval, no claim."""
    assert said in headline(stages(tmp_path, gap))["sentence"]


def test_the_headline_is_the_last_stage_that_measured_both_sides(tmp_path):
    """Later stages come first, but only with a baseline and a value; with none at all there is no headline."""
    first, last = Gap("search", "a", 2.0, 1.0), Gap("judge", "b", None, 1.0)
    assert headline(stages(tmp_path, first, last))["metric"] == "a"
    assert headline(stages(tmp_path, last)) is None


def test_the_headline_carries_the_vital_signs_that_are_outside_their_range(tmp_path):
    """A gain is not read without them; healthy ones and those without opportunity stay in their table."""
    signs = [
        Vital("thinking_gain", -0.25, 0.0, None, "below 0, thinking costs more than it brings"),
        Vital("closed", 0.9, 0.7, None),
        Vital("repetition", None, None, 0.3),
    ]
    stage = Stage("judge", tmp_path, False, 1.0, StageResult(gaps=[Gap("judge", "m", 2.0, 1.5)], vitals=signs))
    (said,) = headline([stage])["warnings"]
    assert said == "thinking gain is −0.250, healthy at least 0: below 0, thinking costs more than it brings."


def test_a_paired_interval_is_drawn_around_the_value(tmp_path):
    """An interval of the difference is moved to the metric's axis: the value lies inside, the baseline to the right."""
    (row,) = gap_rows(stages(tmp_path, Gap("s", "m", 2.0, 1.5, -0.75, -0.25, 8, True)))
    low, high = map(float, re.search(r'whisker" x1="([\d.]+)" x2="([\d.]+)"', row["plot"]).groups())
    value, baseline = (
        float(re.search(rf'{kind}" cx="([\d.]+)"', row["plot"]).group(1)) for kind in ("value", "hollow")
    )
    assert low < value < high < baseline
    assert value - low == pytest.approx(high - value, abs=0.2)


def test_rows_of_one_metric_share_an_axis(tmp_path):
    """The same value is drawn at the same place in two rows of a metric."""
    rows = gap_rows(stages(tmp_path, Gap("a", "m", 1.0, 2.0), Gap("b", "m", 2.0, 9.0)))
    assert re.search(r'value" cx="([\d.]+)"', rows[0]["plot"]).group(1) == re.search(
        r'hollow" cx="([\d.]+)"', rows[1]["plot"]
    ).group(1)


def test_trace_files_are_found_once(tmp_path):
    """A file that a stage names and that also lies where traces lie is one source; unnamed ones are found too."""
    run = Run.open(tmp_path / "run", "reer", Settings())

    def work(folder):
        TraceLog(folder / "traces.jsonl").append(make_traces(1))
        TraceLog(folder / "more.jsonl").append(make_traces(1))
        return StageResult(
            views=[View("reer", "1-search/more.jsonl"), View("reer", "1-search/traces.jsonl"), View("reer", "gone")]
        )

    run.stage("search", work)
    run.close()
    found = sources(run.folder, read_stages(run.folder))
    assert sorted((source.stage, source.path.name) for source in found) == [
        ("search", "more.jsonl"),
        ("search", "traces.jsonl"),
    ]


def test_attempts_are_in_order_and_the_first_command_repeats_the_run(tmp_path):
    """Attempt 10 comes after attempt 9; the command is the one the run was begun with, quoted for a shell."""
    logs = tmp_path / "run folder" / "logs"
    logs.mkdir(parents=True)
    for number in range(1, 12):
        command = ["backcast", "run", "it's"] if number == 1 else ["backcast", "run", "--resume", "x"]
        (logs / f"attempt-{number}.json").write_text(json.dumps({"command": command, "started": str(number)}))
    (logs / "attempt-12.json").write_text("{torn")
    found = attempts(tmp_path / "run folder")
    assert [log["started"] for log in found] == [str(number) for number in range(1, 12)]
    first, again = commands(tmp_path / "run folder", found)
    assert first == "backcast run 'it'\"'\"'s'"
    assert again == f"backcast run '{tmp_path}/run folder/recipe.toml' --out '{tmp_path}/run folder-again'"


def test_stages_say_their_time_size_and_state(tmp_path):
    """Bytes are those on disk; a stage without an end is unfinished and has no time, rather than 0 seconds."""
    folder = build(tmp_path / "run", make_traces(1))
    (folder / "3-judge").mkdir()
    (folder / "3-judge" / "begun.json").write_text("{}")
    rows = stage_rows(folder, read_stages(folder), attempts(folder)[-1])
    assert [(row["name"], row["state"]) for row in rows] == [
        ("search", "done"),
        ("tune", "done"),
        ("judge", "unfinished"),
    ]
    assert rows[2]["time"] == "not measured"
    assert folder_bytes(folder / "1-search") == sum(path.stat().st_size for path in (folder / "1-search").iterdir())
