"""A split's record files, checked against their manifest before use."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo.data import shard_scan
from tfrecord_tools import command, schema

_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Source:
    """The records of one split.

    Attributes:
      files: paths of the shards, sorted.
      split: the split's name in the manifest.
      manifest: what the conversion wrote beside them.
    """

    files: tuple[str, ...]
    split: str
    manifest: schema.Manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the name at place i has id i here and i + 1 on disk."""
        return self.manifest.classes

    @property
    def counts(self) -> schema.Split:
        """Images, objects and most boxes of the split."""
        return self.manifest.splits[self.split]

    @property
    def num_records(self) -> tuple[int, ...]:
        """Records of each file, as the manifest says."""
        return tuple(self.shard(file).records for file in self.files)

    def shard(self, file: str) -> schema.Shard:
        """Returns what the manifest says of a file."""
        name = os.path.basename(file)
        return next(s for s in self.counts.shards if s.name == name)


def _data_error(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, message)


def _matching_files(pattern: str, flag: str) -> list[str]:
    try:
        files = sorted(tf.io.gfile.glob(pattern))
    except tf.errors.OpError as error:
        raise _data_error(f"--{flag}={pattern}: {error.message}") from error
    if not files:
        raise _data_error(
            f"--{flag}={pattern} matches no file. Expected the shards that"
            " tfrecord_tools.convert wrote, as OUT/train*.tfrecord."
        )
    return files


def _read_manifest(folder: str) -> schema.Manifest:
    path = os.path.join(folder, schema.MANIFEST_NAME)
    if not tf.io.gfile.exists(path):
        raise _data_error(
            f"{path} is missing: the manifest that tfrecord_tools.convert"
            " writes beside the records. It holds the class names and counts;"
            " convert the annotations to make it."
        )
    with tf.io.gfile.GFile(path) as file:
        try:
            return schema.parse_manifest(file.read(), path)
        except schema.ManifestError as error:
            raise _data_error(str(error)) from error


def open_source(pattern: str, flag: str) -> Source:
    """Returns the split whose shards the pattern matches.

    Args:
      pattern: a glob, also of gs:// paths.
      flag: name of the flag that gave it, for messages.

    Raises:
      UserError: no file, no manifest, or files that are not exactly the shards
        of one of the manifest's splits, in number and size.
    """
    source = find_source(pattern, flag)
    for file in source.files:
        size, expected = tf.io.gfile.stat(file).length, source.shard(file).bytes
        if size != expected:
            raise _data_error(
                f"{file} has {size} bytes, the manifest says {expected}: the"
                " shard is cut off or of another data set. Convert again with"
                " --overwrite."
            )
    return source


def find_source(pattern: str, flag: str) -> Source:
    """Returns the split whose shards the pattern matches, of any size.

    Args:
      pattern: as for open_source.
      flag: as for open_source.

    Raises:
      UserError: as open_source, but for the shards' sizes.
    """
    files = _matching_files(pattern, flag)
    folder = os.path.dirname(files[0])
    manifest = _read_manifest(folder)
    names = [os.path.basename(file) for file in files]
    split = next(
        (
            name
            for name, part in manifest.splits.items()
            if any(shard.name in names for shard in part.shards)
        ),
        None,
    )
    if split is None:
        known = [s.name for p in manifest.splits.values() for s in p.shards]
        raise _data_error(
            f"{folder}/{schema.MANIFEST_NAME} belongs to another data set: it"
            f" lists {_some(known)}, --{flag} matches {_some(names)}."
        )
    shards = {shard.name: shard for shard in manifest.splits[split].shards}
    if set(names) != set(shards):
        unknown = sorted(set(names) - set(shards))
        missing = sorted(set(shards) - set(names))
        raise _data_error(
            f"--{flag}={pattern} matches {len(names)} files, the manifest's"
            f" split {split!r} has {len(shards)} shards. Not in the manifest:"
            f" {_some(unknown)}; not matched: {_some(missing)}."
        )
    return Source(tuple(files), split, manifest)


def _some(names: Sequence[str]) -> str:
    """Returns up to three names, and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check_records(source: Source) -> None:
    """Reads every record of the source once and checks its objects.

    Every record's own checksum and each shard's, which the manifest holds,
    are checked on the way; images are not decoded.

    Raises:
      UserError: the first fault, with shard and record.
    """
    for fault in faults(source):
        raise _data_error(f"{fault.text}. Convert again with --overwrite.")


class Fault(NamedTuple):
    """What is wrong with records that could be left out."""

    text: str
    num_records: int  # that cannot be used; 0 where all can be


def faults(source: Source) -> Iterator[Fault]:
    """Yields what is wrong with the records, in order; as check_records.

    Raises:
      UserError: a fault of another kind, that no record can be left out for.
    """
    most = num_bad = 0
    for file in source.files:
        shard = source.shard(file)
        found = shard_scan.scan(file, source.classes)
        most = max(most, found.max_boxes)
        missing = shard.records - found.num_records
        counts = (
            f"{file} has {found.num_records} records, the manifest says"
            f" {shard.records}"
        )
        if missing < 0:
            raise _data_error(f"{counts}. Convert again with --overwrite.")
        for number, why in found.unparsed:
            yield Fault(f"{file}, record {number} {why}", 1)
        if found.damage:
            yield Fault(
                f"{file} is damaged after record {found.num_records}:"
                f" {found.damage}",
                missing,
            )
        elif missing:
            yield Fault(counts, missing)
        elif _digest(file) != shard.sha256:
            yield Fault(
                f"{file} is whole, but not the shard that the manifest"
                " describes: its checksum differs",
                0,
            )
        num_bad += missing + len(found.unparsed)
    expected = source.counts.max_boxes_per_image
    if most > expected or (most < expected and not num_bad):
        raise _data_error(
            f"The records of split {source.split!r} have up to {most} boxes,"
            f" the manifest says {expected}. Convert again with --overwrite."
        )


def _digest(file: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(file, "rb") as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_pair(train: Source, val: Source | None) -> None:
    """Checks that a model can be trained on one and measured on the other.

    Raises:
      UserError: a split is empty, the classes differ, or a class of val is
        absent from train.
    """
    for source in (train, val):
        if source is not None and source.counts.images == 0:
            raise _data_error(f"Split {source.split!r} has no image.")
    if val is None:
        return
    if train.classes != val.classes:
        raise _data_error(
            f"The training records have the classes {', '.join(train.classes)},"
            f" the validation records {', '.join(val.classes)}."
        )
    for name in train.classes:
        count = val.counts.objects[name]
        if count and not train.counts.objects[name]:
            raise _data_error(
                f"Class {name!r} has {count} objects in split {val.split!r} and"
                f" none in {train.split!r}: it can never be learned. Split the"
                " data otherwise, or leave the class out of --classes."
            )
