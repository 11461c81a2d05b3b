"""AP by class: officially named by position, here by name.

The rule of the official EfficientDet's evaluation (google/automl, commit
6a54c874, coco_metric.py and tf2/eval.py) is written out here: categories are
those that have an object, and their figures are given the names of the label
map one after the other.
"""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from efficientdet_aimmo.evaluation import coco
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib

NAMES = ("car", "truck", "bus", "pedestrian")


def _truth(labels: list[int]) -> ground_truth_lib.GroundTruth:
    """Returns one image for each label, with an object of it (from 0)."""
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png"}
            for i in range(1, len(labels) + 1)
        ],
        "categories": [
            {"id": i, "name": name} for i, name in enumerate(NAMES, start=1)
        ],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": label + 1,
                "bbox": [10.0, 20.0, 100.0, 100.0],
            }
            for i, label in enumerate(labels, start=1)
        ],
    }
    return ground_truth_lib.parse(content, "val.json")


def _found(labels: list[int]) -> dict[int, coco.ImageDetections]:
    """Returns one detection an image, the worse the higher the class."""
    return {
        i: coco.ImageDetections(
            np.array([[20, 10, 120 - 11 * label, 110]], np.float32),
            np.array([0.9], np.float32),
            np.array([label], np.int32),
        )
        for i, label in enumerate(labels, start=1)
    }


def _official_figures(
    truth: ground_truth_lib.GroundTruth,
    found: dict[int, coco.ImageDetections],
) -> dict[str, float]:
    """Returns AP by name as the official evaluation says it."""
    annotations = copy.deepcopy(list(truth.annotations))
    present = sorted({a["category_id"] for a in annotations})
    dataset: dict[str, Any] = {
        "images": [{"id": i} for i in truth.file_names],
        "annotations": annotations,
        "categories": [{"id": i} for i in present],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        index = pycoco.COCO()
        index.dataset = dataset
        index.createIndex()
        rows = index.loadRes(coco.results(found))
        run = cocoeval.COCOeval(index, rows, "bbox")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]
    figures = [0.0] * len(NAMES)
    for place in range(precision.shape[-1]):
        known = precision[:, :, place]
        known = known[known > -1]
        figures[place] = float(known.mean()) if known.size else -1.0
    return dict(zip(NAMES, figures, strict=True))


def _our_figures(
    truth: ground_truth_lib.GroundTruth,
    found: dict[int, coco.ImageDetections],
) -> dict[str, float | None]:
    return {c.name: c.ap for c in coco.evaluate(truth, found).classes}


def test_figures_are_the_official_ones_where_every_class_has_objects() -> None:
    labels = [0, 1, 2, 3, 3, 0]
    truth, found = _truth(labels), _found(labels)
    official = _official_figures(truth, found)
    # IoU 1, .89, .78 and .67 against thresholds from .5 in steps of .05.
    assert official == pytest.approx(
        {"car": 1.0, "truck": 0.8, "bus": 0.6, "pedestrian": 0.4}
    )
    assert _our_figures(truth, found) == pytest.approx(official)


@pytest.mark.parametrize("absent", range(4))
def test_a_class_without_objects_moves_no_figure_to_another_name(
    absent: int,
) -> None:
    labels = [label for label in (0, 1, 2, 3) if label != absent]
    truth, found = _truth(labels), _found(labels)
    right = [1.0, 0.8, 0.6, 0.4]
    by_position = [right[label] for label in labels]
    official = _official_figures(truth, found)
    assert list(official.values()) == pytest.approx([*by_position, 0.0])
    ours = _our_figures(truth, found)
    assert ours.pop(NAMES[absent]) is None
    assert ours == pytest.approx({NAMES[i]: right[i] for i in labels})
    # Every class after the absent one stands under the name before it.
    wrong = [
        name for name in ours if official[name] != pytest.approx(ours[name])
    ]
    assert wrong == list(NAMES[absent + 1 :])
