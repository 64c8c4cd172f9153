"""``backcast look`` as a process: answer, picture, JSON, and bad input in one line."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.vision.conftest import sign

QUESTION = "What colour is the dot on the red sign?"


def backcast(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "backcast", *map(str, words)], capture_output=True, text=True, **options
    )


def test_a_photo(serve, tmp_path):
    sign().save(tmp_path / "photo.png")
    done = backcast(
        "look", tmp_path / "photo.png", QUESTION, "--model", serve(), "--out", tmp_path / "l.html", "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] == "green"
    assert found["steps"][0]["tool"] == "zoom_in"
    assert set(found["steps"][0]) >= {"tool", "box", "frame", "image"}
    page = (tmp_path / "l.html").read_text()
    assert found["picture"] == str(tmp_path / "l.html")
    assert page.count("data:image/png;base64,") >= 2
    assert "http://" not in page.replace("http://127.0.0.1", "")


def test_a_folder_of_frames_and_a_png(serve, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for n in range(1, 13):  # frame_10 comes behind frame_9
        picture = sign((320, 240), (100, 100), 24, "blue") if n == 10 else Image.new("RGB", (320, 240), (110, 110, 110))
        picture.save(folder / f"frame_{n}.png")
    done = backcast("look", folder, QUESTION, "--model", serve(), "--out", tmp_path / "l.png", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] == "blue"
    assert found["steps"][0]["frame"] == 10
    with Image.open(tmp_path / "l.png") as image:
        assert image.size[0] == 1100


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"not a picture"), "cannot read"),
        (lambda path: path.write_bytes(whole()[:2000]), "damaged or incomplete"),
        (lambda path: None, "no such file"),
        (lambda path: huge(path), "megapixels"),
        (lambda path: path.mkdir(), "holds no frames"),
    ],
)
def test_bad_images_are_one_line(tmp_path, make, said):
    """Before the model is loaded: this one does not exist."""
    path = tmp_path / "photo.png"
    make(path)
    done = backcast("look", path, QUESTION, "--model", "http://127.0.0.1:9/v1#x")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert said in done.stderr


def whole():
    import io

    held = io.BytesIO()
    sign(ground=(1, 2, 3)).effect_spread(9).save(held, "PNG")
    return held.getvalue()


def huge(path):
    """A PNG header that promises 20,000 x 20,000 pixels; decoding them would take 1.2 GB."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "look.pdf"], "must end in .html or .png"),
        (["--temperature", "-1"], "temperature must be at least 0"),
        (["--padding", "1.5"], "padding must be a share"),
        (["--family", "hermez"], "hermes"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, words, said):
    sign().save(tmp_path / "photo.png")
    done = backcast("look", tmp_path / "photo.png", QUESTION, "--model", "x", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_models_that_take_no_pictures_are_one_line(tmp_path, serve, tiny_llama):
    sign().save(tmp_path / "photo.png")
    for model, said in ((serve("blind"), "takes no pictures"), (tiny_llama, "'llama', which takes no pictures")):
        done = backcast("look", tmp_path / "photo.png", QUESTION, "--model", model, "--out", tmp_path / "l.html")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert said in done.stderr


def test_a_local_model_through_the_command_line(tmp_path, tiny_eyes):
    """A random model answers nothing sensible, yet every part of the way is real."""
    sign((400, 300)).save(tmp_path / "photo.png")
    words = ["--reply-tokens", "12", "--out", tmp_path / "l.html", "--json"]
    done = backcast("look", tmp_path / "photo.png", QUESTION, "--model", tiny_eyes, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stop"] in ("answer", "length")
