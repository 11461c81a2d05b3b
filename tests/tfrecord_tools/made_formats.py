"""Small annotation files in the formats beside AIMMO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.tfrecord_tools import made_dataset

_VOC_OBJECT = """<object><name>{name}</name><truncated>{truncated}</truncated>
<difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>
<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
</object>"""


def image(dataset: made_dataset.Dataset, name: str) -> None:
    """Adds a JPEG."""
    path = dataset.input / name
    path.parent.mkdir(parents=True, exist_ok=True)
    made_dataset.pixels(len(name)).save(path)


def voc(
    dataset: made_dataset.Dataset,
    path: str,
    image: str,
    objects: Sequence[dict[str, Any]],
) -> None:
    """Adds an XML file of an image; objects have name and box."""
    full = dataset.input / path
    full.parent.mkdir(parents=True, exist_ok=True)
    shown = "".join(
        _VOC_OBJECT.format(**{"truncated": 0, "difficult": 0, **item})
        for item in objects
    )
    full.write_text(
        f"<annotation><filename>{image}</filename>{shown}</annotation>"
    )


def coco(dataset: made_dataset.Dataset, name: str, **top: Any) -> None:
    """Adds a COCO file of one image, a.jpg, unless top says else."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 5, "name": "car"}],
        "annotations": [],
        **top,
    }
    (dataset.input / name).write_text(json.dumps(content))


def coco_box(number: int, *bbox: float, **other: Any) -> dict[str, Any]:
    """Returns one annotation of a.jpg."""
    return {
        "id": number,
        "image_id": 1,
        "category_id": 5,
        "bbox": list(bbox),
        "iscrowd": 0,
        **other,
    }


def yolo(dataset: made_dataset.Dataset, data: str) -> None:
    """Writes data.yaml."""
    (dataset.input / "data.yaml").write_text(data)
