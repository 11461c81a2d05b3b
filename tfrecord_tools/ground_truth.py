"""Writes the boxes of a split as COCO JSON, for evaluation by pycocotools."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import types
from collections.abc import Sequence
from typing import Any

from tfrecord_tools import images, prepare

# pycocotools ignores an object whose area is in none of its ranges, and matches
# it by the IoU as any other. It reads no key "ignore", and a crowd, the other
# thing it ignores, also swallows every detection that lies within its box.
_IGNORED_AREA = -1.0


class Writer:
    """Writes one COCO JSON file, one image after the other.

    The annotations wait in a second file until all images are known, so that
    memory does not grow with the data set. Use it in a with statement; after
    that the file is whole.
    """

    def __init__(self, path: pathlib.Path, classes: Sequence[str]) -> None:
        """Opens the file.

        Args:
          path: the file; path.objects beside it is used meanwhile.
          classes: the class names in the order of their ids, from 1 on.
        """
        self._stack = contextlib.ExitStack()
        self._objects_path = path.with_suffix(".objects")
        self._file = self._stack.enter_context(path.open("w"))
        self._objects = self._stack.enter_context(self._objects_path.open("w+"))
        self._num_images = 0
        self._num_objects = 0
        categories = [
            {"id": index, "name": name, "supercategory": "none"}
            for index, name in enumerate(classes, start=1)
        ]
        self._file.write(
            f'{{"categories": {json.dumps(categories)},\n"images": ['
        )

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        with self._stack:
            if error is None:
                self._file.write('],\n"annotations": [')
                self._objects.seek(0)
                shutil.copyfileobj(self._objects, self._file)
                self._file.write("]}\n")
        self._objects_path.unlink()

    def add(
        self,
        image_id: int,
        file_name: str,
        original: str | None,
        image: images.Encoded,
        objects: Sequence[prepare.StoredObject],
    ) -> None:
        """Adds one image; boxes are written as x, y, width, height in pixels.

        Args:
          image_id: the record's source_id.
          file_name: the image's path below its folder.
          original: its path in the input, where that is another one.
          image: the image as stored.
          objects: its objects, in pixels of the image as stored.
        """
        entry: dict[str, Any] = {
            "id": image_id,
            "file_name": file_name,
            "height": image.height,
            "width": image.width,
        }
        if original is not None:
            entry["original"] = original
        comma = ",\n" if self._num_images else "\n"
        self._file.write(comma + json.dumps(entry))
        self._num_images += 1
        for item in objects:
            y0, x0, y1, x1 = item.box
            comma = ",\n" if self._num_objects else "\n"
            # pycocotools takes an annotation of id 0 for no annotation.
            self._num_objects += 1
            entry = {
                "id": self._num_objects,
                "image_id": image_id,
                "category_id": item.label,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": _IGNORED_AREA if item.is_difficult else item.area,
                "iscrowd": int(item.is_crowd),
            }
            if item.is_difficult:
                entry["difficult"] = 1
            self._objects.write(comma + json.dumps(entry))
