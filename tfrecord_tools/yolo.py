"""Reads YOLO's annotations: one text file per image, one object per line.

A line is a class number from 0 on, and the box's centre x, centre y, width and
height in sides of the image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from tfrecord_tools import annotation, coordinates

_NUM_VALUES = 5
_NUMBER = re.compile(r"[0-9]{1,9}")


def parse_bytes(
    content: bytes, path: str, names: Mapping[int, str]
) -> annotation.Annotation:
    """Returns what a text file with this content says.

    Args:
      content: the file's bytes; none where the image has no file.
      path: the file, kept in the result.
      names: the class of each number.

    Raises:
      annotation.AnnotationFault: the content is no text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise annotation.AnnotationFault("not_text", str(error)) from error
    if "\0" in text:
        raise annotation.AnnotationFault("not_text", "it holds zero bytes")
    lines = [
        (f"line {number}", line.split())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    found = annotation.collect(
        lines, lambda values, line: _read_object(values, line, names)
    )
    return annotation.Annotation(
        file=path,
        image_name=None,
        image_size=None,
        drive=None,
        objects=found.objects,
        filtered=found.filtered,
        rejected=found.rejected,
    )


def _read_object(
    values: list[str], line: str, names: Mapping[int, str]
) -> annotation.Object | str:
    """Returns an object, or why it is left out on purpose."""
    if len(values) > _NUM_VALUES and len(values) % 2 == 1:
        return "type:segment"  # a class and the points of an outline
    if len(values) != _NUM_VALUES:
        raise annotation.ObjectFault(
            "line_not_understood",
            f"{len(values)} values, expected {_NUM_VALUES}: class, centre x,"
            " centre y, width, height",
        )
    if not _NUMBER.fullmatch(values[0]):
        raise annotation.ObjectFault(
            "no_class",
            f"the class is {annotation.quoted(values[0])}, a whole number was"
            " expected",
        )
    name = names.get(int(values[0]))
    if name is None:
        raise annotation.ObjectFault(
            "unknown_class_number",
            f"class {values[0]} is not among the {len(names)} names",
        )
    return annotation.Object(
        annotation_id=line,
        class_name=name,
        box=_parse_box(values[1:]),
        is_truncated=False,
    )


def _parse_box(values: list[str]) -> tuple[float, float, float, float]:
    """Returns y_min, x_min, y_max, x_max in sides of the image."""
    shown = annotation.quoted(" ".join(values))
    try:
        x, y, width, height = map(float, values)
    except ValueError as error:
        raise annotation.ObjectFault(
            "box_not_numbers", f"the box is {shown}"
        ) from error
    box = (x, y, width, height)
    if not all(map(math.isfinite, box)):
        raise annotation.ObjectFault("box_not_finite", f"the box is {shown}")
    if width < 0 or height < 0:
        raise annotation.ObjectFault("negative_size", f"the box is {shown}")
    if max(map(abs, box)) > coordinates.LIMIT:
        raise annotation.ObjectFault(
            "box_not_normalised",
            f"the box is {shown}, sides of the image (0 to 1) were expected",
        )
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2
