"""Pictures from files, with bounded memory: the size is read from the header before a pixel is decoded."""

import warnings
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput

MEGAPIXELS = 120
"""Largest picture decoded: 360 MB as RGB."""


def open_image(path: Path | str) -> Any:
    """The image of a file as RGB, turned upright as its EXIF data say. Raises BadInput in one line."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise BadInput(f"no such image: '{path}'")
    with header(path) as image:
        return decoded(image, path)


def rgb(image: Any) -> Any:
    """A PIL image as RGB; transparency is flattened on white."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    if image.mode == "I;16":  # 16-bit grey, which ``convert`` would cut off at 255
        image = image.point(lambda value: value * (1 / 256), "L")
    return image if image.mode == "RGB" else image.convert("RGB")


def check_size(size: tuple[int, int], what: object) -> None:
    """Raises BadInput for an image too large to decode in bounded memory."""
    if size[0] * size[1] > MEGAPIXELS * 1_000_000:
        raise BadInput(
            f"'{what}' has {size[0]}x{size[1]} = {size[0] * size[1] / 1e6:.0f} megapixels, at most {MEGAPIXELS} are "
            "decoded; make it smaller, or cut it into parts"
        )


def header(path: Path) -> Any:
    """The opened file, nothing decoded yet. Raises BadInput for what is no image, or too large."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except Image.DecompressionBombError:
        raise BadInput(
            f"'{path}' has more than 178 megapixels, at most {MEGAPIXELS} are decoded; make it smaller, or cut it"
        ) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BadInput(f"cannot read '{path}': {reason}; known are PNG, JPEG, WebP, GIF, BMP, TIFF, videos") from None
    check_size(image.size, path)
    return image


def decoded(image: Any, path: Path) -> Any:
    """An opened image as upright RGB. Raises BadInput for a damaged one."""
    from PIL import ImageOps

    try:
        return rgb(ImageOps.exif_transpose(image))
    # A broken file shows itself only when its pixels are decoded, in any of these ways.
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadInput(f"cannot read '{path}': {error}; the file is damaged or incomplete") from None
