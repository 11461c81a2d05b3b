"""Reads AIMMO's raw annotation files: one JSON per image, boxes in pixels.

Nothing in a file is trusted to have the type it should have: a fault of the
file raises AnnotationFault, a fault of one object rejects that object.
"""

from __future__ import annotations

import json
import math
import pathlib
import re
import typing
from typing import Any

from tfrecord_tools import annotation

_BOX_TYPE = "bbox"
_FAKE = "isfake"
_MIN_POINTS = 2  # two opposite corners already give a box
_SIZE = re.compile(r"\s*(\d{1,7})\s*[*xX]\s*(\d{1,7})\s*")  # WIDTH*HEIGHT


class _ObjectFault(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_annotation(
    path: str, keep_fake: bool = False
) -> annotation.Annotation:
    """Returns what the annotation file says, with each object accounted for.

    Args:
      path: the file.
      keep_fake: pictures of objects (isfake) count as objects.

    Raises:
      annotation.AnnotationFault: the file is of no use.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise annotation.AnnotationFault(
            "annotation_unreadable", f"{error.strerror}"
        ) from error
    return parse_bytes(content, path, keep_fake)


def parse_bytes(
    content: bytes, path: str, keep_fake: bool = False
) -> annotation.Annotation:
    """Returns what an annotation file with this content says.

    Args:
      content: the file's bytes.
      path: the file, kept in the result.
      keep_fake: pictures of objects (isfake) count as objects.

    Raises:
      annotation.AnnotationFault: the content is of no use.
    """
    top = _load(content)
    if "annotations" not in top:
        raise annotation.AnnotationFault(
            "annotations_missing", "there is no key 'annotations'"
        )
    items = top["annotations"]
    if items is None:  # AIMMO's way to say that the image shows no object
        items = []
    if not isinstance(items, list):
        raise annotation.AnnotationFault(
            "annotations_not_a_list", f"'annotations' is {_kind(items)}"
        )
    image_name = _optional_text(top, "filename")
    parent_path = _optional_text(top, "parent_path")
    image_size = _parse_size(top.get("size"))
    objects, filtered, rejected = _parse_objects(items, keep_fake)
    return annotation.Annotation(
        file=path,
        image_name=image_name,
        image_size=image_size,
        drive=None if parent_path is None else _drive(parent_path),
        objects=tuple(objects),
        filtered=tuple(filtered),
        rejected=tuple(rejected),
        fields=_image_fields(top, parent_path),
    )


def _fields(record: dict[str, Any]) -> dict[str, str]:
    """Returns what a record says in single values, as text as in the file."""
    return {
        key: json.dumps(value) if isinstance(value, bool) else str(value)
        for key, value in record.items()
        if isinstance(value, (str, int, float)) and _is_text(key)
    }


def _image_fields(
    top: dict[str, Any], parent_path: str | None
) -> dict[str, str]:
    found = _fields(top)
    parts = [part for part in (parent_path or "").split("/") if part]
    if parts and "camera" not in found:
        found["camera"] = parts[-1]
    return found


def _load(content: bytes) -> dict[str, Any]:
    try:
        top = json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise annotation.AnnotationFault(
            "not_json", "lists or objects are nested too deeply"
        ) from error
    except ValueError as error:  # also bytes that are not UTF-8
        raise annotation.AnnotationFault("not_json", str(error)) from error
    if not isinstance(top, dict):
        raise annotation.AnnotationFault(
            "not_an_annotation", f"an object was expected, this is {_kind(top)}"
        )
    return top


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names[type(value)]


def _is_text(value: Any) -> typing.TypeGuard[str]:
    """Tells whether value is text that can be written anywhere."""
    if not isinstance(value, str) or not value:
        return False
    # JSON can spell half a surrogate pair, which no file can hold.
    return not any("\ud800" <= c <= "\udfff" or c == "\0" for c in value)


def _optional_text(top: dict[str, Any], key: str) -> str | None:
    value = top.get(key)
    if value is None:
        return None
    if not _is_text(value):
        raise annotation.AnnotationFault(
            f"{key}_not_text",
            f"{key!r} is {annotation.quoted(value)}, text was expected",
        )
    return str(value)


def _parse_size(value: Any) -> tuple[int, int] | None:
    """Returns (height, width) from "WIDTH*HEIGHT"; None where it is absent."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise annotation.AnnotationFault(
            "size_not_understood",
            f"'size' is {annotation.quoted(value)}, text like '1920*1024'"
            " (width, height) was expected",
        )
    return int(found[2]), int(found[1])


