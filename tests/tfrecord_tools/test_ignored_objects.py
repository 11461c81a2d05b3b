"""Crowd regions and difficult objects: in the records and in the score."""

from __future__ import annotations

import contextlib
import io
import pathlib
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import coco, cocoeval

from tests.tfrecord_tools import made_dataset, made_formats
from tfrecord_tools import schema


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    return made_dataset.Dataset(tmp_path)


def _record(dataset: made_dataset.Dataset) -> tf.train.Example:
    (path,) = dataset.output.glob("train-*.tfrecord")
    (record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return tf.train.Example.FromString(record)


def _numbers(example: tf.train.Example, key: str) -> list[int]:
    return list(example.features.feature[key].int64_list.value)


def test_difficult_objects_are_marked_and_ignored_by_pycocotools(
    dataset: made_dataset.Dataset,
) -> None:
    made_formats.image(dataset, "a.jpg")
    objects = [
        {"name": "car", "box": (1, 1, 20, 20), "truncated": 1},
        {"name": "car", "box": (31, 11, 60, 40), "difficult": 1},
    ]
    made_formats.voc(dataset, "a.xml", "a.jpg", objects)
    assert dataset.convert() == 0
    example = _record(dataset)
    assert _numbers(example, schema.DIFFICULT) == [0, 1]
    assert _numbers(example, schema.TRUNCATED) == [1, 0]
    assert _numbers(example, schema.IS_CROWD) == [0, 0]
    sure, inside = [0, 0, 20, 20], [35, 15, 5, 5]
    difficult = [30, 10, 30, 30]
    # Found or not, a difficult object changes nothing.
    assert _precision(dataset, [sure]) == pytest.approx(1.0)
    assert _precision(dataset, [difficult, sure]) == pytest.approx(1.0)
    # But what merely lies inside is wrong; a crowd would swallow it.
    assert _precision(dataset, [inside, sure]) == pytest.approx(0.5)


def test_crowds_are_marked_and_swallow_what_lies_inside(
    dataset: made_dataset.Dataset,
) -> None:
    made_formats.image(dataset, "a.jpg")
    made_formats.coco(
        dataset,
        "c.json",
        annotations=[
            made_formats.coco_box(1, 0, 0, 20, 20),
            made_formats.coco_box(
                2, 30, 10, 30, 30, iscrowd=1, segmentation={"size": []}
            ),
        ],
    )
    assert dataset.convert() == 0
    assert _numbers(_record(dataset), schema.IS_CROWD) == [0, 1]
    detections = [[35, 15, 5, 5], [45, 20, 5, 5], [0, 0, 20, 20]]
    assert _precision(dataset, detections) == pytest.approx(1.0)


def _precision(
    dataset: made_dataset.Dataset, boxes: Sequence[Sequence[float]]
) -> float:
    """Returns pycocotools' AP of detections, the first with most trust."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(dataset.output / "train.json"))
        found = truth.loadRes(
            [
                {"image_id": 1, "category_id": 1, "bbox": box, "score": 1 / n}
                for n, box in enumerate(boxes, start=1)
            ]
        )
        run = cocoeval.COCOeval(truth, found, "bbox")
        run.evaluate()
        run.accumulate()
    return float(np.mean(run.eval["precision"][:, :, 0, 0, 2]))
