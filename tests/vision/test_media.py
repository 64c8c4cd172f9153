"""Images and videos from files: what is read, what is refused, and how much memory it takes."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from backcast.core.errors import BadInput
from backcast.vision.media import open_image, open_media, spread
from tests.vision.test_cli_look import huge


def flat(n, size=(64, 48)):
    return Image.new("RGB", size, (20 * n % 256, 100, 50))


def film(path, frames=20, rate=10):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(frames):
            for packet in stream.encode(av.VideoFrame.from_image(flat(n))):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def test_spread():
    assert spread(4, 16) == [0, 1, 2, 3]
    assert spread(100, 4) == [12, 37, 62, 87]
    assert all(len(set(spread(n, 16))) == min(n, 16) for n in range(1, 200))


def test_a_video_file(tmp_path):
    film(tmp_path / "clip.mp4")
    media = open_media(tmp_path / "clip.mp4", 4)
    assert media.video
    assert media.times == pytest.approx((0.25, 0.75, 1.25, 1.75), abs=0.06)
    for time, image in zip(media.times, media.images, strict=True):
        number = round(time * 10)
        assert abs(int(np.asarray(image)[..., 0].mean()) - 20 * number % 256) < 8


def test_a_short_video_gives_each_frame_once(tmp_path):
    film(tmp_path / "clip.mp4", frames=3)
    assert len(open_media(tmp_path / "clip.mp4", 16).images) == 3


def test_a_broken_or_empty_video_is_one_line(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    with pytest.raises(BadInput, match="cannot read"):
        open_media(tmp_path / "clip.mp4")
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            file.mux(packet)
    with pytest.raises(BadInput, match="holds no video stream"):
        open_media(tmp_path / "sound.mp4")


def test_an_animation_and_a_still(tmp_path):
    flat(0).save(tmp_path / "a.gif", save_all=True, append_images=[flat(n) for n in range(1, 6)], duration=200)
    media = open_media(tmp_path / "a.gif", 3)
    assert media.video
    assert media.times == pytest.approx((0.2, 0.6, 1.0))
    flat(1).save(tmp_path / "still.gif")
    assert not open_media(tmp_path / "still.gif").video


def test_transparency_lies_on_white_and_photos_stand_upright(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((4, 4)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    flat(1, (64, 32)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (32, 64)
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "deep.png").getpixel((1, 1)) == (128, 128, 128)


def test_a_huge_image_costs_no_memory(tmp_path):
    """The size is read from the header: what is refused is never decoded (1.2 GB)."""
    huge(tmp_path / "huge.png")
    code = (
        "import resource, sys\n"
        "from backcast.core.errors import BadInput\n"
        "from backcast.vision.media import open_image\n"
        "import PIL.PngImagePlugin\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    open_image(sys.argv[1])\n"
        "except BadInput as error:\n    print('refused' if 'megapixels' in str(error) else error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "huge.png")], capture_output=True, text=True, check=True
    )
    said, megabytes = done.stdout.split()
    assert said == "refused"
    assert int(megabytes) < 50
