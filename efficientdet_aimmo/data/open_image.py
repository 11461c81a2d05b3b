"""Image files of any kind as the pixels that a conversion would store."""

from __future__ import annotations

import struct
import warnings

import numpy as np
from PIL import Image, ImageOps

# Named, so that Pillow does not try formats that call other programs (EPS). The
# JPEG plug-in opens MPO too; to name it is a KeyError.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm"),
    *(".tif", ".tiff", ".webp"),
)
# What Pillow raises on files that are damaged or no images.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    TypeError,
    IndexError,
    KeyError,
    ZeroDivisionError,
    struct.error,
    Image.DecompressionBombError,
)


class ImageError(ValueError):
    """An image that cannot be read, and why."""


def _to_rgb(image: Image.Image) -> Image.Image:
    """Returns the image in 8-bit RGB; 16-bit grey keeps its upper 8 bits.

    Transparency is dropped, as by decoders that are asked for three channels.
    """
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ImageError(
                f"its pixels are {grey.min()} to {grey.max()}, expected 0 to"
                " 65535 at most"
            )
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError("its pixels are fractions, expected integers")
    return image.convert("RGB")


def open_rgb(path: str) -> np.ndarray:
    """Returns an image file's pixels, [h, w, 3] uint8, turned as EXIF says.

    Raises:
      ImageError: the file cannot be read, is no image, or is cut off.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's remarks on odd metadata: what counts are the pixels.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except ImageError:
        raise
    except _DECODE_ERRORS as error:
        raise ImageError(f"{type(error).__name__}: {error}") from error
