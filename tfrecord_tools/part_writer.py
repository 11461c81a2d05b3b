"""Writes one part: records, boxes, files, and at last its entry."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import uuid
from collections.abc import Sequence

import tensorflow as tf

from tfrecord_tools import (
    accounts,
    example,
    formats,
    pairing,
    parts,
    prepare,
    storage,
    stored_files,
)


class Writer:
    """Writes one part, which is nothing until finish() makes it whole."""

    def __init__(
        self,
        folder: str,
        part: parts.Part,
        classes: Sequence[str],
        wanted: Sequence[str],
    ) -> None:
        """Prepares to write.

        Args:
          folder: where to.
          part: what will be added, in its order.
          classes: class names in the order of their ids.
          wanted: names of formats.FORMATS.
        """
        self._folder = folder
        self._part = part
        self._classes = classes
        self._with_records = formats.RECORDS in wanted
        self._files = stored_files.Writer(folder, part.split, wanted)
        # Two workers may be given the same part: each writes beside, and
        # whichever renames last replaces a file by an equal one.
        self._unfinished = storage.join(
            folder,
            f"{part.name}{parts.RECORDS}.{uuid.uuid4().hex}{parts.UNFINISHED}",
        )
        self._writer: tf.io.TFRecordWriter | None = None
        self._truth: list[str] = []
        self._images, self._objects = accounts.Account(), accounts.Account()
        self._labels: collections.Counter[str] = collections.Counter()
        self._sizes: collections.Counter[str] = collections.Counter()
        self._max_boxes = 0
        self._num_clipped = 0

    def add(
        self, item: parts.Item, result: prepare.Prepared | prepare.Rejected
    ) -> None:
        """Writes what became of one item, and enters it in the accounts.

        Raises:
          OSError: it cannot be written.
        """
        if isinstance(result, prepare.Rejected):
            pairing.reject_image(self._images, result)
            self._objects.rejected["image_rejected"] += item.num_objects
            return
        if self._with_records:
            self._write_record(item, result)
        name = self._files.add(item.source_id, result)
        self._truth.append(_truth_line(item, result, name))
        self._account(result, item.task.file)

    def _write_record(
        self, item: parts.Item, prepared: prepare.Prepared
    ) -> None:
        record = example.serialize(
            prepared.image,
            prepared.objects,
            item.image,
            item.source_id,
            self._classes,
        )
        with storage.as_os_errors(self._folder):
            # Not before: a part without images has no file.
            if self._writer is None:
                self._writer = tf.io.TFRecordWriter(self._unfinished)
            self._writer.write(record)

    def _account(self, prepared: prepare.Prepared, file: str) -> None:
        self._images.written += 1
        self._objects.written += len(prepared.objects)
        self._objects.filtered.update(prepared.filtered)
        for fault in prepared.rejected:
            self._objects.reject(
                fault.reason,
                {
                    "file": file,
                    "annotation_id": fault.annotation_id,
                    "detail": fault.detail,
                },
            )
        self._labels.update(str(o.label) for o in prepared.objects)
        self._max_boxes = max(self._max_boxes, len(prepared.objects))
        self._num_clipped += prepared.num_clipped
        height, width = prepared.source_size
        self._sizes[f"{width}x{height}"] += 1

    def finish(self) -> None:
        """Makes the part whole, its entry last.

        Raises:
          OSError: it cannot be written.
        """
        num_bytes, digest = self._finish_records()
        truth = "".join(self._truth).encode()
        storage.write_bytes(
            parts.truth_path(self._folder, self._part.name), truth
        )
        entry = parts.Entry(
            split=self._part.split,
            index=self._part.index,
            num_images=self._images.written,
            bytes=num_bytes,
            sha256=digest,
            truth_sha256=hashlib.sha256(truth).hexdigest(),
            files_sha256=self._files.digest(),
            objects=dict(sorted(self._labels.items())),
            max_boxes=self._max_boxes,
            num_clipped=self._num_clipped,
            source_sizes=dict(sorted(self._sizes.items())),
            image_account=self._images.to_json(),
            object_account=self._objects.to_json(),
        )
        path = storage.join(self._folder, self._part.name + parts.ENTRY)
        unfinished = f"{path}.{uuid.uuid4().hex}{parts.UNFINISHED}"
        text = json.dumps(dataclasses.asdict(entry))
        storage.write_bytes(unfinished, text.encode())
        storage.flush(unfinished)
        storage.rename(unfinished, path)

    def _finish_records(self) -> tuple[int, str]:
        if self._writer is None:
            return 0, ""
        self.close()
        storage.flush(self._unfinished)
        path = parts.records_path(self._folder, self._part.name)
        storage.rename(self._unfinished, path)
        return storage.status(path)[0], storage.sha256(path)

    def close(self) -> None:
        """Closes what is open.

        Raises:
          OSError: the last of it cannot be written.
        """
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with storage.as_os_errors(self._folder):
                writer.close()


def _truth_line(item: parts.Item, prepared: prepare.Prepared, name: str) -> str:
    line = {
        "image_id": item.source_id,
        "file": item.image,
        "stored": name,
        "height": prepared.image.height,
        "width": prepared.image.width,
        "objects": [dataclasses.asdict(o) for o in prepared.objects],
    }
    return json.dumps(line) + "\n"
