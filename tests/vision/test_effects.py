"""The scripts of the effects on a small model, made very short: every part runs, and figures are what they say."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backcast.vision.beginner.begin import looking
from backcast.vision.beginner.settings import AIM, SCENES, Eye, Point
from backcast.vision.looker.boxes import Box
from backcast.vision.problems.scenes import generate
from backcast.vision.stages import Lessons

EFFECTS = Path(__file__).parents[2] / "benchmarks" / "effects"
pytestmark = pytest.mark.skipif(not EFFECTS.is_dir(), reason="the benchmarks are not beside the tests")
EYE, POINT = Eye(steps=1, batch=2, scenes=2), Point(steps=1, batch=2, alone=0)


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(EFFECTS))
    try:
        return importlib.import_module("vision_curiosity")
    finally:
        sys.path.remove(str(EFFECTS))


def test_the_bad_start_looks_at_half_and_mostly_elsewhere(script):
    problems = generate(80, replace(SCENES, easy=0.5), 0)
    traces, _ = script.BadStart(problems, looking(), 0, 0.75).make()
    looks = [(trace, problem) for trace, problem in zip(traces, problems, strict=True) if trace.kind == "single-pass"]
    assert 25 < len(looks) < 55
    assert all(trace.tools for trace in traces)
    missed = 0
    for trace, problem in looks:
        box, known = trace.views[-1].box, Box(*problem.box, frame="own")
        missed += box.overlap(known) < 1e-6
        if box.overlap(known) >= 1e-6:
            assert box.outward() == AIM.at(known, problem.media().images[0].size).outward()
        assert trace.turns[-1].text.endswith(f"\\boxed{{{problem.answer}}}")
    assert 0.5 < missed / len(looks) < 0.95


def test_without_corrections_there_are_as_many_right_first_looks(script):
    made, left = (
        kind(generate(40, SCENES, 0), looking(), 0, None, AIM).make()[0] for kind in (Lessons, script.Uncorrected)
    )
    assert {trace.kind for trace in left} == {"single-pass", "text-only"}
    assert left == [trace for trace in made if trace.kind in ("single-pass", "text-only")]


def test_curiosity_beside_its_control_from_one_start(script, tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    words = [str(tmp_path), "--traces", "4", "--epochs", "1", "--steps", "1", "--prompts", "1", "--test", "4"]
    given = script.parsed(words)
    found = script.trap(tmp_path / "seed-0", 0, given, EYE, POINT)
    assert set(found["held"]) == {"plain halves looking", "curious keeps looking", "15 points where needed"}
    for name in ("start", "plain", "curious"):
        assert 0 <= found[name]["rapr"] <= 1
        assert 0 <= found[name]["right"] <= 1
    assert found["curious"]["training"]["curiosity/uniform"] is not None
    assert script.trap(tmp_path / "seed-0", 0, given, EYE, POINT) == found  # nothing is done twice
    assert (tmp_path / "seed-0" / "1-plain" / "model").is_dir()


def test_with_corrections_and_without(script, tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    words = [str(tmp_path), "--uncorrected", "--traces", "6", "--epochs", "1", "--prompts", "1", "--test", "4"]
    given = script.parsed([*words, "--steps", "1"])
    found = script.corrections(tmp_path / "seed-0", 0, given, EYE, POINT)
    assert set(found["held"]) == {"more misses without"}
    for name in ("corrected", "uncorrected"):
        assert 0 <= found[name]["rapr"] <= 1
        assert 0 <= found[f"{name} start"]["right"] <= 1
