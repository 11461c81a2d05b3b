"""Pictures of boxes on an image, alone or ground truth beside detections."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito (2008): told apart with every kind of colour vision.
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_BLACK = (0, 0, 0)
_WHITE = (255, 255, 255)
_CAPTION_BACKGROUND = (32, 32, 32)
# Pixels of the picture. Images are scaled to one size, so that the text is
# readable on small ones and in proportion on large ones.
_LONGER_SIDE = 960
_LEAST_WIDTH = 360  # room for a caption
_FONT_SIZE = 14
_MARGIN = 3
_LINE = 2
_GAP = 6

_Rectangle = tuple[int, int, int, int]  # left, top, right, bottom


class Mark(NamedTuple):
    """A box to draw: [y_min, x_min, y_max, x_max] pixels of the image."""

    box: tuple[float, float, float, float]
    class_index: int
    text: str


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    # Found by its path: matplotlib's font search writes a cache first.
    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(
        os.path.join(folder, "DejaVuSans.ttf"), _FONT_SIZE
    )


def colour(class_index: int) -> tuple[int, int, int]:
    """Returns a class's colour; beyond seven classes, darker ones of them."""
    shade = 0.65 ** (class_index // len(_COLOURS))
    red, green, blue = _COLOURS[class_index % len(_COLOURS)]
    return int(red * shade), int(green * shade), int(blue * shade)


def _text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Returns black or white, whichever stands out more (ITU-R BT.601)."""
    red, green, blue = background
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return _BLACK if luma > 127 else _WHITE


def object_marks(
    boxes: np.ndarray,
    classes: np.ndarray,
    is_crowd: np.ndarray,
    class_names: Sequence[str],
) -> list[Mark]:
    """Returns a mark for each object.

    Args:
      boxes: [n, 4] pixels of the image.
      classes: [n], 0-based.
      is_crowd: [n] bool.
      class_names: class 0 first.
    """
    return [
        Mark(
            tuple(box.tolist()),
            int(index),
            class_names[index] + (" (crowd)" if crowd else ""),
        )
        for box, index, crowd in zip(boxes, classes, is_crowd, strict=True)
    ]


def detection_marks(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    min_score: float,
) -> list[Mark]:
    """Returns a mark for each detection that scores min_score or more.

    Args:
      boxes: [n, 4] pixels of the image.
      scores: [n], falling.
      classes: [n], 0-based.
      class_names: class 0 first.
      min_score: the least score that is drawn.
    """
    return [
        Mark(
            tuple(box.tolist()), int(index), f"{class_names[index]} {score:.2f}"
        )
        for box, score, index in zip(boxes, scores, classes, strict=True)
        if score >= min_score
    ]


def _overlap(first: _Rectangle, second: _Rectangle) -> int:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def label_place(
    box: _Rectangle,
    label: tuple[int, int],
    canvas: tuple[int, int],
    taken: list[_Rectangle],
) -> _Rectangle:
    """Returns where a label goes: on the canvas, and on no other if it can.

    Args:
      box: what it belongs to.
      label: its width and height.
      canvas: width and height.
      taken: the labels that have a place.
    """
    width, height = label
    left, top, right, bottom = box
    wishes = (
        (left, top - height),
        (left, bottom),
        (left, top),
        (right - width, top - height),
        (left, bottom - height),
        (right, top),
        (right - width, bottom),
    )
    places = []
    for x, y in wishes:
        # An image lower than a label: its top stays visible.
        x = max(min(x, canvas[0] - width), 0)
        y = max(min(y, canvas[1] - height), 0)
        places.append((x, y, x + width, y + height))
    return min(places, key=lambda p: sum(_overlap(p, other) for other in taken))


def _draw_labels(
    draw: ImageDraw.ImageDraw,
    rectangles: list[_Rectangle],
    marks: Sequence[Mark],
    canvas: tuple[int, int],
) -> None:
    taken: list[_Rectangle] = []
    font = _font()
    for rectangle, mark in zip(rectangles, marks, strict=True):
        size = (
            int(font.getlength(mark.text)) + 2 * _MARGIN,
            _FONT_SIZE + 2 * _MARGIN,
        )
        place = label_place(rectangle, size, canvas, taken)
        taken.append(place)
        background = colour(mark.class_index)
        draw.rectangle(place, fill=background)
        draw.text(
            (place[0] + _MARGIN, (place[1] + place[3]) // 2),
            mark.text,
            fill=_text_colour(background),
            font=font,
            anchor="lm",
        )


def draw(image: np.ndarray, marks: Sequence[Mark], caption: str) -> Image.Image:
    """Returns the image with boxes and labels below a caption.

    Labels lie inside the picture whole, and beside one another where there is
    room; the first marks choose first.

    Args:
      image: [h, w, 3] uint8.
      marks: boxes in pixels of the image.
      caption: one line.
    """
    height, width = image.shape[:2]
    zoom = _LONGER_SIDE / max(height, width)
    size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
    canvas = (
        max(size[0], _LEAST_WIDTH),
        max(size[1], _FONT_SIZE + 2 * _MARGIN),
    )
    picture = Image.new("RGB", canvas, _CAPTION_BACKGROUND)
    picture.paste(
        Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), (0, 0)
    )
    pen = ImageDraw.Draw(picture)
    rectangles = []
    for mark in marks:
        y_min, x_min, y_max, x_max = (round(v * zoom) for v in mark.box)
        right, bottom = min(x_max, size[0] - 1), min(y_max, size[1] - 1)
        rectangles.append((x_min, y_min, max(right, x_min), max(bottom, y_min)))
    # The last first: the first marks, the best detections, lie on top.
    for rectangle, mark in reversed(list(zip(rectangles, marks, strict=True))):
        pen.rectangle(rectangle, outline=colour(mark.class_index), width=_LINE)
    _draw_labels(pen, rectangles, marks, canvas)
    return _with_caption(picture, caption)


def _with_caption(picture: Image.Image, caption: str) -> Image.Image:
    bar = _FONT_SIZE + 4 * _MARGIN
    whole = Image.new(
        "RGB", (picture.width, picture.height + bar), _CAPTION_BACKGROUND
    )
    whole.paste(picture, (0, bar))
    ImageDraw.Draw(whole).text(
        (2 * _MARGIN, bar // 2), caption, fill=_WHITE, font=_font(), anchor="lm"
    )
    return whole


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def detections_caption(count: int, min_score: float) -> str:
    """Returns the line over a picture of detections."""
    return f"{_plural(count, 'detection')} at score >= {min_score:.2f}"


def draw_detections(
    image: np.ndarray,
    detections: tuple[np.ndarray, np.ndarray, np.ndarray],
    class_names: Sequence[str],
    min_score: float,
) -> Image.Image:
    """Returns a picture of the detections that score min_score or more.

    Args:
      image: [h, w, 3] uint8.
      detections: boxes [n, 4] in pixels of the image, scores and classes [n].
      class_names: class 0 first.
      min_score: the least score that is drawn.
    """
    marks = detection_marks(*detections, class_names, min_score)
    return draw(image, marks, detections_caption(len(marks), min_score))


def draw_comparison(
    image: np.ndarray,
    objects: tuple[np.ndarray, np.ndarray, np.ndarray],
    detections: tuple[np.ndarray, np.ndarray, np.ndarray],
    class_names: Sequence[str],
    min_score: float,
) -> Image.Image:
    """Returns a picture of ground truth on the left, detections on the right.

    Args:
      image: [h, w, 3] uint8.
      objects: boxes [n, 4] in pixels of the image, classes and is_crowd [n].
      detections: as in draw_detections.
      class_names: class 0 first.
      min_score: the least score that is drawn.
    """
    truth = object_marks(*objects, class_names)
    caption = f"ground truth: {_plural(len(truth), 'object')}"
    left = draw(image, truth, caption)
    right = draw_detections(image, detections, class_names, min_score)
    whole = Image.new(
        "RGB", (left.width + _GAP + right.width, left.height), _WHITE
    )
    whole.paste(left, (0, 0))
    whole.paste(right, (left.width + _GAP, 0))
    return whole
