"""From an uploaded file to the 64 numbers that the model takes."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

SIDE = 8
MAX_SIDE = 4096
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")

# what Pillow only warns of is refused below, by its size
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class BadImage(ValueError):
    """The file cannot be used; the text says why."""


def from_file(content: bytes) -> np.ndarray:
    """Gives an image as 8x8 numbers from 0 (ground) to 1 (ink), whether the digit is dark or bright."""
    if not content:
        raise BadImage("no file was sent, or an empty one")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(f"this is not an image in one of the formats {', '.join(FORMATS)}") from error
    if min(image.size) < SIDE or max(image.size) > MAX_SIDE:
        width, height = image.size
        raise BadImage(f"the image is {width}x{height} pixels, each side must be {SIDE} to {MAX_SIDE}")
    try:
        image = flat(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadImage(f"the image is damaged: {error}") from error
    levels = np.asarray(image, dtype=np.float32) / 255
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    if np.median(border) > 0.5:
        levels = 1 - levels
    levels -= levels.min()
    if levels.max() < 0.1:
        raise BadImage("the image is empty: it has one colour only")
    small = Image.fromarray(levels / levels.max()).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def flat(image: Image.Image) -> Image.Image:
    """Turns the camera's way up, puts transparent parts on white, and drops the colours."""
    image = ImageOps.exif_transpose(image).convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("L")


def to_png(levels: np.ndarray, side: int) -> bytes:
    """Draws what `from_file` gave as a grayscale PNG of `side` x `side`."""
    image = Image.fromarray((levels * 255).round().astype(np.uint8))
    out = io.BytesIO()
    image.resize((side, side), Image.Resampling.NEAREST).save(out, format="PNG")
    return out.getvalue()
