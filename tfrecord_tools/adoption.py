"""Writes a manifest and COCO JSON beside another tool's records."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from tfrecord_tools import (
    command,
    data_set,
    ground_truth,
    images,
    manifest_checks,
    output,
    prepare,
    record_checks,
    schema,
    shard_files,
    storage,
    totals,
)


class Adoption:
    """The files to be, in a folder of their own until commit() is called."""

    def __init__(
        self,
        folder: pathlib.Path,
        partial: pathlib.Path,
        classes: tuple[str, ...],
        stack: contextlib.ExitStack,
    ) -> None:
        self._folder = folder
        self._partial = partial
        self._classes = classes
        self._stack = stack
        self._writers: dict[str, ground_truth.Writer] = {}

    def add(self, split: str, checked: record_checks.Checked) -> None:
        """Adds a record's objects to its split's COCO JSON."""
        if split not in self._writers:
            path = self._partial / f"{split}.json"
            self._writers[split] = self._stack.enter_context(
                ground_truth.Writer(path, self._classes)
            )
        if checked.source_id is None or checked.faults:
            return  # nothing will be committed then
        self._writers[split].add(
            checked.source_id,
            checked.file_name or str(checked.source_id),
            None,
            images.Encoded(
                content=b"",
                format="",
                height=checked.height,
                width=checked.width,
                sha256="",
                is_original=True,
            ),
            [
                prepare.StoredObject(
                    label=label,
                    box=(box[0], box[1], box[2], box[3]),
                    is_truncated=False,
                    is_crowd=is_crowd,
                    is_difficult=is_difficult,
                )
                for label, box, is_crowd, is_difficult in zip(
                    checked.labels.tolist(),
                    checked.boxes.tolist(),
                    checked.is_crowd.tolist(),
                    checked.is_difficult.tolist(),
                    strict=True,
                )
            ],
        )

    def commit(
        self,
        files: Sequence[shard_files.ShardFile],
        splits: Sequence[str],
        counted: Mapping[str, totals.SplitTotals],
    ) -> None:
        """Gives the files their names, the manifest last.

        COCO JSON that is there already agrees with the records: it stays.

        Args:
          files: the records' files.
          splits: the split of each.
          counted: the sums of each split.

        Raises:
          command.UserError: the disk refuses.
        """
        manifest = _manifest(self._classes, files, splits, counted)
        with data_set.disk_errors(str(self._folder)):
            self._stack.close()
            names = [
                f"{split}.json"
                for split in counted
                if not (self._folder / f"{split}.json").exists()
            ]
            path = self._partial / schema.MANIFEST_NAME
            path.write_text(manifest.to_json())
            for name in [*names, schema.MANIFEST_NAME]:
                storage.flush(str(self._partial / name))
                os.replace(self._partial / name, self._folder / name)
            storage.flush(str(self._folder))
        print(
            f"{', '.join([*names, schema.MANIFEST_NAME])} written in"
            f" {self._folder}."
        )


def _manifest(
    classes: tuple[str, ...],
    files: Sequence[shard_files.ShardFile],
    splits: Sequence[str],
    counted: Mapping[str, totals.SplitTotals],
) -> schema.Manifest:
    num_images = sum(sums.num_images for sums in counted.values())
    num_objects = sum(sums.objects.total() for sums in counted.values())
    return schema.Manifest(
        classes=classes,
        image_size=_common_size(counted),
        splits={
            split: schema.Split(
                images=sums.num_images,
                objects={
                    name: sums.objects[label]
                    for label, name in enumerate(classes, start=1)
                },
                max_boxes_per_image=sums.most_boxes,
                shards=tuple(
                    schema.Shard(
                        name=file.name,
                        records=file.num_records or 0,
                        bytes=file.bytes,
                        sha256=file.sha256,
                    )
                    for file, its_split in zip(files, splits, strict=True)
                    if its_split == split
                ),
            )
            for split, sums in counted.items()
        },
        accounts={
            "images": _account(num_images),
            "objects": {**_account(num_objects), "clipped": 0},
        },
        rejects={"images": {}, "objects": {}},
        filters={},
        mapping={name: name for name in classes},
        split_rule={"rule": "file_names"},
        arguments={manifest_checks.ADOPTED: True, "classes": list(classes)},
    )


def _account(number: int) -> dict[str, object]:
    return {"in": number, "written": number, "filtered": {}, "rejected": {}}


def _common_size(
    counted: Mapping[str, totals.SplitTotals],
) -> tuple[int, int] | None:
    sizes = {
        side
        for sums in counted.values()
        for side in (sums.least_sides, sums.most_sides)
    }
    return sizes.pop() if len(sizes) == 1 else None


@contextlib.contextmanager
def opened(
    is_wanted: bool, folder: pathlib.Path, classes: tuple[str, ...] | None
) -> Iterator[Adoption | None]:
    """Gives an Adoption, or None if it is not wanted.

    Raises:
      command.UserError: there are no classes, or the folder cannot be written.
    """
    if not is_wanted:
        yield None
        return
    if classes is None:
        raise command.UserError(
            command.ExitCode.USAGE,
            "--write_manifest needs --classes: the class names in the order of"
            " the records' ids, from 1 on. Without --write_manifest the command"
            " says which ids and texts there are.",
        )
    with contextlib.ExitStack() as stack:
        stack.enter_context(output.locked(str(folder)))
        with data_set.disk_errors(str(folder)):
            partial = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".adopted-", dir=folder)
            )
        # Closed before the folder is: they end their files.
        writers = stack.enter_context(contextlib.ExitStack())
        yield Adoption(folder, pathlib.Path(partial), classes, writers)
