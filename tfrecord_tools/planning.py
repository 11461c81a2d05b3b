"""Reads all annotation files and decides what is written; writes nothing."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator

from tfrecord_tools import (
    accounts,
    annotation,
    command,
    files,
    label_map,
    pool,
    prepare,
    progress,
    split,
)

_BATCH = 64  # files per message to a worker
_TOP_REASONS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the flags ask for; image_size is (height, width) or None.

    Folders are paths as storage.py takes them. `formats` are names of
    formats.FORMATS, `resize` and `image_format` modes of images.py, `engine` is
    "local" or "beam".
    """

    input_dir: str
    image_dir: str
    output_dir: str
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
    resize: str
    image_format: str
    formats: tuple[str, ...]
    engine: str
    beam_args: tuple[str, ...]
    given: tuple[str, ...] = ()  # the flags themselves, for the report


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
    """The items of each split by name, and the split's rule."""

    splits: dict[str, list[Item]]
    rule: dict[str, object]


def find(options: Options) -> Found:
    """Returns the data set's files.

    Raises:
      command.UserError: there is no annotation file.
    """
    annotations, images = files.find(options.input_dir, options.output_dir)
    if options.image_dir != options.input_dir:
        _, images = files.find(options.image_dir, options.output_dir)
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
    usable = pair(options, found, images, objects)
    check_rejects(images, options.max_rejects)
    drives = {image: _drive(summary) for image, summary in usable.items()}
    assignment = split.assign(options.choice, drives)
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


def _drive(summary: prepare.Summary) -> str:
    # Without parent_path the folder is the best guess.
    return summary.drive or os.path.dirname(summary.file)


def _summaries(
    options: Options, found: Found, images: accounts.Account
) -> Iterator[prepare.Summary | prepare.Rejected]:
    """Reads the annotation files; those that must not be read are rejected."""
    folder = options.input_dir
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
        functools.partial(prepare.summarize_all, folder),
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
    reason = files.fault(options.image_dir, image)
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
