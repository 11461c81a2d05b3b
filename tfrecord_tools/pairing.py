"""Reads all annotations and finds the image of each."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator

from tfrecord_tools import (
    accounts,
    annotation,
    annotation_formats,
    coordinates,
    entries,
    files,
    pool,
    prepare,
    progress,
)

_BATCH = 64  # annotations per message to a worker


def annotated_names(found: entries.Found, num_workers: int) -> list[str]:
    """Returns all class names in the annotations, which it reads, sorted."""
    names: set[str] = set()
    for summary in _summaries(found, num_workers):
        if isinstance(summary, prepare.Summary):
            names.update(summary.class_counts)
    return sorted(names)


def _summaries(
    found: entries.Found, num_workers: int
) -> Iterator[prepare.Summary | prepare.Rejected]:
    """Reads the annotations; first comes what is of no use already."""
    for file, fault in found.faults:
        yield prepare.Rejected(
            file=file, reason=fault.reason, detail=fault.detail
        )
    batches = [
        found.entries[i : i + _BATCH]
        for i in range(0, len(found.entries), _BATCH)
    ]
    results = pool.run_in_order(
        functools.partial(prepare.summarize_all, found.reading),
        batches,
        min(num_workers, max(1, len(batches))),
    )
    yield from progress.shown(
        itertools.chain.from_iterable(results),
        len(found.entries),
        "Reading annotations",
    )


def pair(
    found: entries.Found,
    image_dir: str,
    coordinates_flag: str,
    num_workers: int,
    images: accounts.Account,
    objects: accounts.Account,
) -> dict[str, prepare.Summary]:
    """Returns each usable image's annotation; the rest goes to the accounts.

    What all annotations say together is printed and added to found.facts.

    Args:
      found: the data set's annotations and images.
      image_dir: the image folder.
      coordinates_flag: what --coordinates says.
      num_workers: processes that read.
      images: the account of images, empty.
      objects: the account of objects, empty.

    Raises:
      command.UserError: the boxes' coordinates contradict each other.
    """
    named = [p for p in found.images if files.printable(p) == p]
    for path in sorted(set(found.images) - set(named)):
        images.num_in += 1
        images.reject(
            "image_file_name_not_utf8", {"file": files.printable(path)}
        )
    index = files.ImageIndex(named)
    usable: dict[str, prepare.Summary] = {}
    mentioned: set[str] = set()
    facts = _Facts()
    objects.add(found.loose)
    for summary in _summaries(found, num_workers):
        images.num_in += 1
        fault: prepare.Rejected
        if isinstance(summary, prepare.Rejected):
            fault = summary
            if found.reading.format in annotation_formats.NAMED_LIKE_IMAGES:
                mentioned.update(_image_of_unreadable(index, summary.file))
        else:
            objects.num_in += summary.num_objects
            facts.add(summary)
            try:
                image = _image_of(index, summary)
                mentioned.add(image)
                _check_image(image_dir, image, usable)
                usable[image] = summary
                continue
            except annotation.AnnotationFault as error:
                fault = prepare.Rejected(
                    file=summary.file, reason=error.reason, detail=error.detail
                )
            objects.rejected["image_rejected"] += summary.num_objects
        reject_image(images, fault)
    num_unannotated = len(set(named) - mentioned)
    images.num_in += num_unannotated
    if num_unannotated:
        images.filtered["no_annotation"] += num_unannotated
    which = _decide_coordinates(coordinates_flag, found, facts)
    return {
        image: dataclasses.replace(summary, coordinates=which)
        for image, summary in usable.items()
    }


@dataclasses.dataclass(kw_only=True)
class _Facts:
    """What all readable annotations say together."""

    variants: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    tally: coordinates.Tally = dataclasses.field(
        default_factory=coordinates.Tally
    )
    num_crowds: int = 0
    num_difficult: int = 0

    def add(self, summary: prepare.Summary) -> None:
        self.variants[summary.variant] += 1
        self.tally.add(files.printable(summary.file), summary.signs)
        self.num_crowds += summary.num_crowds
        self.num_difficult += summary.num_difficult


def _decide_coordinates(flag: str, found: entries.Found, facts: _Facts) -> str:
    """Returns the data set's coordinates; prints and keeps the facts."""
    rule = annotation_formats.RULES[found.reading.format]
    which = coordinates.decide(flag, rule, facts.tally)
    variants = {k: n for k, n in sorted(facts.variants.items()) if k}
    if variants:
        shown = ", ".join(f"{k} {n}" for k, n in variants.items())
        print(f"variants: {shown}")
    shown = ", ".join(f"{n} {k}" for k, n in facts.tally.counts.items())
    print(f"coordinates: {which} (files that show: {shown or 'none'})")
    if facts.num_crowds or facts.num_difficult:
        print(
            f"marked: {facts.num_crowds} crowd regions,"
            f" {facts.num_difficult} difficult objects",
            flush=True,
        )
    found.facts.update(
        {
            "variants": variants,
            "coordinates": which,
            "coordinates_shown": dict(sorted(facts.tally.counts.items())),
            "crowds": facts.num_crowds,
            "difficult": facts.num_difficult,
        }
    )
    return which


def _image_of(index: files.ImageIndex, summary: prepare.Summary) -> str:
    if summary.entry.image is not None:
        return summary.entry.image
    if summary.is_image_path and summary.image_name is not None:
        return index.find_path(summary.image_name)
    return index.find(summary.file, summary.image_name, summary.drive)


def reject_image(images: accounts.Account, fault: prepare.Rejected) -> None:
    """Counts an image with a fault."""
    images.reject(
        fault.reason,
        {"file": files.printable(fault.file), "detail": fault.detail},
    )


def _image_of_unreadable(index: files.ImageIndex, file: str) -> list[str]:
    """Returns the image of a broken annotation file, as far as names tell."""
    try:
        return [index.find(files.printable(file), None, None)]
    except annotation.AnnotationFault:
        return []


def _check_image(
    image_dir: str, image: str, usable: dict[str, prepare.Summary]
) -> None:
    reason = files.fault(image_dir, image)
    if reason is not None:
        raise annotation.AnnotationFault(
            f"image_{reason}",
            f"{image} is a link that leads out of the folder, or no file",
        )
    if image in usable:
        raise annotation.AnnotationFault(
            "duplicate_annotation",
            f"{usable[image].file} is an annotation of {image} already",
        )
