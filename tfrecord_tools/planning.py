"""Reads all annotation files and decides what is written; writes nothing."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tfrecord_tools import (
    accounts,
    annotation_formats,
    choosing,
    command,
    coordinates,
    data_set,
    dividing,
    entries,
    label_map,
    pairing,
    prepare,
    selection,
    split,
    storage,
    unseen,
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
    selection: choosing.Selection = choosing.Selection()
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
    """The items of each split by name, the split's rule, and the choice."""

    splits: dict[str, list[Item]]
    rule: dict[str, Any]
    selection: dict[str, Any] = dataclasses.field(default_factory=dict)


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
      command.UserError: too many faults, a field that no annotation has, a
        class without objects, or a split that is empty or contradicts itself.
    """
    usable = _pair(options, found, images, objects)
    check_rejects(images, options.max_rejects)
    table = choosing.Table(usable, options.labels)
    unseen.check_filters(
        table,
        usable.values(),
        options.selection.filters,
        functools.partial(_read_again, options, found),
    )
    unseen.check_cameras(table, options.selection.camera_shares)
    drives = {image: _drive(summary) for image, summary in usable.items()}
    chosen = choosing.choose(
        table,
        drives,
        options.selection,
        options.choice,
        _own_splits(usable) if found.has_splits else None,
    )
    for image, reason in chosen.left_out.items():
        images.filtered[reason] += 1
        objects.filtered["image_filtered"] += usable[image].num_objects
    members = chosen.assignment.images
    if not options.allow_empty_classes:
        label_map.check_all_found(options.labels, table.class_names)
        choosing.check_classes_left(table, members)
    assignment = dividing.finish(
        chosen,
        table,
        options.choice,
        options.selection.check,
        dividing.Reading(
            folder=options.image_dir,
            max_pixels=options.max_pixels,
            num_workers=options.num_workers,
        ),
    )
    ids = {image: n for n, image in enumerate(sorted(members), start=1)}
    return Plan(
        splits={
            name: [
                Item(image=i, source_id=ids[i], summary=usable[i])
                for i in split.shuffled(part, options.choice.seed)
            ]
            for name, part in assignment.splits.items()
        },
        rule=assignment.rule,
        selection=chosen.report,
    )


def _pair(
    options: Options,
    found: entries.Found,
    images: accounts.Account,
    objects: accounts.Account,
) -> dict[str, prepare.Summary]:
    """Returns each usable image's annotation."""
    usable = pairing.pair(
        found,
        options.image_dir,
        options.coordinates,
        options.selection.filters,
        options.num_workers,
        images,
        objects,
    )
    _check_sizes_known(usable, options.selection.filters)
    return usable


def _check_sizes_known(
    usable: Mapping[str, prepare.Summary], filters: selection.Filters
) -> None:
    # Images are chosen before they are opened, and a share of an unknown side
    # says nothing of pixels.
    asked = [f for f in filters.objects if f.field in selection.SIZES]
    is_share = any(
        summary.coordinates == coordinates.NORMALISED
        for summary in usable.values()
    )
    if asked and is_share:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{asked[0]}: a box's {asked[0].field} is in pixels, and this data"
            " set's boxes are normalised (0 to 1). Leave the filter out, or"
            " convert the annotations to pixels.",
        )


def _own_splits(usable: Mapping[str, prepare.Summary]) -> dict[str, str]:
    """Returns the split that the data set itself puts each image in."""
    return {
        image: summary.entry.split
        for image, summary in usable.items()
        if summary.entry.split is not None
    }


def _read_again(
    options: Options, found: entries.Found, filters: selection.Filters
) -> Iterator[prepare.Summary | prepare.Rejected]:
    return pairing.summaries(found, filters, options.num_workers)


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
