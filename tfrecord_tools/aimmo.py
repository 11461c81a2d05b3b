"""Reads AIMMO's annotation files: one JSON per image, in four variants.

A is the raw delivery: `size`, and per object `attribute`, the fine class. B was
preprocessed: `attribute`, and no size. C is the platform's export: `metadata`
with height and width, and per object `attributes` and `label`. D is C with
polygons, or with points that are nested one level deeper.

Nothing in a file is trusted to have the type it should have: a fault of the
file raises AnnotationFault, a fault of one object rejects that object.
"""

from __future__ import annotations

import math
import pathlib
import re
from typing import Any

from tfrecord_tools import annotation, json_values

_BOX_TYPE = "bbox"
_MIN_POINTS = 2  # two opposite corners already give a box
_SIZE = re.compile(r"\s*(\d{1,7})\s*[*xX]\s*(\d{1,7})\s*")  # WIDTH*HEIGHT
_OBJECT_KEYS = frozenset(["attribute", "label", "points"])


def parse_annotation(path: str) -> annotation.Annotation:
    """Returns what the annotation file says, with each object accounted for.

    Raises:
      annotation.AnnotationFault: the file is of no use.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise annotation.AnnotationFault(
            "annotation_unreadable", f"{error.strerror}"
        ) from error
    return parse_bytes(content, path)


def parse_bytes(content: bytes, path: str) -> annotation.Annotation:
    """Returns what an annotation file with this content says.

    Args:
      content: the file's bytes.
      path: the file, kept in the result.

    Raises:
      annotation.AnnotationFault: the content is of no use.
    """
    top = json_values.load(content)
    if "annotations" not in top:
        raise annotation.AnnotationFault(
            "annotations_missing", "there is no key 'annotations'"
        )
    items = top["annotations"]
    if items is None:  # AIMMO's way to say that the image shows no object
        items = []
    if not isinstance(items, list):
        raise annotation.AnnotationFault(
            "annotations_not_a_list",
            f"'annotations' is {json_values.kind(items)}",
        )
    variant = _variant(top, items)
    parent_path = json_values.optional_text(top, "parent_path")
    found = annotation.collect(
        ((_annotation_id(item, i), item) for i, item in enumerate(items)),
        _read_object,
    )
    return annotation.Annotation(
        file=path,
        variant=variant,
        image_name=json_values.optional_text(top, "filename"),
        image_size=_image_size(top),
        drive=None if parent_path is None else _drive(parent_path),
        objects=found.objects,
        filtered=found.filtered,
        rejected=found.rejected,
        fields=_image_fields(top, parent_path),
    )


def _variant(top: dict[str, Any], items: list[Any]) -> str:
    """Returns the variant's letter; raises if the file is none of them."""
    records = [item for item in items if isinstance(item, dict)]
    keys = {key for record in records for key in record}
    if (records and not keys & _OBJECT_KEYS) or "categories" in top:
        shown = sorted(keys) if records else sorted(top)
        raise annotation.AnnotationFault(
            "unknown_variant",
            "none of AIMMO's variants: objects with 'attribute' or 'label',"
            f" and 'points', were expected, found {annotation.quoted(shown)}",
        )
    if "metadata" not in top and "attributes" not in keys:
        return "B" if top.get("size") is None else "A"
    is_plain = all(
        record.get("type") == _BOX_TYPE and not _is_nested(record.get("points"))
        for record in records
    )
    return "C" if is_plain else "D"


def _is_nested(points: Any) -> bool:
    """Tells whether these are lists of points, one level deeper."""
    return (
        isinstance(points, list)
        and bool(points)
        and all(
            isinstance(ring, list)
            and ring
            and all(isinstance(point, list) for point in ring)
            for ring in points
        )
    )


def _image_fields(
    top: dict[str, Any], parent_path: str | None
) -> dict[str, str]:
    nested = top.get("attributes")
    found = json_values.fields(nested) if isinstance(nested, dict) else {}
    found.update(json_values.fields(top))
    parts = [part for part in (parent_path or "").split("/") if part]
    if parts and "camera" not in found:
        found["camera"] = parts[-1]
    return found


