"""What worker processes do: read annotations, and make what is stored.

Imports no TensorFlow: each worker would need some 400 MB for it.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from tfrecord_tools import aimmo, annotation, images, label_map, storage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What the plan needs to know of one annotation file.

    The objects themselves are read again when the record is made: holding them
    all would take memory in proportion to the data set.
    """

    file: str
    checksum: bytes
    image_name: str | None
    drive: str | None
    num_objects: int
    class_counts: dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejected:
    """An annotation file or image with a fault, and which."""

    file: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One image to prepare; `file` names the annotation in messages."""

    file: str
    annotation_path: str
    checksum: bytes
    image_path: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is done to every image; image_size is (height, width) or None.

    `resize` is a mode of images.resize, `image_format` one of images.encode.
    """

    labels: label_map.LabelMap
    image_size: tuple[int, int] | None
    resize: str
    image_format: str
    jpeg_quality: int
    max_pixels: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object as it is stored; the box in pixels of the stored image."""

    label: int
    box: images.Box
    is_truncated: bool
    is_crowd: bool = False
    is_difficult: bool = False

    @property
    def area(self) -> float:
        """Area of the box, square pixels of the stored image."""
        y0, x0, y1, x1 = self.box
        return (y1 - y0) * (x1 - x0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """One image as it is stored, and what became of each of its objects.

    `file` names the annotation, `source_size` is the (height, width) that the
    image had before it was resized.
    """

    file: str
    image: images.Encoded
    source_size: tuple[int, int]
    objects: tuple[StoredObject, ...]
    filtered: dict[str, int]
    rejected: tuple[annotation.RejectedObject, ...]
    num_clipped: int


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def summarize(folder: str, file: str) -> Summary | Rejected:
    """Returns the summary of an annotation file, or its fault.

    Args:
      folder: the input folder.
      file: path below it.
    """
    try:
        content = storage.read_bytes(storage.join(folder, file))
        parsed = aimmo.parse_bytes(content, file)
    except OSError as error:
        return Rejected(
            file=file,
            reason="annotation_unreadable",
            detail=f"{error.strerror}",
        )
    except annotation.AnnotationFault as fault:
        return Rejected(file=file, reason=fault.reason, detail=fault.detail)
    counts = collections.Counter(o.class_name for o in parsed.objects)
    return Summary(
        file=file,
        checksum=_checksum(content),
        image_name=parsed.image_name,
        drive=parsed.drive,
        num_objects=parsed.num_objects,
        class_counts=dict(counts),
    )


def summarize_all(
    folder: str, batch: Sequence[str]
) -> list[Summary | Rejected]:
    """Returns the summary of each file of a batch."""
    return [summarize(folder, file) for file in batch]


def prepare(settings: Settings, task: Task) -> Prepared | Rejected:
    """Returns one image ready to be stored, or its fault."""
    file = task.file
    try:
        content = storage.read_bytes(task.annotation_path)
        if _checksum(content) != task.checksum:
            return Rejected(
                file=file,
                reason="annotation_changed",
                detail="the file was written while it was being converted",
            )
        parsed = aimmo.parse_bytes(content, file)
        photo = images.read(task.image_path, settings.max_pixels)
        size = (photo.image.height, photo.image.width)
        _check_size(parsed, size)
    except OSError as error:
        return Rejected(
            file=file,
            reason="annotation_unreadable",
            detail=f"{error.strerror}",
        )
    except (annotation.AnnotationFault, images.ImageFault) as fault:
        return Rejected(file=file, reason=fault.reason, detail=fault.detail)
    return _fit(parsed, photo, settings)


def _check_size(parsed: annotation.Annotation, size: tuple[int, int]) -> None:
    if parsed.image_size not in (None, size):
        assert parsed.image_size is not None
        raise annotation.AnnotationFault(
            "size_mismatch",
            f"the annotation says {parsed.image_size[1]}x"
            f"{parsed.image_size[0]}, the image is {size[1]}x{size[0]}; its"
            " boxes cannot be trusted",
        )


def _fit(
    parsed: annotation.Annotation, photo: images.Photo, settings: Settings
) -> Prepared:
    """Maps the classes, clips and resizes."""
    filtered = collections.Counter(parsed.filtered)
    rejected = list(parsed.rejected)
    kept: list[tuple[annotation.Object, int]] = []
    boxes: list[images.Box] = []
    num_clipped = 0
    for item in parsed.objects:
        label = settings.labels.label(item.class_name)
        if label is None:
            filtered[f"class:{item.class_name[: annotation.MAX_QUOTED]}"] += 1
            continue
        fault = _box_fault(item, photo.image.height, photo.image.width)
        if fault is not None:
            rejected.append(fault)
            continue
        box = _clip(item.box, photo.image.height, photo.image.width)
        num_clipped += box != item.box
        kept.append((item, label))
        boxes.append(box)
    source_size = (photo.image.height, photo.image.width)
    if settings.image_size not in (None, source_size):
        assert settings.image_size is not None
        image, boxes = images.resize(
            photo.image, boxes, settings.image_size, settings.resize
        )
        photo = images.Photo(image=image, kept=None)
    return Prepared(
        file=parsed.file,
        image=images.encode(
            photo, settings.image_format, settings.jpeg_quality
        ),
        source_size=source_size,
        objects=tuple(
            StoredObject(label=label, box=box, is_truncated=item.is_truncated)
            for (item, label), box in zip(kept, boxes, strict=True)
        ),
        filtered=dict(filtered),
        rejected=tuple(rejected),
        num_clipped=num_clipped,
    )


def _clip(box: images.Box, height: int, width: int) -> images.Box:
    y0, x0, y1, x1 = box
    return (
        max(y0, 0.0),
        max(x0, 0.0),
        min(y1, float(height)),
        min(x1, float(width)),
    )


def _box_fault(
    item: annotation.Object, height: int, width: int
) -> annotation.RejectedObject | None:
    y0, x0, y1, x1 = item.box
    c0, d0, c1, d1 = _clip(item.box, height, width)
    if y0 >= y1 or x0 >= x1:
        reason = "zero_area"
    elif c0 >= c1 or d0 >= d1:
        reason = "outside_image"
    elif np.float32(c0 / height) == np.float32(c1 / height) or (
        np.float32(d0 / width) == np.float32(d1 / width)
    ):
        reason = "zero_area"  # in the numbers that a record can hold
    else:
        return None
    return annotation.RejectedObject(
        annotation_id=item.annotation_id,
        reason=reason,
        detail=f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g} in an image of"
        f" {width}x{height}",
    )
