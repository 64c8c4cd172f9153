"""``backcast run rethinker`` on questions about images, with a tiny vision-language model that is half right."""

import json
import random

import pytest
from PIL import Image

from tests.e2e.conftest import COLOURS, question, reply
from tests.e2e.test_rl import backcast, finished

SHADES = {
    "blue": (0, 0, 255),
    "green": (0, 160, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
}


@pytest.fixture(scope="module")
def half_right(tmp_path_factory):
    """(model folder, file of questions with images): trained for some seconds on answers half of which are right."""
    import torch

    from backcast.lm.local_sight import LocalSight
    from backcast.lm.sight import Turn
    from backcast.lm.tiny import make_tiny_vlm
    from backcast.vision.warmup.fit import batch
    from backcast.vision.warmup.masks import mask

    home = tmp_path_factory.mktemp("images")
    lm = LocalSight.open(make_tiny_vlm(home / "model"))
    pictures = {thing: Image.new("RGB", (16, 16), SHADES[colour]) for thing, colour in COLOURS.items()}
    rng, optimizer = random.Random(0), torch.optim.AdamW(lm.model.parameters(), lr=5e-3)
    lm.model.train()
    for _ in range(220):
        turns = [
            [Turn("user", (pictures[thing], question(thing))), Turn("assistant", (reply(rng, thing),))]
            for thing in COLOURS
        ]
        masked = [mask(lm, row, [False, True]) for row in turns]
        lm.model(**batch(lm, masked, [[pictures[thing]] for thing in COLOURS])).loss.backward()
        torch.nn.utils.clip_grad_norm_(lm.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    lm.model.save_pretrained(home / "model")
    lines = []
    for thing, colour in COLOURS.items():
        pictures[thing].save(home / f"{thing}.png")
        lines.append({"prompt": question(thing), "answer": colour, "kind": "exact", "image": f"{thing}.png"})
    path = home / "colours.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return home / "model", path


@pytest.mark.method(5, proves="trains on questions about images")
def test_rethinker_on_questions_about_images(half_right, tmp_path):
    model, path = half_right
    words = ["--problems", path, "--model", model, "--no-control", "--out", tmp_path / "run", "--json"]
    words += ["--train.steps", "3", "--train.prompts", "2", "--train.micro", "16", "--train.longest", "48"]
    done = backcast("run", "rethinker", *map(str, words))
    result = finished(done)
    names = {vital["name"]: vital for vital in result["vitals"]}
    assert names["rethink/accepted"]["value"] is not None
    assert {"start", "reasoner", "rethinker"} <= set(result["accuracy"])
    again = backcast(
        "look",
        str(path.parent / "sky.png"),
        "What?",
        "--model",
        result["model"],
        "--out",
        str(tmp_path / "l.html"),
        "--reply-tokens",
        "8",
    )
    assert again.returncode == 0, again.stderr  # what was trained opens again


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1].pop("image"), "line 2: some questions have images and some have none"),
        (lambda rows: rows[2].update(image="none.png"), "line 3: no image"),
    ],
)
def test_bad_image_files_are_one_line(half_right, tmp_path, change, said):
    model, path = half_right
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    bad = path.parent / "bad.jsonl"
    bad.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = backcast("run", "rethinker", "--problems", str(bad), "--model", str(model), "--out", str(tmp_path / "run"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


def test_a_text_model_is_refused_in_one_line(half_right, tmp_path, tiny_llama):
    words = ["--problems", str(half_right[1]), "--model", str(tiny_llama), "--out", str(tmp_path / "run"), "--json"]
    words += ["--train.prompts", "2", "--train.micro", "16"]
    done = backcast("run", "rethinker", *words)
    assert done.returncode == 2
    assert "takes no pictures" in done.stderr.splitlines()[-1]
