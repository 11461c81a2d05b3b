"""Reads all annotation files and decides what is written; writes nothing."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping

from tfrecord_tools import (
    accounts,
    annotation_formats,
    command,
    data_set,
    entries,
    label_map,
    pairing,
    prepare,
    split,
    storage,
)

_TOP_REASONS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the flags ask for; image_size is (height, width) or None.

    Folders are paths as storage.py takes them. `formats` are names of
    formats.FORMATS, `resize` and `image_format` modes of images.py, `engine` is
    "local" or "beam". `labels` and `reading` follow from what with_found is
    told.
    """

    input_dir: str
    image_dir: str
    output_dir: str
    format: str
    coordinates: str
    classes: tuple[str, ...] | None
    class_map: tuple[str, ...]
    image_size: tuple[int, int] | None
    choice: split.Choice
    num_shards: int | None
    max_rejects: float
    allow_empty_classes: bool
    num_workers: int
    overwrite: bool
    jpeg_quality: int
    max_pixels: int
    resize: str
    image_format: str
    formats: tuple[str, ...]
    engine: str
    beam_args: tuple[str, ...]
    labels: label_map.LabelMap = label_map.LabelMap(classes=(), mapping={})
    reading: entries.Reading = entries.Reading(format="", folder="")
    given: tuple[str, ...] = ()  # the flags themselves, for the report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One image that will be written; source_id counts from 1."""

    image: str
    source_id: int
    summary: prepare.Summary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The items of each split by name, and the split's rule."""

    splits: dict[str, list[Item]]
    rule: dict[str, object]


def find(options: Options, aside: str) -> entries.Found:
    """Returns the data set's annotations and images.

    Args:
      options: what the flags ask for.
      aside: a folder for what is set aside while reading; need not exist.

    Raises:
      command.UserError: there is no annotation, the format is not clear, or the
        disk refuses.
    """
    with data_set.disk_errors(options.output_dir):
        return annotation_formats.find(
            options.format,
            options.input_dir,
            options.image_dir,
            options.output_dir,
            aside,
        )


def with_found(options: Options, found: entries.Found) -> Options:
    """Returns the options with what follows from the data set: the classes.

    Without --classes they are the format's, else all names of the data set,
    and then none of them needs to have objects.

    Raises:
      command.UserError: the flags ask for classes that cannot be.
    """
    which = found.reading.format
    classes = options.classes or annotation_formats.CLASSES.get(which)
    is_own = classes is None
    if classes is None:
        names = found.class_names or pairing.annotated_names(
            found, options.num_workers
        )
        classes = label_map.data_set_classes(names, options.class_map)
        if not classes:
            raise command.UserError(
                command.ExitCode.DATA,
                f"--input_dir={options.input_dir} names no class and has no"
                " object. Check the annotation files, or give --classes.",
            )
        print(
            f"classes: {', '.join(classes)} (all of the data set,"
            f" {annotation_formats.ORDERS[which]})",
            flush=True,
        )
    return dataclasses.replace(
        options,
        format=which,
        classes=classes,
        labels=label_map.make_label_map(
            classes,
            options.class_map,
            annotation_formats.MAPPINGS.get(which, {}),
        ),
        allow_empty_classes=options.allow_empty_classes or is_own,
        reading=found.reading,
    )


def make_plan(
    options: Options,
    found: entries.Found,
    images: accounts.Account,
    objects: accounts.Account,
) -> Plan:
    """Returns what to write; what will not be is in the accounts.

    Args:
      options: what the flags ask for.
      found: the data set's files.
      images: the account of images, empty.
      objects: the account of objects, empty.

    Raises:
      command.UserError: too many faults, a class without objects, or a split
        that is empty or contradicts itself.
    """
    usable = pairing.pair(
        found,
        options.image_dir,
        options.coordinates,
        options.num_workers,
        images,
        objects,
    )
    check_rejects(images, options.max_rejects)
    drives = {image: _drive(summary) for image, summary in usable.items()}
    own = _own_splits(usable) if found.has_splits else None
    assignment = split.assign(options.choice, drives, own)
    chosen = {i for members in assignment.splits.values() for i in members}
    for image, summary in usable.items():
        if image not in chosen:
            images.filtered["not_in_split"] += 1
            objects.filtered["image_filtered"] += summary.num_objects
    if not options.allow_empty_classes:
        counts: collections.Counter[str] = collections.Counter()
        for image in chosen:
            counts.update(usable[image].class_counts)
        label_map.check_all_found(options.labels, counts)
    ids = {image: n for n, image in enumerate(sorted(chosen), start=1)}
    return Plan(
        splits={
            name: [
                Item(image=i, source_id=ids[i], summary=usable[i])
                for i in split.shuffled(members, options.choice.seed)
            ]
            for name, members in assignment.splits.items()
        },
        rule=assignment.rule,
    )


def _own_splits(usable: Mapping[str, prepare.Summary]) -> dict[str, str]:
    """Returns the split that the data set itself puts each image in."""
    return {
        image: summary.entry.split
        for image, summary in usable.items()
        if summary.entry.split is not None
    }


def _drive(summary: prepare.Summary) -> str:
    # Without parent_path the folder is the best guess.
    return summary.drive or os.path.dirname(summary.file)


def task(options: Options, item: Item) -> prepare.Task:
    """Returns what a worker needs to prepare an item."""
    return prepare.Task(
        reading=options.reading,
        entry=item.summary.entry,
        coordinates=item.summary.coordinates,
        checksum=item.summary.checksum,
        image_path=storage.join(options.image_dir, item.image),
    )


def check_rejects(images: accounts.Account, max_rejects: float) -> None:
    """Checks that few enough images have faults.

    Raises:
      command.UserError: more than the share max_rejects of those that have an
        annotation; names the most frequent reasons.
    """
    num_annotated = images.num_in - images.filtered["no_annotation"]
    if images.num_rejected <= max_rejects * num_annotated:
        return
    lines = []
    for reason, number in images.rejected.most_common(_TOP_REASONS):
        example = images.examples[reason][0]
        lines.append(
            f"  {reason}: {number}, such as {example['file']}"
            f" ({example.get('detail', '')})"
        )
    raise command.UserError(
        command.ExitCode.DATA,
        f"{images.num_rejected} of {num_annotated} annotated images are"
        f" rejected, more than --max_rejects={max_rejects:g} allows:\n"
        + "\n".join(lines)
        + "\nNo data set was written. Repair these files, or allow more with"
        " --max_rejects.",
    )
