"""Reads what COCO's annotations say of one image; coco_folder sets it aside.

A line is an object with the image's record, "image", and its annotations,
"annotations". Each of these bears its class's name, or what is wrong with its
category.
"""

from __future__ import annotations

import math
import os
from typing import Any

from tfrecord_tools import annotation, json_values

CLASS = "class_name"
FAULT = "category_fault"


def parse_bytes(content: bytes, path: str) -> annotation.Annotation:
    """Returns what a line that was set aside says of one image.

    Args:
      content: the line.
      path: what messages call it.

    Raises:
      annotation.AnnotationFault: the image's record is of no use.
    """
    line = json_values.load(content)
    image, items = line["image"], line["annotations"]
    found = annotation.collect(
        ((annotation_id(item, i), item) for i, item in enumerate(items)),
        _read_object,
    )
    name = image.get("file_name")
    if not json_values.is_text(name):
        raise annotation.AnnotationFault(
            "filename_not_text",
            f"'file_name' is {annotation.quoted(name)}, text was expected",
        )
    return annotation.Annotation(
        file=path,
        image_name=name,
        is_image_path=True,
        image_size=_image_size(image),
        drive=os.path.dirname(name.replace("\\", "/")) or os.curdir,
        objects=found.objects,
        filtered=found.filtered,
        rejected=found.rejected,
        fields=json_values.fields(image),
    )


def _image_size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if height is None and width is None:
        return None
    if not (json_values.is_side(height) and json_values.is_side(width)):
        raise annotation.AnnotationFault(
            "size_not_understood",
            f"'height' is {annotation.quoted(height)}, 'width'"
            f" {annotation.quoted(width)}, whole numbers above 0 were"
            " expected",
        )
    return height, width


def annotation_id(item: Any, index: int) -> str:
    """Returns what messages call an annotation."""
    value = item.get("id") if isinstance(item, dict) else None
    if json_values.is_text(value) or type(value) is int:
        return annotation.quoted(value).strip("'")
    return f"number {index + 1}"


def _read_object(item: dict[str, Any], number: str) -> annotation.Object:
    if FAULT in item:
        raise annotation.ObjectFault(*item[FAULT])
    return annotation.Object(
        annotation_id=number,
        class_name=item[CLASS],
        box=_parse_box(item.get("bbox")),
        is_truncated=False,
        is_crowd=json_values.flag(item, "iscrowd"),
        fields=json_values.fields(item),
    )


def _parse_box(bbox: Any) -> tuple[float, float, float, float]:
    """Returns y_min, x_min, y_max, x_max from x, y, width, height."""
    if bbox is None:
        raise annotation.ObjectFault("no_box", "there is no 'bbox'")
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(map(json_values.is_number, bbox))
    ):
        raise annotation.ObjectFault(
            "box_not_numbers",
            f"'bbox' is {annotation.quoted(bbox)}, [x, y, width, height] was"
            " expected",
        )
    try:
        x, y, width, height = map(float, bbox)
    except OverflowError:
        x = y = width = height = math.inf
    corners = (y, x, y + height, x + width)
    if not all(map(math.isfinite, corners)):
        raise annotation.ObjectFault(
            "box_not_finite", f"'bbox' is {annotation.quoted(bbox)}"
        )
    if width < 0 or height < 0:
        raise annotation.ObjectFault(
            "negative_size", f"'bbox' is {annotation.quoted(bbox)}"
        )
    return corners
