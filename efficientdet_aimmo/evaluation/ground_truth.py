"""Ground truth from a COCO JSON file."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, NamedTuple

import numpy as np

from tfrecord_tools import command


class Objects(NamedTuple):
    """The objects of one image.

    boxes: [n, 4] float32, [y_min, x_min, y_max, x_max] pixels as stored.
    classes: [n] int32, 0-based.
    is_crowd: [n] bool.
    """

    boxes: np.ndarray
    classes: np.ndarray
    is_crowd: np.ndarray


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """A split's images, classes and objects.

    source: the file's name, for messages.
    class_names: class 0 first; the file's category ids are one higher.
    file_names: image id to file name.
    annotations: COCO annotations with ids from 1, area and iscrowd.
    """

    source: str
    class_names: tuple[str, ...]
    file_names: dict[int, str]
    annotations: tuple[dict[str, Any], ...]

    def objects(self) -> dict[int, Objects]:
        """Returns the objects of every image, also of those without any."""
        rows: dict[int, list[dict[str, Any]]] = {i: [] for i in self.file_names}
        for annotation in self.annotations:
            rows[annotation["image_id"]].append(annotation)
        return {i: _as_objects(found) for i, found in rows.items()}


def _as_objects(annotations: list[dict[str, Any]]) -> Objects:
    boxes = np.array([a["bbox"] for a in annotations], np.float32)
    x, y, width, height = boxes.reshape(-1, 4).T
    return Objects(
        np.stack([y, x, y + height, x + width], axis=-1),
        np.array([a["category_id"] - 1 for a in annotations], np.int32),
        np.array([bool(a["iscrowd"]) for a in annotations], bool),
    )


def _fault(source: str, what: str) -> command.UserError:
    return command.UserError(
        command.ExitCode.DATA,
        f"{source}: {what} Expected the COCO ground truth that the conversion"
        " wrote beside the records. Convert again, or check --val_json_file.",
    )


def load(path: str) -> GroundTruth:
    """Returns the ground truth in a COCO JSON file.

    Raises:
      UserError: the file cannot be read, or is not what this product writes:
        category ids from 1 without gaps, integer image ids, boxes as four
        finite numbers.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise _fault(path, f"cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise _fault(path, f"is not JSON ({error}).") from error
    return parse(content, path)


def parse(content: Any, source: str) -> GroundTruth:
    """Returns the ground truth in a COCO data set; raises as load does."""
    if not isinstance(content, dict):
        raise _fault(source, f"holds a {type(content).__name__}.")
    for key in ("images", "categories", "annotations"):
        if not isinstance(content.get(key), list):
            raise _fault(source, f"has no list {key!r}.")
    try:
        names = _class_names(content["categories"], source)
        file_names = _file_names(content["images"], source)
        annotations = [
            _annotation(number, item, len(names), file_names, source)
            for number, item in enumerate(content["annotations"], start=1)
        ]
    except (KeyError, TypeError) as error:
        raise _fault(
            source, f"an entry is incomplete ({type(error).__name__}: {error})."
        ) from error
    return GroundTruth(source, names, file_names, tuple(annotations))


def _class_names(categories: list[Any], source: str) -> tuple[str, ...]:
    ids = [category["id"] for category in categories]
    if sorted(ids) != list(range(1, len(ids) + 1)):
        raise _fault(source, f"category ids are {ids}, expected 1, 2, 3, ...")
    by_id = sorted(categories, key=lambda category: category["id"])
    return tuple(str(category["name"]) for category in by_id)


def _file_names(images: list[Any], source: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for image in images:
        number = image["id"]
        if type(number) is not int:
            raise _fault(source, f"image id {number!r} is no integer.")
        if number in names:
            raise _fault(source, f"image id {number} is given twice.")
        names[number] = str(image["file_name"])
    if not names:
        raise _fault(source, "has no images: nothing can be evaluated.")
    return names


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _annotation(
    number: int,
    item: dict[str, Any],
    num_classes: int,
    file_names: dict[int, str],
    source: str,
) -> dict[str, Any]:
    """Returns what evaluation reads of an annotation, renumbered.

    pycocotools takes the id 0 of a matched annotation for "no match", and needs
    area and iscrowd: ids are given anew from 1, the rest where it is missing.
    """
    where = f"annotation {item.get('id', number)!r}"
    bbox = item["bbox"]
    if len(bbox) != 4 or not all(map(_is_finite, bbox)):
        raise _fault(source, f"{where} has the bbox {bbox!r}.")
    if item["image_id"] not in file_names:
        raise _fault(
            source, f"{where} is of the unknown image {item['image_id']!r}."
        )
    if item["category_id"] not in range(1, num_classes + 1):
        raise _fault(
            source, f"{where} has the category {item['category_id']!r}."
        )
    return {
        "id": number,
        "image_id": item["image_id"],
        "category_id": item["category_id"],
        "bbox": [float(value) for value in bbox],
        "area": float(item.get("area", bbox[2] * bbox[3])),
        "iscrowd": int(item.get("iscrowd", 0)),
    }
