"""Images and number lists as the classifier wants them: 64 integers from 0 (empty) to 16 (ink)."""

import io

from PIL import Image

SIDE = 8
INK = 16
MAX_SIDE = 2048
FORMATS = ("PNG", "JPEG", "BMP")


class BadImage(ValueError):
    """The request holds no image of a digit; the text says what is wrong with it."""


def from_image(data: bytes) -> list[int]:
    """Reads an image with bright strokes on a dark ground, of any size from 8x8 on."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (OSError, Image.DecompressionBombError) as error:
        raise BadImage(f"not an image in one of the formats {', '.join(FORMATS)}") from error
    if min(image.size) < SIDE or max(image.size) > MAX_SIDE:
        width, height = image.size
        raise BadImage(f"the image is {width}x{height}, each side must be {SIDE} to {MAX_SIDE} pixels")
    try:
        small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadImage(f"the image is damaged: {error}") from error
    return [round(level * INK / 255) for level in small.tobytes()]


def from_numbers(value: object) -> list[int]:
    """Reads 64 numbers from 0 to 16, or 8 rows of 8."""
    if not isinstance(value, list):
        raise BadImage("the body must be JSON: {\"pixels\": a list of 64 numbers, or 8 lists of 8}")
    if len(value) == SIDE and all(isinstance(row, list) and len(row) == SIDE for row in value):
        value = [number for row in value for number in row]
    if len(value) != SIDE * SIDE:
        raise BadImage(f"'pixels' must hold 64 numbers, or 8 lists of 8, not {len(value)} values")
    for number in value:
        # True and False are integers to Python
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= INK:
            raise BadImage(f"'pixels' must be numbers from 0 to {INK}, not {number!r}")
    return [round(number) for number in value]


def to_png(pixels: list[int], side: int) -> bytes:
    """Draws 64 pixels as a grayscale PNG of `side` x `side`, a multiple of 8."""
    image = Image.frombytes("L", (SIDE, SIDE), bytes(round(p * 255 / INK) for p in pixels))
    out = io.BytesIO()
    image.resize((side, side), Image.Resampling.NEAREST).save(out, format="PNG")
    return out.getvalue()
