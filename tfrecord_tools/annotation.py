"""What every annotation format is read into: one image and its boxes.

Standard library only, as worker processes import it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Object:
    """One annotated object; box is y_min, x_min, y_max, x_max in pixels.

    The class name is the annotation's own and the box is as drawn: it may leave
    the image.

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
      image_name: the image's file name as the annotation gives it, or None.
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

    @property
    def num_objects(self) -> int:
        """Number of objects in the file, whatever became of them."""
        return len(self.objects) + len(self.filtered) + len(self.rejected)


def quoted(value: object) -> str:
    """Returns a value for a message: its repr in ASCII, cut to MAX_QUOTED."""
    text = ascii(value)
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."
