"""``backcast run pixel`` as a user runs it, made very short: generated scenes and a small model, or one's own."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.e2e.test_rl import backcast, finished

SHORT = ["--train.steps", "2", "--train.prompts", "2", "--train.group", "2", "--train.micro", "4"]
SHORT += ["--train.save-every", "1", "--warm.epochs", "1", "--warm.batch", "4", "--warm.device-batch", "4"]
POINT = ["--point.steps", "2", "--point.batch", "4", "--point.alone", "1"]
SMALL = ["--count", "8", "--eye.steps", "2", "--eye.scenes", "6", "--eye.batch", "4", *POINT, *SHORT]
STAGES = ["start", "traces", "warm", "plain", "curious", "judge"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(folder, what was said) of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("pixel") / "run"
    return out, finished(backcast("run", "pixel", "--out", str(out), *SMALL, "--json"))


@pytest.mark.method(4, proves="warm-up, reinforcement and judging on scenes")
def test_a_run_on_generated_scenes(whole):
    """Every stage, its gap, the table of necessity, the vital signs, a page with the traces."""
    out, found = whole
    assert [stage["name"] for stage in found["stages"]] == STAGES
    assert [gap["stage"] for gap in found["gaps"]] == ["start", "warm", "plain", "curious", "judge"]
    assert [arm["name"] for arm in found["necessity"]] == ["on", "off", "random", "blank", "oracle"]
    assert all(arm["score"]["n"] == 2 for arm in found["necessity"])
    vitals = {row["name"] for row in found["vitals"]}
    assert {"eye/colour", "point/x", "curiosity/rapr", "curiosity/silent", "judge/looked", "groups/effective"} <= vitals
    page = (out / "report.html").read_text()
    for words in (
        "Is it the looking?",
        "Warm-start traces",
        "The eye",
        "Lessons in looking",
        "further-zoom",
        "data:image/jpeg",
    ):
        assert words in page, words
    lines = [json.loads(line) for line in (out / "2-traces" / "traces.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    learnt = [piece for piece in lines[0]["data"]["turns"][-1]["pieces"] if piece[1]]
    assert "boxed" in "".join(text for text, _ in learnt)


@pytest.mark.method(4, proves="looks at your picture")
def test_the_trained_model_looks_at_a_users_picture(whole, tmp_path):
    from PIL import Image

    Image.new("RGB", (90, 60), "grey").save(tmp_path / "photo.png")
    words = ["look", str(tmp_path / "photo.png"), "What?", "--model", whole[1]["model"], "--reply-tokens", "8"]
    done = backcast(*words, "--out", str(tmp_path / "look.html"))
    assert done.returncode == 0, done.stderr


@pytest.mark.method(4, proves="goes on after kill -9")
def test_killed_and_run_again_it_ends_with_the_same_model(whole, tmp_path):
    """``kill -9`` in the middle of the reinforcement, behind a checkpoint."""
    out = tmp_path / "run"
    words = ["run", "pixel", "--out", str(out), *SMALL, "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "backcast", *words]
    started = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited = out / "4-plain" / "trainer" / "checkpoint-1" / "group_trainer_0.pt"
    until = time.monotonic() + 500
    while not waited.exists() and time.monotonic() < until:
        assert started.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    started.kill()
    started.wait()
    again = finished(backcast(*words))
    assert [stage["skipped"] for stage in again["stages"]] == [True] * 3 + [False] * 3
    assert again["gaps"] == whole[1]["gaps"]
    assert again["vitals"] == whole[1]["vitals"]
    first, second = (folder / "5-curious" / "model" / "model.safetensors" for folder in (whole[0], out))
    assert first.read_bytes() == second.read_bytes()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """(model folder, problems) of a user: a random model of Qwen2.5-VL's kind, whose template knows no tools."""
    from transformers import AutoTokenizer

    from backcast.lm.small_sight import Shape, save_sight, small_sight
    from backcast.lm.tiny import CHATML_IMAGES
    from backcast.vision import Scenes, generate
    from backcast.vision.problems.scenes import write_problems

    home = tmp_path_factory.mktemp("own")
    small = Shape(hidden=32, layers=1, heads=2, tower=16, tower_layers=1, patch=4, cells=3)
    save_sight(*small_sight(CHATML_IMAGES, (), small), home / "model")
    assert "tools" not in AutoTokenizer.from_pretrained(home / "model").chat_template
    return home / "model", write_problems(generate(6, Scenes(canvas=120, ratio=1.0, tiles=1)), home / "set")


@pytest.mark.method(4, proves="trains on your images and model")
def test_with_a_users_own_images_and_model(own, tmp_path):
    words = ["--model", str(own[0]), "--problems", str(own[1]), "--reply-tokens", "6", "--no-control", *SHORT]
    found = finished(backcast("run", "pixel", "--out", str(tmp_path / "run"), *words, "--json"))
    assert [stage["name"] for stage in found["stages"]] == ["start", "traces", "warm", "curious", "judge"]
    again = finished(backcast("run", "pixel", "--out", str(tmp_path / "run"), *words, "--json"))
    assert all(stage["skipped"] for stage in again["stages"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--problems", "OWN"], "the small model knows generated scenes alone"),
        (["--train.lora", "4"], "train.lora is not for models that look yet"),
        (["--count", "4"], "count must be at least 8, found 4"),
        (["--scenes.tiles", "9"], "tiles must be from 1 to 6, found 9"),
        (["--curiosity.alpha", "-1"], "alpha, beta and most of at least 0"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
        (["--problems", "nowhere.jsonl", "--model", "MODEL"], "no such file: 'nowhere.jsonl'"),
    ],
)
def test_what_cannot_be_run(own, tmp_path, words, said):
    """One clear line, exit code 2, before any work."""
    given = [{"OWN": str(own[1]), "MODEL": str(own[0])}.get(word, word) for word in words]
    done = backcast("run", "pixel", "--out", str(tmp_path / "run"), *given)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_problems_without_boxes_and_text_models_are_refused(own, tmp_path, tiny_llama):
    bare = own[1].with_name("bare.jsonl")
    rows = [json.loads(line) for line in own[1].read_text().splitlines()]
    bare.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "box"}) + "\n" for row in rows))
    words = ["run", "pixel", *SHORT, "--reply-tokens", "6", "--out", str(tmp_path / "run")]
    done = backcast(*words, "--problems", str(bare), "--model", str(own[0]))
    assert (done.returncode, "no problem says where its answer is to be seen" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "run").exists()
    done = backcast(*words, "--problems", str(own[1]), "--model", str(tiny_llama))
    assert (done.returncode, "takes no pictures" in done.stderr) == (2, True), done.stderr
