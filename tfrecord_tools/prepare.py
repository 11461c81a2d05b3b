"""What worker processes do: read annotations, and make what is stored.

Imports no TensorFlow: each worker would need some 400 MB for it.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
from collections.abc import Sequence

from tfrecord_tools import (
    annotation,
    annotation_formats,
    clipping,
    coordinates,
    entries,
    images,
    label_map,
    selection,
)

# Normalised boxes are written with six digits or so; less than this beyond the
# image's edge is not counted as a box that was cut.
_ROUNDING_PIXELS = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What the plan needs to know of one annotation.

    The objects themselves are read again when the record is made: holding them
    all would take memory in proportion to the data set.

    Attributes:
      entry: where the annotation is.
      checksum: of its content.
      variant: as in Annotation, like image_name, is_image_path and drive.
      num_objects: all of its objects.
      class_counts: objects per annotated class that the filters keep.
      signs: what its boxes show of the data set's coordinates.
      num_crowds: crowd regions among the usable ones.
      num_difficult: difficult ones among them.
      coordinates: the data set's, once they are decided.
      fields: those of the image that the plan needs.
      num_read: objects that the object filters met.
      seen: what the object filters met, see selection.Filters.seen.
    """

    entry: entries.Entry
    checksum: bytes
    variant: str
    image_name: str | None
    is_image_path: bool
    drive: str | None
    num_objects: int
    class_counts: dict[str, int]
    signs: tuple[str, ...]
    num_crowds: int
    num_difficult: int
    coordinates: str = coordinates.PIXELS
    fields: dict[str, str] = dataclasses.field(default_factory=dict)
    num_read: int = 0
    seen: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> str:
        """What messages call the annotation."""
        return self.entry.file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rejected:
    """An annotation file or image with a fault, and which."""

    file: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One image to prepare, and how its annotation is read."""

    reading: entries.Reading
    entry: entries.Entry
    coordinates: str
    checksum: bytes
    image_path: str

    @property
    def file(self) -> str:
        """What messages call the annotation."""
        return self.entry.file


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
    filters: selection.Filters = selection.NONE


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


def summarize(
    reading: entries.Reading,
    entry: entries.Entry,
    filters: selection.Filters = selection.NONE,
) -> Summary | Rejected:
    """Returns the summary of an annotation, or its fault.

    Args:
      reading: how it is read.
      entry: where it is.
      filters: which objects count, and which fields are kept.
    """
    try:
        content = entries.read(reading.folder, entry)
        parsed = annotation_formats.parse(
            reading, entry, content, filters.keep_fake
        )
    except annotation.AnnotationFault as fault:
        return Rejected(
            file=entry.file, reason=fault.reason, detail=fault.detail
        )
    drive = parsed.drive
    if drive is None and entry.image is not None:
        drive = os.path.dirname(entry.image) or os.curdir
    counts = collections.Counter(
        o.class_name for o in parsed.objects if filters.object_reason(o) is None
    )
    return Summary(
        entry=entry,
        checksum=_checksum(content),
        variant=parsed.variant,
        image_name=parsed.image_name,
        is_image_path=parsed.is_image_path,
        drive=drive,
        num_objects=parsed.num_objects,
        class_counts=dict(counts),
        signs=coordinates.signs(parsed.objects),
        num_crowds=sum(o.is_crowd for o in parsed.objects),
        num_difficult=sum(o.is_difficult for o in parsed.objects),
        fields=filters.image_fields(parsed.fields),
        num_read=len(parsed.objects),
        seen=filters.seen(parsed.objects),
    )


def summarize_all(
    reading: entries.Reading,
    batch: Sequence[entries.Entry],
    filters: selection.Filters = selection.NONE,
) -> list[Summary | Rejected]:
    """Returns the summary of each entry of a batch."""
    return [summarize(reading, entry, filters) for entry in batch]


def prepare(settings: Settings, task: Task) -> Prepared | Rejected:
    """Returns one image ready to be stored, or its fault."""
    file = task.entry.file
    try:
        content = entries.read(task.reading.folder, task.entry)
        if _checksum(content) != task.checksum:
            return Rejected(
                file=file,
                reason="annotation_changed",
                detail="the file was written while it was being converted",
            )
        parsed = annotation_formats.parse(
            task.reading, task.entry, content, settings.filters.keep_fake
        )
        photo = images.read(
            task.image_path,
            settings.max_pixels,
            needs_pixels=settings.image_size is not None,
        )
        size = (photo.image.height, photo.image.width)
        _check_size(parsed, size)
    except (annotation.AnnotationFault, images.ImageFault) as fault:
        return Rejected(file=file, reason=fault.reason, detail=fault.detail)
    return _fit(_in_pixels(parsed, task.coordinates, size), photo, settings)


def _in_pixels(
    parsed: annotation.Annotation, which: str, size: tuple[int, int]
) -> annotation.Annotation:
    """Returns the annotation with boxes in pixels of the image."""
    moved = tuple(
        dataclasses.replace(o, box=coordinates.to_pixels(o.box, which, size))
        for o in parsed.objects
    )
    return dataclasses.replace(parsed, objects=moved)


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
        fault = clipping.fault(item, photo.image.height, photo.image.width)
        if fault is not None:
            rejected.append(fault)
            continue
        reason = settings.filters.object_reason(item)
        if reason is not None:
            filtered[reason] += 1
            continue
        box = clipping.clip(item.box, photo.image.height, photo.image.width)
        cut = max(abs(a - b) for a, b in zip(box, item.box, strict=True))
        num_clipped += cut > _ROUNDING_PIXELS
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
            StoredObject(
                label=label,
                box=box,
                is_truncated=item.is_truncated,
                is_crowd=item.is_crowd,
                is_difficult=item.is_difficult,
            )
            for (item, label), box in zip(kept, boxes, strict=True)
        ),
        filtered=dict(filtered),
        rejected=tuple(rejected),
        num_clipped=num_clipped,
    )
