"""Decodes a stored image, to see that a training will be able to."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from typing import Final, NamedTuple

import PIL
from PIL import Image as PillowImage

# What the detector's decoder reads.
_FORMATS: Final = ("JPEG", "PNG")
_PNG_END: Final = b"IEND\xaeB`\x82"
# What Pillow raises on damaged files.
DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    struct.error,
    PillowImage.DecompressionBombError,
)


class Image(NamedTuple):
    """An encoded image; what is not known for a fault is "" or 0.

    Attributes:
      format: jpeg or png.
      height: pixels.
      width: pixels.
      sha256: of the encoded bytes, as hex digits.
      digest: 64 bits of the same.
      fault: why it cannot be decoded, or "".
    """

    format: str
    height: int
    width: int
    sha256: str
    digest: int
    fault: str


def decode(content: bytes) -> Image:
    """Returns what is in an encoded image; every pixel is decoded."""
    digest = hashlib.sha256(content)
    image_format, size, fault = "", (0, 0), ""
    try:
        with warnings.catch_warnings():
            # Pillow's remarks on odd metadata: what counts are the pixels.
            warnings.simplefilter("ignore")
            image = PillowImage.open(io.BytesIO(content), formats=_FORMATS)
            # MPO is a JPEG with more pictures behind it.
            image_format = str(image.format).replace("MPO", "JPEG").lower()
            size = image.size
            image.load()
        if image_format == "png" and _PNG_END not in content:
            # Pillow forgives this, TensorFlow's decoder does not.
            fault = "the image's end is missing"
    except PIL.UnidentifiedImageError:
        fault = "the image is neither JPEG nor PNG"
    except DECODE_ERRORS as error:
        fault = f"the image cannot be decoded ({error})"
    return Image(
        format=image_format,
        height=size[1],
        width=size[0],
        sha256=digest.hexdigest(),
        digest=int.from_bytes(digest.digest()[:8], "big"),
        fault=fault,
    )
