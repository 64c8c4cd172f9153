import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from backcast.vision.media import Media


def sign(size=(1000, 800), at=(620, 300), side=40, dot="green", ground=(120, 125, 130)):
    """A grey image with a small red sign that has a dot in its middle."""
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    x, y = at
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=(220, 20, 20))
    third = side // 3
    draw.rectangle((x + third, y + third, x + side - third - 1, y + side - third - 1), fill=dot)
    return image


@pytest.fixture
def photo():
    return Media((sign(),), name="photo.png")


@pytest.fixture
def clip():
    """Four frames, half a second apart; the sign is in the third."""
    frames = [Image.new("RGB", (640, 480), (100 + 10 * n, 110, 120)) for n in range(4)]
    frames[2] = sign((640, 480), (300, 200), 30, "blue")
    return Media(tuple(frames), video=True, times=(0.0, 0.5, 1.0, 1.5), name="clip")


@pytest.fixture
def serve():
    """Starts the server in a mode; gives its address."""
    running = []

    def start(mode="good"):
        script = Path(__file__).parent / "seeing_server.py"
        process = subprocess.Popen([sys.executable, str(script), mode], stdout=subprocess.PIPE, text=True)
        running.append(process)
        return f"http://127.0.0.1:{int(process.stdout.readline())}/v1"

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def tiny_eyes(tmp_path_factory):
    """The folder of a random tiny vision-language model."""
    from backcast.lm.tiny import make_tiny_vlm

    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny")