def _drive(parent_path: str) -> str:
    """Returns parent_path without its last component, which is the camera."""
    parts = [part for part in parent_path.split("/") if part]
    return "/".join(parts[:-1])


def _parse_objects(
    items: list[Any], keep_fake: bool
) -> tuple[list[annotation.Object], list[str], list[annotation.RejectedObject]]:
    """Returns the usable objects, reasons of those left out, and faults."""
    objects: list[annotation.Object] = []
    filtered: list[str] = []
    rejected: list[annotation.RejectedObject] = []
    seen: set[tuple[Any, ...]] = set()
    for index, item in enumerate(items):
        annotation_id = _annotation_id(item, index)
        try:
            reason = _filter_reason(item)
            if reason == _FAKE and keep_fake:
                reason = None
            if reason is not None:
                filtered.append(reason)
                continue
            parsed = _parse_object(item, annotation_id)
            key = (parsed.class_name, parsed.box)
            if key in seen:
                raise _ObjectFault(
                    "duplicate_object",
                    "an object before it has the same class and box",
                )
            seen.add(key)
            objects.append(parsed)
        except _ObjectFault as fault:
            rejected.append(
                annotation.RejectedObject(
                    annotation_id=annotation_id,
                    reason=fault.reason,
                    detail=fault.detail,
                )
            )
    return objects, filtered, rejected


def _annotation_id(item: Any, index: int) -> str:
    value = item.get("id") if isinstance(item, dict) else None
    if _is_text(value) or type(value) is int:
        return annotation.quoted(value).strip("'")
    return f"number {index + 1} in the list"


def _filter_reason(item: Any) -> str | None:
    """Returns why an object is left out on purpose, or None."""
    if not isinstance(item, dict):
        raise _ObjectFault(
            "object_not_a_record", f"an object was expected, not {_kind(item)}"
        )
    kind = item.get("type")
    if not _is_text(kind):
        raise _ObjectFault(
            "no_type", f"'type' is {annotation.quoted(kind)}, not text"
        )
    if kind != _BOX_TYPE:
        return f"type:{kind[: annotation.MAX_QUOTED]}"
    return _FAKE if _flag(item, _FAKE) else None


def _flag(item: dict[str, Any], key: str) -> bool:
    """Tells whether a whole number is above 0; absent and null are 0."""
    value = item.get(key)
    if value is None:
        return False
    if not isinstance(value, int):
        raise _ObjectFault(
            f"{key}_not_a_number",
            f"{key!r} is {annotation.quoted(value)}, a whole number was"
            " expected",
        )
    return value > 0


def _parse_object(
    item: dict[str, Any], annotation_id: str
) -> annotation.Object:
    name = item.get("attribute")
    if name is None or name == "":
        name = item.get("label")
    if not _is_text(name):
        raise _ObjectFault(
            "no_class",
            "neither 'attribute' nor 'label' gives a class name"
            f" ({annotation.quoted(name)})",
        )
    return annotation.Object(
        annotation_id=annotation_id,
        class_name=name,
        box=_parse_box(item.get("points")),
        is_truncated=_flag(item, "truncation"),
        fields=_fields(item),
    )


def _parse_box(points: Any) -> tuple[float, float, float, float]:
    """Returns y_min, x_min, y_max, x_max over all points.

    All points count: some annotators begin at another corner, so the first and
    the third point need not be the top left and the bottom right one.
    """
    if not isinstance(points, list) or len(points) < _MIN_POINTS:
        raise _ObjectFault(
            "too_few_points",
            f"'points' is {annotation.quoted(points)}, a list of at least"
            f" {_MIN_POINTS} points was expected",
        )
    corners = [_parse_point(point) for point in points]
    xs = [x for x, _ in corners]
    ys = [y for _, y in corners]
    return min(ys), min(xs), max(ys), max(xs)


def _parse_point(point: Any) -> tuple[float, float]:
    numbers = isinstance(point, list) and all(
        type(value) in (int, float) for value in point
    )
    if not numbers or len(point) != 2:
        raise _ObjectFault(
            "points_not_numbers",
            f"point {annotation.quoted(point)} is not [x, y]",
        )
    try:
        x, y = float(point[0]), float(point[1])
    except OverflowError:  # a whole number beyond what a float holds
        x = y = math.inf
    if not (math.isfinite(x) and math.isfinite(y)):
        raise _ObjectFault(
            "points_not_finite", f"point {annotation.quoted(point)}"
        )
    return x, y
