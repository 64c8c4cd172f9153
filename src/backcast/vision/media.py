"""Images and videos from files, with bounded memory: sizes are read from headers before a pixel is decoded."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.lm.pictures import check_size, decoded, header
from backcast.lm.pictures import open_image as open_image
from backcast.lm.pictures import rgb as rgb

VIDEO = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"})
"""Endings of files that need PyAV or OpenCV."""
IMAGE = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True)
class Media:
    """What a question is about: images, or the sampled frames of one video."""

    images: tuple[Any, ...]
    """PIL images, RGB, in their own pixels."""
    video: bool = False
    times: tuple[float, ...] = ()
    """Seconds of each frame; empty where they are unknown (a folder of frames)."""
    name: str = ""
    boxes: tuple[tuple[float, float, float, float], ...] = field(default=())
    """Where the answer is known to be, in pixels of the first image (of the frames ``moments``); empty if unknown."""
    moments: tuple[int, ...] = ()
    """Frames, counted from 1, in which the answer is known to be seen; empty if unknown."""

    def __post_init__(self) -> None:
        if not self.images:
            raise BadInput(f"'{self.name}' holds no image")
        if self.times and len(self.times) != len(self.images):
            raise ValueError(f"{len(self.images)} frames and {len(self.times)} times")


def open_media(path: Path | str, frames: int = 16) -> Media:
    """An image file, a video file, an animated image, or a folder of frames (in the order of their names' numbers).

    Of a video, ``frames`` frames spread evenly. Raises BadInput for whatever cannot be opened, in one line.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _folder(path, frames)
    if not path.is_file():
        raise BadInput(f"no such file: '{path}'; give an image, a video or a folder of frames")
    if path.suffix.lower() in VIDEO:
        return _video(path, frames)
    with header(path) as image:
        count = getattr(image, "n_frames", 1)
        if count == 1:
            return Media((decoded(image, path),), name=path.name)
        return _animation(image, path, frames)


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` places, spread evenly: the middles of equal parts; all of them if there are fewer."""
    if count <= wanted:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _folder(path: Path, frames: int) -> Media:
    files = sorted((file for file in path.iterdir() if file.suffix.lower() in IMAGE), key=_by_number)
    if not files:
        raise BadInput(f"'{path}' holds no frames; put PNG, JPEG or WebP images there, numbered in order")
    return Media(tuple(open_image(files[at]) for at in spread(len(files), frames)), video=True, name=path.name)


def _by_number(file: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_10 behind frame_9."""
    parts = re.findall(r"\d+|\D+", file.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _animation(image: Any, path: Path, frames: int) -> Media:
    found, times, clock = [], [], 0.0
    wanted = set(spread(image.n_frames, frames))
    for at in range(image.n_frames):
        try:
            image.seek(at)
        except (EOFError, OSError, ValueError) as error:
            raise BadInput(f"cannot read '{path}', frame {at + 1}: {error}; the file is damaged") from None
        if at in wanted:
            found.append(decoded(image, path))
            times.append(clock)
        clock += image.info.get("duration", 100) / 1000
    return Media(tuple(found), video=True, times=tuple(times), name=path.name)


def _video(path: Path, frames: int) -> Media:
    try:
        import av  # noqa: F401
    except ImportError:
        return _by_opencv(path, frames)
    return _by_av(path, frames)


def _by_av(path: Path, frames: int) -> Media:
    import av

    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise BadInput(f"'{path}' holds no video stream; give a video or a folder of frames")
            stream = file.streams.video[0]
            check_size((stream.width, stream.height), path)
            stream.thread_type = "AUTO"
            length = _seconds(file, stream)
            kept = _sampled(((frame.time or 0.0, frame) for frame in file.decode(stream)), length, frames)
            pictures = [(time, rgb(frame.to_image())) for time, frame in kept]
    except (av.error.FFmpegError, ValueError) as error:
        raise BadInput(f"cannot read '{path}': {error}; the video is damaged or of an unknown kind") from None
    return _made(pictures, path)


def _seconds(file: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * Fraction(stream.time_base))
    return float(file.duration / 1e6) if file.duration else None


def _sampled(frames: Iterator[tuple[float, Any]], length: float | None, wanted: int) -> list[tuple[float, Any]]:
    """The frames next to ``wanted`` times spread evenly; with an unknown length, of all of them."""
    if not length:
        everything = list(frames)
        return [everything[at] for at in spread(len(everything), wanted)]
    times = [(2 * i + 1) * length / (2 * wanted) for i in range(wanted)]
    kept: list[tuple[float, Any]] = []
    before: tuple[float, Any] | None = None
    for frame in frames:
        while times and frame[0] >= times[0]:
            near = before if before is not None and times[0] - before[0] < frame[0] - times[0] else frame
            if not kept or kept[-1] is not near:
                kept.append(near)
            times.pop(0)
        if not times:
            return kept
        before = frame
    if before is not None and (not kept or kept[-1] is not before):
        kept.append(before)
    return kept


def _by_opencv(path: Path, frames: int) -> Media:
    try:
        import cv2
    except ImportError:
        raise BadInput(
            f"'{path}' is a video, which needs PyAV or OpenCV: pip install av (or opencv-python-headless); "
            "or give a folder of frames"
        ) from None
    from PIL import Image

    film = cv2.VideoCapture(str(path))
    try:
        count = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
        check_size((int(film.get(cv2.CAP_PROP_FRAME_WIDTH)), int(film.get(cv2.CAP_PROP_FRAME_HEIGHT))), path)
        rate, wanted, pictures = film.get(cv2.CAP_PROP_FPS) or 25.0, set(spread(count, frames)), []
        for at in range(count):
            good, frame = film.read() if at in wanted else (film.grab(), None)
            if not good:
                break
            if frame is not None:
                pictures.append((at / rate, Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))))
    finally:
        film.release()
    return _made(pictures, path)


def _made(pictures: Sequence[tuple[float, Any]], path: Path) -> Media:
    if not pictures:
        raise BadInput(f"'{path}' holds no frames that can be read; give another video or a folder of frames")
    return Media(
        tuple(picture for _, picture in pictures),
        video=True,
        times=tuple(round(time, 3) for time, _ in pictures),
        name=path.name,
    )
