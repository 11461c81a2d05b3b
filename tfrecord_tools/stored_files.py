"""Images as files, with labels as YOLO's tools read them.

    images/SPLIT/000000000012.jpg   the bytes that a record would hold
    labels/SPLIT/000000000012.txt   a line per object: class, centre and size

The number is the image's id, in the records and in the COCO JSON too: no two
images share it, whatever they and their folders are called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from tfrecord_tools import formats, prepare, storage

_SUFFIXES = {"jpeg": ".jpg", "png": ".png"}


class Writer:
    """Writes the files of one part's images."""

    def __init__(self, folder: str, split: str, wanted: Sequence[str]) -> None:
        """Makes the folders that are needed.

        Args:
          folder: where the data set is written.
          split: the images' split.
          wanted: names of formats.FORMATS.
        """
        self._folder = folder
        self._split = split
        self._with_images = bool(formats.WITH_IMAGES.intersection(wanted))
        self._with_labels = formats.YOLO in wanted
        self._digest = hashlib.sha256()
        if self._with_images:
            storage.make_folder(
                storage.join(folder, formats.IMAGES_FOLDER, split)
            )
        if self._with_labels:
            storage.make_folder(
                storage.join(folder, formats.LABELS_FOLDER, split)
            )

    def add(self, source_id: int, prepared: prepare.Prepared) -> str:
        """Writes one image and its labels; returns its name, "" if unwanted.

        Raises:
          OSError: it cannot be written.
        """
        if not self._with_images:
            return ""
        stem = f"{source_id:012d}"
        name = stem + _SUFFIXES[prepared.image.format]
        files = {
            _image_path(self._folder, self._split, name): prepared.image.content
        }
        if self._with_labels:
            path = _label_path(self._folder, self._split, name)
            files[path] = labels(prepared).encode()
        for path, content in files.items():
            storage.write_bytes(path, content)
            self._digest.update(hashlib.sha256(content).digest())
        return name

    def digest(self) -> str:
        """Returns a digest of all files, in order; "" if there are none."""
        return self._digest.hexdigest() if self._with_images else ""


def _image_path(folder: str, split: str, name: str) -> str:
    return storage.join(folder, formats.IMAGES_FOLDER, split, name)


def _label_path(folder: str, split: str, name: str) -> str:
    stem = name.rpartition(".")[0]
    return storage.join(folder, formats.LABELS_FOLDER, split, f"{stem}.txt")


def labels(prepared: prepare.Prepared) -> str:
    """Returns the lines of an image's label file.

    Class from 0 on, then centre and size as shares of the image's width and
    height: x, y, width, height. Nine decimals are a millionth of a pixel. Crowd
    regions and difficult objects have no line: YOLO knows no mark for them, and
    its tools would train on them as on any object.
    """
    height, width = prepared.image.height, prepared.image.width
    lines = []
    for item in prepared.objects:
        if item.is_crowd or item.is_difficult:
            continue
        y0, x0, y1, x1 = item.box
        numbers = (
            (x0 + x1) / 2 / width,
            (y0 + y1) / 2 / height,
            (x1 - x0) / width,
            (y1 - y0) / height,
        )
        shown = " ".join(f"{number:.9f}" for number in numbers)
        lines.append(f"{item.label - 1} {shown}\n")
    return "".join(lines)


def digest_of(
    folder: str, split: str, names: Sequence[str], expected: str
) -> str:
    """Returns the digest of files that a Writer wrote.

    Args:
      folder: where the data set is.
      split: the images' split.
      names: what Writer.add returned.
      expected: the digest as it was; "" means that there are no files.

    Raises:
      OSError: one of them is not there.
    """
    if not expected:
        return ""
    digest = hashlib.sha256()
    with_labels = bool(
        storage.names(storage.join(folder, formats.LABELS_FOLDER))
    )
    for name in names:
        paths = [_image_path(folder, split, name)]
        if with_labels:
            paths.append(_label_path(folder, split, name))
        for path in paths:
            digest.update(bytes.fromhex(storage.sha256(path)))
    return digest.hexdigest()


def data_yaml(splits: Sequence[str], classes: Sequence[str]) -> str:
    """Returns the text of YOLO's data.yaml, which lies beside the folders."""
    lines = [f"{s}: {formats.IMAGES_FOLDER}/{s}" for s in splits]
    # A JSON list is a YAML list.
    names = json.dumps(list(classes), ensure_ascii=False)
    return "\n".join([*lines, f"nc: {len(classes)}", f"names: {names}", ""])
