"""Writes a folder of AIMMO annotations (variant A) in the other formats.

Written from the formats' descriptions, without the code that reads them.
"""

from __future__ import annotations

import json
import pathlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

CLASSES = ("car", "truck", "bus", "pedestrian")
_COARSE = {
    "car": "car",
    "truck_s": "truck",
    "truck_l": "truck",
    "bus_s": "bus",
    "bus_l": "bus",
    "adult": "pedestrian",
    "child": "pedestrian",
    "specialclothes": "pedestrian",
}


class Box(NamedTuple):
    """One object; continuous pixels."""

    name: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float


class Picture(NamedTuple):
    """One image and its objects."""

    file_name: str
    width: int
    height: int
    boxes: list[Box]


def pictures(labels: pathlib.Path) -> Iterator[Picture]:
    """Yields what variant A's files say; what is left out is left out."""
    for path in sorted(labels.glob("*.json")):
        top = json.loads(path.read_text())
        width, height = map(int, top["size"].split("*"))
        boxes = []
        for item in top["annotations"] or []:
            if item["isfake"] or item["attribute"] not in _COARSE:
                continue
            xs, ys = zip(*item["points"], strict=True)
            name = _COARSE[item["attribute"]]
            boxes.append(Box(name, min(xs), min(ys), max(xs), max(ys)))
        yield Picture(top["filename"], width, height, boxes)


def _points(box: Box, width: float, height: float) -> list[list[float]]:
    x0, y0, x1, y1 = (
        box.x_min / width,
        box.y_min / height,
        box.x_max / width,
        box.y_max / height,
    )
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def write_aimmo_b(labels: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes AIMMO's preprocessed variant: points from 0 to 1, no size."""
    for picture in pictures(labels):
        content = {
            "filename": picture.file_name,
            "weather": "sunny",
            "crowd_level": "low",
            "annotations": [
                {
                    "type": "bbox",
                    "attribute": box.name,
                    "points": _points(box, picture.width, picture.height),
                }
                for box in picture.boxes
            ],
        }
        name = f"{pathlib.Path(picture.file_name).stem}.json"
        (folder / name).write_text(json.dumps(content))


def write_aimmo_c(
    labels: pathlib.Path, folder: pathlib.Path, *, nested: bool = False
) -> None:
    """Writes AIMMO's platform export; with nested points it is variant D."""
    for picture in pictures(labels):
        items: list[dict[str, Any]] = []
        for number, box in enumerate(picture.boxes):
            points: list[Any] = _points(box, 1, 1)
            items.append(
                {
                    "id": f"{picture.file_name}-{number}",
                    "type": "bbox",
                    "attributes": {},
                    "label": box.name,
                    "points": [points] if nested else points,
                }
            )
        content = {
            "annotations": items,
            "attributes": {},
            "filename": picture.file_name,
            "parent_path": "/batch",
            "last_modifier": "nobody",
            "metadata": {"height": picture.height, "width": picture.width},
        }
        name = f"{pathlib.Path(picture.file_name).stem}.json"
        (folder / name).write_text(json.dumps(content))


def write_aimmo_d(labels: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes AIMMO's platform export with nested points."""
    write_aimmo_c(labels, folder, nested=True)


def write_coco(labels: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes one COCO file, with category ids that are neither dense nor 0."""
    ids = {name: 7 * number for number, name in enumerate(CLASSES, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for picture in pictures(labels):
        images.append(
            {
                "id": 1000 + len(images),
                "file_name": picture.file_name,
                "width": picture.width,
                "height": picture.height,
                "license": 4,
            }
        )
        for box in picture.boxes:
            width, height = box.x_max - box.x_min, box.y_max - box.y_min
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": images[-1]["id"],
                    "category_id": ids[box.name],
                    "bbox": [box.x_min, box.y_min, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[1, 2, 3, 4, 5, 6]],
                }
            )
    categories = [{"id": ids[name], "name": name} for name in CLASSES]
    content = {
        "info": {"year": 2022},
        "licenses": [{"id": 4}],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / "boxes.json").write_text(json.dumps(content))


def _add(parent: ET.Element, values: Mapping[str, object]) -> None:
    for tag, value in values.items():
        ET.SubElement(parent, tag).text = str(value)


def write_voc(labels: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes VOC's XML: the first pixel is number 1, the last is included."""
    for picture in pictures(labels):
        root = ET.Element("annotation")
        _add(root, {"folder": "VOC", "filename": picture.file_name})
        sides = {"width": picture.width, "height": picture.height, "depth": 3}
        _add(ET.SubElement(root, "size"), sides)
        for box in picture.boxes:
            item = ET.SubElement(root, "object")
            flags = {"pose": "Left", "truncated": 0, "difficult": 0}
            _add(item, {"name": box.name, **flags})
            corners = {
                "xmin": round(box.x_min) + 1,
                "ymin": round(box.y_min) + 1,
                "xmax": round(box.x_max),
                "ymax": round(box.y_max),
            }
            _add(ET.SubElement(item, "bndbox"), corners)
        name = f"{pathlib.Path(picture.file_name).stem}.xml"
        ET.ElementTree(root).write(folder / name, encoding="utf-8")


def write_yolo(labels: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes YOLO's text files; images without boxes get none."""
    (folder / "labels").mkdir()
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    (folder / "data.yaml").write_text(f"nc: {len(CLASSES)}\nnames:\n{names}")
    for picture in pictures(labels):
        lines = []
        for box in picture.boxes:
            values = (
                (box.x_min + box.x_max) / 2 / picture.width,
                (box.y_min + box.y_max) / 2 / picture.height,
                (box.x_max - box.x_min) / picture.width,
                (box.y_max - box.y_min) / picture.height,
            )
            shown = " ".join(f"{value:.6f}" for value in values)
            lines.append(f"{CLASSES.index(box.name)} {shown}\n")
        if lines:
            name = f"{pathlib.Path(picture.file_name).stem}.txt"
            (folder / "labels" / name).write_text("".join(lines))


WRITERS: Mapping[str, Callable[[pathlib.Path, pathlib.Path], None]] = {
    "aimmo_b": write_aimmo_b,
    "aimmo_c": write_aimmo_c,
    "aimmo_d": write_aimmo_d,
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
}
