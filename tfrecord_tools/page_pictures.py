"""Small pictures for a page: as text, so that the page is one file."""

from __future__ import annotations

import array
import base64
import io
import os
import re
import warnings
from collections.abc import Collection, Iterator, Sequence

from PIL import Image, ImageDraw

from tfrecord_tools import files, image_checks, shard_files, storage

SIDE = 160  # pixels of a picture
_CONTEXT = 2.2  # sides of a picture in sides of the box it shows
_LEAST_CROP = 64  # pixels of the image
_QUALITY = 80
_BOX = (255, 64, 64)
_EDGE = (255, 255, 255)
# Named, so that Pillow does not try formats that call other programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")


def _encoded(image: Image.Image) -> str:
    """Returns an image as the address of an <img>."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(
        "ascii"
    )


def _opened(content: bytes, max_pixels: int) -> Image.Image | None:
    """Returns the image in RGB; None if it does not decode or is larger."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
            if image.width * image.height > max_pixels:
                return None
            return image.convert("RGB")
    except image_checks.DECODE_ERRORS:
        return None


def whole(content: bytes, max_pixels: int) -> str | None:
    """Returns a picture of the whole image; None if it does not decode."""
    image = _opened(content, max_pixels)
    if image is None:
        return None
    image.thumbnail((SIDE, SIDE))
    return _encoded(image)


def detail(
    content: bytes, box: tuple[float, float, float, float], max_pixels: int
) -> str | None:
    """Returns a picture of a box and what is around it, the box drawn.

    Args:
      content: the encoded image.
      box: x, y, width, height in its pixels.
      max_pixels: a larger image gives None, like one that does not decode.
    """
    image = _opened(content, max_pixels)
    if image is None:
        return None
    x, y, width, height = box
    side = max(_LEAST_CROP, _CONTEXT * max(width, height))
    side = min(side, max(image.size))
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    # Within the image where it is large enough: black borders show nothing.
    left = max(0.0, min(left, image.width - side))
    top = max(0.0, min(top, image.height - side))
    right, bottom = min(left + side, image.width), min(top + side, image.height)
    scale = SIDE / side
    size = (
        max(1, round((right - left) * scale)),
        max(1, round((bottom - top) * scale)),
    )
    crop = image.resize(
        size, Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    corners = [
        (x - left) * scale,
        (y - top) * scale,
        (x + width - left) * scale,
        (y + height - top) * scale,
    ]
    draw = ImageDraw.Draw(crop)
    # Light outside dark: to be seen on every ground.
    draw.rectangle(
        [corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1],
        outline=_EDGE,
    )
    draw.rectangle(corners, outline=_BOX, width=2)
    return _encoded(crop)


def read(image_dir: str, name: str) -> bytes | None:
    """Returns a file below a folder, None if it cannot be read or is no image.

    Links that lead out of the folder are not followed.
    """
    is_image = os.path.splitext(name)[1].lower() in files.IMAGE_SUFFIXES
    if not is_image or files.fault(image_dir, name) is not None:
        return None
    try:
        return storage.read_bytes(storage.join(image_dir, name))
    except OSError:
        return None


def source_image(image_dir: str, file: str) -> bytes | None:
    """Returns the image that an annotation file's name points to, or None.

    Args:
      image_dir: the folder of the images.
      file: the annotation file below the input folder; the image has the
        beginning of its name, in the same folder.
    """
    content = read(image_dir, file)
    if content is not None:
        return content
    stem = os.path.splitext(file)[0]
    ends = [len(stem)] + [m.start() for m in re.finditer(r"[._-]", stem)]
    for end in sorted(ends, reverse=True):
        for suffix in ("", *sorted(files.IMAGE_SUFFIXES)):
            content = read(image_dir, stem[:end] + suffix)
            if content is not None:
                return content
    return None


def records(
    shards: Sequence[tuple[str, int]],
    image_ids: array.array,
    wanted: Collection[int],
) -> Iterator[tuple[int, bytes]]:
    """Yields image id and serialised record of the images asked for.

    Args:
      shards: path and number of records of each, in order.
      image_ids: the ids of the split's images in the order of the records.
      wanted: the ids to look for.
    """
    first = 0
    for path, num_records in shards:
        here = {
            place: number
            for place, number in enumerate(
                image_ids[first : first + num_records]
            )
            if number in wanted
        }
        first += num_records
        if not here:
            continue
        with open(path, "rb") as file:
            for place, (position, length) in enumerate(
                shard_files.offsets(path)
            ):
                if place in here:
                    file.seek(position)
                    yield here[place], file.read(length)
