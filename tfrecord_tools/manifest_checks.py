"""Compares files and counts with the manifest, and splits with each other."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tfrecord_tools import (
    coco_file,
    command,
    findings,
    schema,
    shard_files,
    storage,
    totals,
)

# In the manifest's arguments where it was written for another tool's records.
ADOPTED = "adopted"


def read(folder: pathlib.Path) -> schema.Manifest | None:
    """Returns the manifest in a folder, None if there is none.

    Raises:
      command.UserError: it cannot be read.
    """
    path = folder / schema.MANIFEST_NAME
    try:
        return schema.parse_manifest(path.read_text(), str(path))
    except FileNotFoundError:
        return None
    except (schema.ManifestError, UnicodeDecodeError) as error:
        raise command.UserError(command.ExitCode.DATA, str(error)) from error


def is_ours(manifest: schema.Manifest | None) -> bool:
    """Tells whether a conversion of these tools wrote the records."""
    return manifest is not None and ADOPTED not in manifest.arguments


def split_names(
    files: Sequence[shard_files.ShardFile], manifest: schema.Manifest | None
) -> list[str]:
    """Returns the split of each file, by the manifest or the file's name."""
    known = {
        shard.name: split
        for split, part in (manifest.splits if manifest else {}).items()
        for shard in part.shards
    }
    return [
        known.get(file.name) or shard_files.split_name(file.name)
        for file in files
    ]


def check_files(
    files: Sequence[shard_files.ShardFile],
    manifest: schema.Manifest,
    found: findings.Findings,
) -> None:
    """Compares the files with the manifest's shards."""
    shards = {
        shard.name: shard
        for part in manifest.splits.values()
        for shard in part.shards
    }
    names = {file.name for file in files}
    for split, part in manifest.splits.items():
        missing = [s.name for s in part.shards if s.name not in names]
        if len(missing) == len(part.shards):
            text = f"no shard of split {split!r} is among the files"
            found.add("manifest", text, is_warning=True)
            continue
        for name in missing:
            found.add("manifest", f"{name} is not among the files")
    for file in files:
        shard = shards.get(file.name)
        if shard is None:
            found.add("manifest", f"{file.name} is not in the manifest")
            continue
        for what, actual, said in (
            ("bytes", file.bytes, shard.bytes),
            ("records", file.num_records, shard.records),
            ("the SHA-256", file.sha256, shard.sha256),
        ):
            if actual != said and actual is not None:
                found.add(
                    "manifest",
                    f"{file.name} has {what} {actual}, the manifest says"
                    f" {said}",
                )


def check_others(
    folder: pathlib.Path, manifest: schema.Manifest, found: findings.Findings
) -> None:
    """Compares the files beside the shards with the manifest's checksums."""
    for name, said in manifest.checksums.items():
        path = folder / name
        # Folders of images have one checksum over all; the records hold the
        # same images, and those are checked.
        if path.is_file() and storage.sha256(str(path)) != said:
            found.add(
                "manifest",
                f"{name} was changed: its SHA-256 is not the manifest's {said}",
            )


def check_rule(split_rule: Mapping[str, Any], found: findings.Findings) -> None:
    """Repeats what the conversion found in two splits and left there."""
    shared = split_rule.get("groups_in_several_splits")
    if shared:
        found.add(
            "leak",
            f"{shared['count']} groups (drives) have images in several splits,"
            f" such as {shared['examples'][0]}",
            is_warning=True,
        )
    near = split_rule.get("near_duplicates")
    if near and near["pairs"] and not near.get("moved"):
        pair = near["examples"][0]
        found.add(
            "leak",
            f"{near['pairs']} pairs of images of two splits look the same, such"
            f" as {pair['first']} and {pair['second']}",
            is_warning=True,
        )


def check_counts(
    split: str,
    counted: totals.SplitTotals,
    manifest: schema.Manifest,
    found: findings.Findings,
) -> None:
    """Compares the sums of a split with the manifest's."""
    part = manifest.splits.get(split)
    if part is None:
        return  # its files are findings already
    pairs = [
        ("images", counted.num_images, part.images),
        ("most objects an image", counted.most_boxes, part.max_boxes_per_image),
    ]
    for label, name in enumerate(manifest.classes, start=1):
        said = part.objects.get(name, 0)
        pairs.append((f"objects of {name!r}", counted.objects[label], said))
    for what, actual, said in pairs:
        if actual != said:
            found.add(
                "manifest",
                f"split {split!r}: {what} {actual}, the manifest says {said}",
            )


def check_classes(
    counted: Mapping[str, totals.SplitTotals],
    classes: Sequence[str],
    found: findings.Findings,
) -> None:
    """Looks for classes that are absent from a split, or from all."""
    train = counted.get("train")
    for label, name in enumerate(classes, start=1):
        without = [s for s, sums in counted.items() if not sums.objects[label]]
        if len(without) == len(counted):
            text = f"no split has an object of class {name!r}"
            found.add("no_objects", text, is_warning=True)
            continue
        for split in without:
            is_learned = counted[split] is not train
            text = f"split {split!r} has no object of class {name!r}"
            if not is_learned:
                text += ", others have: it can never be learned"
            found.add("no_objects", text, is_warning=is_learned)


def open_truth(
    path: pathlib.Path,
    manifest: schema.Manifest | None,
    classes: Sequence[str] | None,
    found: findings.Findings,
) -> coco_file.CocoFile | None:
    """Returns a split's COCO JSON; None if there is none, or none to use.

    Args:
      path: where it should be.
      manifest: the data set's; records without it need no COCO JSON.
      classes: the class names in the order of their ids, None if not known.
      found: where its faults go.
    """
    if not os.path.exists(path):
        if manifest is not None:
            found.add("coco_json", f"{path.name} is missing")
        return None
    try:
        truth = coco_file.CocoFile(str(path))
    except (OSError, ValueError) as error:
        found.add("coco_json", f"{path.name} cannot be used: {error}")
        return None
    for text in truth.faults:
        found.add("coco_json", f"{path.name}: {text}")
    more = truth.num_faults - len(truth.faults)
    if more:
        found.add("coco_json", f"{path.name}: {more} more of such faults")
    if classes is not None:
        expected = dict(enumerate(classes, start=1))
        if truth.categories != expected:
            found.add(
                "coco_json",
                f"{path.name} has the categories {truth.categories}, expected"
                f" {expected}",
            )
    return truth
