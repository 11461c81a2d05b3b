"""Puts finished parts together: counts, names, and the files that span them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfrecord_tools import (
    accounts,
    formats,
    ground_truth,
    images,
    parts,
    planning,
    prepare,
    schema,
    shards,
    split,
    storage,
    stored_files,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
      splits: what each split holds.
      images: the account of the images that were planned.
      objects: the account of their objects.
      num_clipped: boxes cut at the image's edge.
      source_sizes: number of images by "WIDTHxHEIGHT" before resizing.
      names: final names by the names that files and folders have for now.
      checksums: SHA-256 by final name, of what is no shard.
    """

    splits: dict[str, schema.Split]
    images: accounts.Account
    objects: accounts.Account
    num_clipped: int
    source_sizes: Mapping[str, int]
    names: dict[str, str]
    checksums: dict[str, str]


def assemble(
    options: planning.Options,
    plan: planning.Plan,
    folder: str,
    planned: Sequence[parts.Part],
) -> Written:
    """Returns what all parts hold together, and writes what spans them."""
    written = Written(
        splits={},
        images=accounts.Account(),
        objects=accounts.Account(),
        num_clipped=0,
        source_sizes=collections.Counter(),
        names={},
        checksums={},
    )
    sizes: collections.Counter[str] = collections.Counter()
    num_clipped = 0
    for name in plan.splits:
        entries = [_entry(folder, p) for p in planned if p.split == name]
        for entry in entries:
            written.images.add(accounts.Account.from_json(entry.image_account))
            written.objects.add(
                accounts.Account.from_json(entry.object_account)
            )
            sizes.update(entry.source_sizes)
            num_clipped += entry.num_clipped
        _finish_split(options, folder, name, name, entries, written)
        if options.choice.eval_on_train:
            _copy_files(options, folder)
            _finish_split(options, folder, name, split.VAL, entries, written)
    if formats.YOLO in options.formats:
        text = stored_files.data_yaml(
            list(written.splits), options.labels.classes
        )
        path = storage.join(folder, formats.YOLO_NAME)
        storage.write_bytes(path, text.encode())
        _name_file(folder, formats.YOLO_NAME, written)
        written.names[formats.LABELS_FOLDER] = formats.LABELS_FOLDER
    if formats.WITH_IMAGES.intersection(options.formats):
        written.names[formats.IMAGES_FOLDER] = formats.IMAGES_FOLDER
    return dataclasses.replace(
        written, source_sizes=sizes, num_clipped=num_clipped
    )


def _entry(folder: str, part: parts.Part) -> parts.Entry:
    entry = parts.read_entry(folder, part)
    assert entry is not None, part.name
    return entry


def _finish_split(
    options: planning.Options,
    folder: str,
    source: str,
    name: str,
    entries: Sequence[parts.Entry],
    written: Written,
) -> None:
    """Enters a split and writes its JSON.

    Args:
      options: what the flags ask for.
      folder: where the parts are.
      source: the split whose parts it is made of.
      name: what it is called: val may be a copy of train.
      entries: the parts, in order.
      written: what it is added to.
    """
    classes = options.labels.classes
    labels: collections.Counter[str] = collections.Counter()
    for entry in entries:
        labels.update(entry.objects)
    written.splits[name] = schema.Split(
        images=sum(entry.num_images for entry in entries),
        objects={
            class_name: labels[str(label)]
            for label, class_name in enumerate(classes, start=1)
        },
        max_boxes_per_image=max(entry.max_boxes for entry in entries),
        shards=tuple(_shards(folder, source, name, entries, written)),
    )
    if formats.WITH_JSON.intersection(options.formats):
        with _written_locally(folder, f"{name}.json") as path:
            _write_truth(path, classes, folder, entries)
        _name_file(folder, f"{name}.json", written)
    if formats.WITH_IMAGES.intersection(options.formats):
        digest = hashlib.sha256()
        for entry in entries:
            digest.update(bytes.fromhex(entry.files_sha256))
        where = f"{formats.IMAGES_FOLDER}/{name}"
        written.checksums[where] = digest.hexdigest()


def _shards(
    folder: str,
    source: str,
    name: str,
    entries: Sequence[parts.Entry],
    written: Written,
) -> Iterator[schema.Shard]:
    """Yields the shards; one whose images were all rejected does not exist."""
    there = [entry for entry in entries if entry.sha256]
    for index, entry in enumerate(there):
        final = shards.name(name, index, len(there))
        now = parts.records_name(entry.name)
        if source != name:
            copied = f"{name}-{index}.copy"
            storage.copy(
                storage.join(folder, now), storage.join(folder, copied)
            )
            now = copied
        written.names[now] = final
        yield schema.Shard(
            name=final,
            records=entry.num_images,
            bytes=entry.bytes,
            sha256=entry.sha256,
        )


def _name_file(folder: str, name: str, written: Written) -> None:
    written.names[name] = name
    written.checksums[name] = storage.sha256(storage.join(folder, name))


@contextlib.contextmanager
def _written_locally(folder: str, name: str) -> Iterator[pathlib.Path]:
    """Gives a path on this machine for a file of a folder anywhere."""
    if not storage.is_remote(folder):
        yield pathlib.Path(folder, name)
        return
    with tempfile.TemporaryDirectory() as local:
        path = pathlib.Path(local, name)
        yield path
        storage.copy(str(path), storage.join(folder, name))


def _write_truth(
    path: pathlib.Path,
    classes: Sequence[str],
    folder: str,
    entries: Sequence[parts.Entry],
) -> None:
    with ground_truth.Writer(path, classes) as writer:
        for entry in entries:
            for line in parts.truth(folder, entry.name):
                writer.add(
                    line["image_id"],
                    line["stored"] or line["file"],
                    line["file"] if line["stored"] else None,
                    images.Encoded(
                        content=b"",
                        format="",
                        height=line["height"],
                        width=line["width"],
                        sha256="",
                        is_original=False,
                    ),
                    [_object(values) for values in line["objects"]],
                )


def _object(values: dict[str, Any]) -> prepare.StoredObject:
    return prepare.StoredObject(**{**values, "box": tuple(values["box"])})


def _copy_files(options: planning.Options, folder: str) -> None:
    """Copies the training images and labels under the validation's name."""
    wanted = []
    if formats.WITH_IMAGES.intersection(options.formats):
        wanted.append(formats.IMAGES_FOLDER)
    if formats.YOLO in options.formats:
        wanted.append(formats.LABELS_FOLDER)
    for name in wanted:
        storage.copy_tree(
            storage.join(folder, name, split.TRAIN),
            storage.join(folder, name, split.VAL),
        )
