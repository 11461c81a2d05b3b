"""Gives ground truth back as detections: average precision must be 1.

A box written as centre and size, sides that were exchanged, ids that are one
off: whatever records and COCO JSON disagree on shows as a number below 1.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import coco as coco_lib
from pycocotools import cocoeval

from tfrecord_tools import coco_file

LEAST = 0.9999  # that AP, AP50 and AP75 of every class must reach
_IOU_50 = 0  # places in COCOeval's thresholds
_IOU_75 = 5


def _coco(rows: list[dict[str, Any]], images: int, classes: int) -> Any:
    index = coco_lib.COCO()
    index.dataset = {
        "images": [{"id": i} for i in range(1, images + 1)],
        "categories": [{"id": i, "name": ""} for i in range(1, classes + 1)],
        "annotations": [
            {**row, "id": number} for number, row in enumerate(rows, start=1)
        ],
    }
    index.createIndex()
    return index


def _rows(
    image: int, labels: np.ndarray, boxes: np.ndarray, crowd: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": int(is_crowd),
            "score": 1.0,
        }
        for label, (y0, x0, y1, x1), is_crowd in zip(
            labels, boxes.tolist(), crowd, strict=True
        )
    ]


def average_precisions(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, coco_file.Truth]],
    num_classes: int,
) -> dict[int, float]:
    """Returns the least of AP, AP50 and AP75 for each class id with objects.

    COCO's limit of 100 detections an image is lifted, as this measures files
    and no detector.

    Args:
      pairs: for each image a record's labels [N] and boxes [N, 4], y_min,
        x_min, y_max, x_max in pixels as stored, crowds left out; and what the
        COCO JSON says.
      num_classes: ids go from 1 to this.
    """
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    most = 1
    for image, (labels, boxes, said) in enumerate(pairs, start=1):
        truth += _rows(image, said.labels, said.boxes, said.is_crowd)
        found += _rows(image, labels, boxes, np.zeros(len(labels), bool))
        most = max(most, len(labels))
    with contextlib.redirect_stdout(io.StringIO()):
        run = cocoeval.COCOeval(
            _coco(truth, len(pairs), num_classes),
            _coco(found, len(pairs), num_classes),
            "bbox",
        )
        run.params.areaRng = [[0, 1e10]]
        run.params.areaRngLbl = ["all"]
        run.params.maxDets = [most]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 0]  # IoU, recall, class
    scores = {}
    for index in range(num_classes):
        values = precision[:, :, index]
        if (values > -1).any():
            scores[index + 1] = float(
                min(
                    values.mean(),
                    values[_IOU_50].mean(),
                    values[_IOU_75].mean(),
                )
            )
    return scores
