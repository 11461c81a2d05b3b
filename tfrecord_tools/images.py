"""Images: read safely, brought to 8-bit RGB, resized together with boxes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import warnings
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from tfrecord_tools import storage

Box = tuple[float, float, float, float]

STRETCH: Final = "stretch"
LETTERBOX: Final = "letterbox"
KEEP: Final = "keep"
JPEG: Final = "jpeg"
# ImageNet's mean (.485, .456, .406) in whole steps of 255: what networks that
# subtract it pad with.
FILL: Final = (124, 116, 104)

# Named, so that Pillow does not try formats that call other programs (EPS).
_FORMATS: Final = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
_KEPT_FORMATS: Final = ("JPEG", "PNG")
_PNG_END: Final = b"IEND\xaeB`\x82"
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = 1
# What Pillow raises on damaged files; those after ValueError are what it takes
# for damage itself when it looks for the format.
_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    struct.error,
)


class ImageFault(ValueError):
    """An image that cannot be used, and why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photo:
    """An image, upright and in 8-bit RGB; decoded unless read left it so.

    Attributes:
      image: the pixels.
      kept: the file's bytes and their format if they hold just these pixels in
        a form that every decoder reads; else None.
    """

    image: Image.Image
    kept: tuple[bytes, str] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoded:
    """An image as it is stored.

    Attributes:
      content: the file's bytes.
      format: "jpeg" or "png".
      height: in pixels.
      width: in pixels.
      sha256: of the content, hex digits.
      is_original: these are the bytes of the input's file, written by whatever
        made it.
    """

    content: bytes
    format: str
    height: int
    width: int
    sha256: str
    is_original: bool


def read(path: str, max_pixels: int, *, needs_pixels: bool) -> Photo:
    """Returns the image in a file.

    Args:
      path: the file.
      max_pixels: images of more pixels are refused before they are decoded.
      needs_pixels: False leaves a JPEG undecoded whose bytes are kept: then the
        caller decodes it to see that it is whole. (TensorFlow's decoder, which
        has to be asked anyway, refuses all that Pillow's refuses: measured on
        1,590 damaged JPEGs, of which Pillow refused 408 and TensorFlow 415.)

    Raises:
      ImageFault: the file cannot be read or decoded to its end, or is larger.
    """
    try:
        content = storage.read_bytes(path)
    except OSError as error:
        raise ImageFault("image_unreadable", f"{error.strerror}") from error
    try:
        with warnings.catch_warnings():
            # Pillow's remarks on odd metadata and on size: what counts are the
            # pixels, and max_pixels.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageFault("image_too_large", str(error)) from error
    except _DECODE_ERRORS as error:
        raise ImageFault("not_an_image", str(error)) from error
    with image:
        if image.width * image.height > max_pixels:
            raise ImageFault(
                "image_too_large",
                f"{image.width}x{image.height} is more than --max_pixels"
                f"={max_pixels}",
            )
        if not needs_pixels and _is_plain_jpeg(image):
            return Photo(image=image, kept=(content, "jpeg"))
        return _decode(image, content)


def damage(content: bytes) -> str:
    """Returns what Pillow finds wrong with an encoded image, '' if nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                image.load()
    except _DECODE_ERRORS as error:
        return str(error)
    return ""


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Returns whether a JPEG's header says upright RGB."""
    if image.format != "JPEG" or image.mode != "RGB":
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = image.getexif()
    except _DECODE_ERRORS:
        return False
    return exif.get(_ORIENTATION_TAG, _UPRIGHT) == _UPRIGHT