def _object_fields(item: dict[str, Any]) -> dict[str, str]:
    nested = item.get("attributes")
    found = json_values.fields(nested) if isinstance(nested, dict) else {}
    return {**found, **json_values.fields(item)}


def _image_size(top: dict[str, Any]) -> tuple[int, int] | None:
    """Returns (height, width) as `size` or `metadata` gives it, or None."""
    size = _parse_size(top.get("size"))
    metadata = top.get("metadata")
    if metadata is None:
        return size
    if isinstance(metadata, dict):
        height, width = metadata.get("height"), metadata.get("width")
        if height is None and width is None:
            return size
        if json_values.is_side(height) and json_values.is_side(width):
            if size not in (None, (height, width)):
                raise annotation.AnnotationFault(
                    "size_contradicts_itself",
                    f"'size' is {annotation.quoted(top.get('size'))},"
                    f" 'metadata' {annotation.quoted(metadata)}",
                )
            return height, width
    raise annotation.AnnotationFault(
        "metadata_not_understood",
        f"'metadata' is {annotation.quoted(metadata)}, whole numbers 'height'"
        " and 'width' were expected",
    )


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


def _annotation_id(item: Any, index: int) -> str:
    value = item.get("id") if isinstance(item, dict) else None
    if json_values.is_text(value) or type(value) is int:
        return annotation.quoted(value).strip("'")
    return f"number {index + 1} in the list"


def _read_object(item: Any, annotation_id: str) -> annotation.Object | str:
    """Returns an object, or why it is left out on purpose."""
    if not isinstance(item, dict):
        raise annotation.ObjectFault(
            "object_not_a_record",
            f"an object was expected, not {json_values.kind(item)}",
        )
    kind = item.get("type")
    if not json_values.is_text(kind):
        raise annotation.ObjectFault(
            "no_type", f"'type' is {annotation.quoted(kind)}, not text"
        )
    if kind != _BOX_TYPE:
        return f"type:{kind[: annotation.MAX_QUOTED]}"
    if json_values.flag(item, "isfake"):
        return "isfake"
    name = item.get("attribute")
    if name is None or name == "":
        name = item.get("label")
    if not json_values.is_text(name):
        raise annotation.ObjectFault(
            "no_class",
            "neither 'attribute' nor 'label' gives a class name"
            f" ({annotation.quoted(name)})",
        )
    return annotation.Object(
        annotation_id=annotation_id,
        class_name=name,
        box=_parse_box(item.get("points")),
        is_truncated=json_values.flag(item, "truncation"),
        fields=_object_fields(item),
    )


def _parse_box(points: Any) -> tuple[float, float, float, float]:
    """Returns y_min, x_min, y_max, x_max over all points.

    All points count: some annotators begin at another corner, so the first and
    the third point need not be the top left and the bottom right one.
    """
    if _is_nested(points):
        points = [point for ring in points for point in ring]
    if not isinstance(points, list) or len(points) < _MIN_POINTS:
        raise annotation.ObjectFault(
            "too_few_points",
            f"'points' is {annotation.quoted(points)}, a list of at least"
            f" {_MIN_POINTS} points was expected",
        )
    corners = [_parse_point(point) for point in points]
    xs = [x for x, _ in corners]
    ys = [y for _, y in corners]
    return min(ys), min(xs), max(ys), max(xs)


def _parse_point(point: Any) -> tuple[float, float]:
    numbers = isinstance(point, list) and all(map(json_values.is_number, point))
    if not numbers or len(point) != 2:
        raise annotation.ObjectFault(
            "points_not_numbers",
            f"point {annotation.quoted(point)} is not [x, y]",
        )
    try:
        x, y = float(point[0]), float(point[1])
    except OverflowError:  # a whole number beyond what a float holds
        x = y = math.inf
    if not (math.isfinite(x) and math.isfinite(y)):
        raise annotation.ObjectFault(
            "points_not_finite", f"point {annotation.quoted(point)}"
        )
    return x, y
