"""Reads all annotation files and decides what is written; writes nothing."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from tfrecord_tools import (
    accounts,
    annotation,
    choosing,
    command,
    dividing,
    files,
    label_map,
    pool,
    prepare,
    progress,
    selection,
    split,
    unseen,
)

_BATCH = 64  # files per message to a worker
_TOP_REASONS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the flags ask for; image_size is (height, width) or None."""

    input_dir: pathlib.Path
    image_dir: pathlib.Path
    output_dir: pathlib.Path
    labels: label_map.LabelMap
    image_size: tuple[int, int] | None
    choice: split.Choice
    num_shards: int | None
    max_rejects: float
    allow_empty_classes: bool
    num_workers: int
    overwrite: bool
    jpeg_quality: int
    max_pixels: int
    selection: choosing.Selection = choosing.Selection()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The files of a data set, relative to input_dir and to image_dir."""

    annotations: list[str]
    images: list[str]


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


def find(options: Options) -> Found:
    """Returns the data set's files.

    Raises:
      command.UserError: there is no annotation file.
    """
    annotations, images = files.find(
        str(options.input_dir), str(options.output_dir)
    )
    if options.image_dir != options.input_dir:
        _, images = files.find(str(options.image_dir), str(options.output_dir))
    if not annotations:
        raise command.UserError(
            command.ExitCode.DATA,
            f"--input_dir={options.input_dir} holds no annotation file"
            " (*.json), nor do its folders. Expected AIMMO's JSON files, one"
            " per image.",
        )
    return Found(annotations=annotations, images=images)


def make_plan(
    options: Options,
    found: Found,
    images: accounts.Account,
    objects: accounts.Account,
    given: Mapping[str, str] | None = None,
) -> Plan:
    """Returns what to write; what will not be is in the accounts.

    Args:
      options: what the flags ask for.
      found: the data set's files.
      images: the account of images, empty.
      objects: the account of objects, empty.
      given: the split that the data set itself has for an image, or None.

    Raises:
      command.UserError: too many faults, a field that no annotation has, a
        class without objects, or a split that is empty or contradicts itself.
    """
    usable = pair(options, found, images, objects)
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
        table, drives, options.selection, options.choice, given
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
            folder=str(options.image_dir),
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


def _read_again(
    options: Options, found: Found, filters: selection.Filters
) -> Iterator[prepare.Summary | prepare.Rejected]:
    wanted = dataclasses.replace(options.selection, filters=filters)
    again = dataclasses.replace(options, selection=wanted)
    return _summaries(again, found, accounts.Account())


def _drive(summary: prepare.Summary) -> str:
    # Without parent_path the folder is the best guess.
    return summary.drive or os.path.dirname(summary.file)


def _summaries(
    options: Options, found: Found, images: accounts.Account
) -> Iterator[prepare.Summary | prepare.Rejected]:
    """Reads the annotation files; those that must not be read are rejected."""
    folder = str(options.input_dir)
    readable = []
    for file in found.annotations:
        reason = files.fault(folder, file)
        if reason is None:
            readable.append(file)
            continue
        yield prepare.Rejected(
            file=file,
            reason=f"annotation_{reason}",
            detail="a file inside --input_dir with a plain name was expected",
        )
    batches = [
        readable[i : i + _BATCH] for i in range(0, len(readable), _BATCH)
    ]
    results = pool.run_in_order(
        functools.partial(
            prepare.summarize_all, folder, filters=options.selection.filters
        ),
        batches,
        min(options.num_workers, max(1, len(batches))),
    )
    yield from progress.shown(
        itertools.chain.from_iterable(results),
        len(readable),
        "Reading annotations",
    )


def pair(
    options: Options,
    found: Found,
    images: accounts.Account,
    objects: accounts.Account,
) -> dict[str, prepare.Summary]:
    """Returns each usable image's annotation; the rest goes to the accounts."""
    named = [p for p in found.images if files.printable(p) == p]
    for path in sorted(set(found.images) - set(named)):
        images.num_in += 1
        images.reject(
            "image_file_name_not_utf8", {"file": files.printable(path)}
        )
    index = files.ImageIndex(named)
    usable: dict[str, prepare.Summary] = {}
    mentioned: set[str] = set()
    for summary in _summaries(options, found, images):
        images.num_in += 1
        fault: prepare.Rejected
        if isinstance(summary, prepare.Rejected):
            fault = summary
            mentioned.update(_image_of_unreadable(index, summary.file))
        else:
            objects.num_in += summary.num_objects
            try:
                image = index.find(
                    summary.file, summary.image_name, summary.drive
                )
                mentioned.add(image)
                _check_image(options, image, usable)
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
    return usable


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
    options: Options, image: str, usable: dict[str, prepare.Summary]
) -> None:
    reason = files.fault(str(options.image_dir), image)
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