def _decode(image: Image.Image, content: bytes) -> Photo:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # First: a PNG's metadata may stand behind its pixels.
            image.load()
            turned = image.getexif().get(_ORIENTATION_TAG, _UPRIGHT) != _UPRIGHT
            upright = ImageOps.exif_transpose(image) if turned else image
            rgb = _to_rgb(upright)
    except _DECODE_ERRORS as error:
        raise ImageFault("image_cut_off_or_damaged", str(error)) from error
    if image.format == "PNG" and _PNG_END not in content:
        # Pillow forgives this, TensorFlow's decoder does not.
        raise ImageFault("image_cut_off_or_damaged", "its end is missing")
    kept = None
    if image.mode == "RGB" and not turned and image.format in _KEPT_FORMATS:
        kept = (content, image.format.lower())
    return Photo(image=rgb, kept=kept)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Returns the image in 8-bit RGB; 16-bit grey keeps its upper 8 bits.

    Transparency is dropped, as decoders that are asked for three channels do.
    """
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ImageFault(
                "pixels_not_understood",
                f"32-bit pixels of {grey.min()} to {grey.max()}",
            )
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageFault("pixels_not_understood", "pixels are fractions")
    # It would copy an image that is RGB already: 1 ms for 1920x1024.
    return image if image.mode == "RGB" else image.convert("RGB")


def content_size(
    height: int, width: int, size: tuple[int, int], mode: str
) -> tuple[int, int]:
    """Returns the (height, width) that an image has within a resized one.

    Args:
      height: the image's, in pixels.
      width: the image's, in pixels.
      size: (height, width) of the resized one.
      mode: STRETCH fills it; LETTERBOX keeps the aspect ratio, to the nearest
        whole pixel.
    """
    if mode == STRETCH:
        return size
    scale = min(size[0] / height, size[1] / width)
    return (
        min(size[0], max(1, round(height * scale))),
        min(size[1], max(1, round(width * scale))),
    )


def resize(
    image: Image.Image, boxes: list[Box], size: tuple[int, int], mode: str
) -> tuple[Image.Image, list[Box]]:
    """Returns image and boxes brought to a size, by the same two factors.

    Args:
      image: the image.
      boxes: y_min, x_min, y_max, x_max in pixels of the image.
      size: (height, width) in pixels.
      mode: STRETCH, or LETTERBOX: the image lies at the top left, where the
        detector's own input has it, and FILL is beside or below it.
    """
    height, width = content_size(image.height, image.width, size, mode)
    # The factors of the pixels as they are, not the one before rounding.
    scale_y = height / image.height
    scale_x = width / image.width
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    if (height, width) != size:
        canvas = Image.new("RGB", (size[1], size[0]), FILL)
        canvas.paste(resized, (0, 0))
        resized = canvas
    return resized, [
        (y0 * scale_y, x0 * scale_x, y1 * scale_y, x1 * scale_x)
        for y0, x0, y1, x1 in boxes
    ]


def encode(photo: Photo, image_format: str, jpeg_quality: int) -> Encoded:
    """Returns the image's own bytes if they are kept, else those of a JPEG.

    Args:
      photo: the image.
      image_format: KEEP, or JPEG, which keeps the bytes of JPEGs alone.
      jpeg_quality: 1 to 100.
    """
    kept = photo.kept
    if kept is not None and image_format == JPEG and kept[1] != "jpeg":
        kept = None
    if kept is not None:
        content, stored_format = kept
    else:
        buffer = io.BytesIO()
        photo.image.save(
            buffer, "JPEG", quality=jpeg_quality, subsampling="4:4:4"
        )
        content, stored_format = buffer.getvalue(), "jpeg"
    return Encoded(
        content=content,
        format=stored_format,
        height=photo.image.height,
        width=photo.image.width,
        sha256=hashlib.sha256(content).hexdigest(),
        is_original=kept is not None,
    )


def read_small(
    path: str, max_pixels: int, size: tuple[int, int]
) -> Image.Image:
    """Returns an image in grey and upright, shrunk to (height, width).

    A JPEG is decoded at an eighth of its size where that is enough.

    Args:
      path: the file.
      max_pixels: images of more pixels are refused before they are decoded.
      size: (height, width) in pixels.

    Raises:
      ImageFault: the file cannot be read, or is larger.
    """
    height, width = size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(
                io.BytesIO(storage.read_bytes(path)), formats=_FORMATS
            ) as image:
                if image.width * image.height > max_pixels:
                    raise ImageFault("image_too_large", f"{image.size}")
                # Twice the size, so that shrinking still averages.
                image.draft("L", (2 * width, 2 * height))
                image.load()
                turned = image.getexif().get(_ORIENTATION_TAG, _UPRIGHT)
                upright: Image.Image = image
                if turned != _UPRIGHT:
                    upright = ImageOps.exif_transpose(image)
                plain = upright.mode in ("L", "RGB")
                grey = (upright if plain else _to_rgb(upright)).convert("L")
    except (Image.DecompressionBombError, *_DECODE_ERRORS) as error:
        raise ImageFault("image_unreadable", str(error)) from error
    return grey.resize((width, height), Image.Resampling.BILINEAR)
