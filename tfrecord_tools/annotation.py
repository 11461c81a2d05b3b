"""What every annotation format is read into: one image and its boxes.

Standard library only, as worker processes import it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

Raw = TypeVar("Raw")

# A name from a file can be of any length; messages and counters keep this much.
MAX_QUOTED = 80


class AnnotationFault(ValueError):
    """An annotation file that cannot be used as a whole, and why.

    Attributes:
      reason: a short word that faults of this kind are counted under.
      detail: what was found and what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ObjectFault(ValueError):
    """One object that cannot be used, and why; as AnnotationFault."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, kw_only=True)
class Object:
    """One annotated object; box is y_min, x_min, y_max, x_max.

    The class name is the annotation's own and the box is as drawn, in the data
    set's own coordinates (module coordinates); it may leave the image.

    Attributes:
      is_truncated: part of the object lies outside the image.
      is_crowd: the box is a region of many objects (COCO's iscrowd).
      is_difficult: hard to recognise (Pascal VOC's difficult).
      fields: what else the annotation says of the object, as text.
    """

    annotation_id: str
    class_name: str
    box: tuple[float, float, float, float]
    is_truncated: bool
    is_crowd: bool = False
    is_difficult: bool = False
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RejectedObject:
    """One object with a fault, and which."""

    annotation_id: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotation:
    """One image's annotation.

    Attributes:
      file: the annotation file.
      variant: which of its format's variants the file is; "" without any.
      image_name: the image's file name as the annotation gives it, or None.
      is_image_path: image_name is the whole path below the image folder.
      image_size: (height, width) in pixels as the annotation gives it, or None.
      drive: what the image was recorded in, as one text, or None.
      objects: the usable objects.
      filtered: per object left out on purpose, the reason.
      rejected: the objects with a fault.
      fields: what else the annotation says of the image, as text; "camera" is
        the camera that took it, where that is known.
    """

    file: str
    image_name: str | None
    image_size: tuple[int, int] | None
    drive: str | None
    objects: tuple[Object, ...]
    filtered: tuple[str, ...]
    rejected: tuple[RejectedObject, ...]
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    variant: str = ""
    is_image_path: bool = False

    @property
    def num_objects(self) -> int:
        """Number of objects in the file, whatever became of them."""
        return len(self.objects) + len(self.filtered) + len(self.rejected)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collected:
    """What became of each of a file's objects; as in Annotation."""

    objects: tuple[Object, ...]
    filtered: tuple[str, ...]
    rejected: tuple[RejectedObject, ...]


def collect(
    items: Iterable[tuple[str, Raw]], read: Callable[[Raw, str], Object | str]
) -> Collected:
    """Reads a file's objects one by one; each ends up in one place.

    Args:
      items: the id of each object and what the file says of it.
      read: returns the object, or why it is left out on purpose; raises
        ObjectFault where it is of no use.
    """
    objects: list[Object] = []
    filtered: list[str] = []
    rejected: list[RejectedObject] = []
    seen: set[tuple[str, tuple[float, float, float, float]]] = set()
    for annotation_id, item in items:
        try:
            result = read(item, annotation_id)
            if isinstance(result, str):
                filtered.append(result)
                continue
            key = (result.class_name, result.box)
            if key in seen:
                raise ObjectFault(
                    "duplicate_object",
                    "an object before it has the same class and box",
                )
            seen.add(key)
            objects.append(result)
        except ObjectFault as fault:
            rejected.append(
                RejectedObject(
                    annotation_id=annotation_id,
                    reason=fault.reason,
                    detail=fault.detail,
                )
            )
    return Collected(
        objects=tuple(objects),
        filtered=tuple(filtered),
        rejected=tuple(rejected),
    )


def quoted(value: object) -> str:
    """Returns a value for a message: its repr in ASCII, cut to MAX_QUOTED."""
    text = ascii(value)
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."
