"""The evaluator with a detector whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.model import detector as detector_lib
from hparams import config
from tfrecord_tools import command

CONFIG = config.Config(
    data=config.Data(image_size=(64, 64)), nms=config.Nms(method="hard")
)
ANCHORS = anchors_lib.anchor_boxes(CONFIG.anchors, (64, 64))
NAMES = ("car", "bus")


class PixelDetector:
    """Finds, at the anchor that the first pixel names, a bus."""

    def __init__(self) -> None:
        self.num_traces = 0

    def __call__(
        self, images: tf.Tensor, training: bool
    ) -> detector_lib.Outputs:
        assert training is False
        self.num_traces += 1
        places = tf.cast(images[:, 0, 0, 0], tf.int32)
        is_found = tf.one_hot(places, len(ANCHORS))
        logits = tf.stack([tf.zeros_like(is_found), is_found], axis=-1)
        codes = tf.zeros([images.shape[0], len(ANCHORS), 4])
        return detector_lib.Outputs(logits * 40.0 - 20.0, codes)


def _inner_anchors() -> list[int]:
    inside = (ANCHORS[:, :2] >= 0).all(1) & (ANCHORS[:, 2:] <= 64).all(1)
    return [int(i) for i in np.flatnonzero(inside)]


def _batch(
    ids: list[int], places: list[int], is_real: list[bool]
) -> pipeline.EvalBatch:
    images = np.zeros((len(ids), 64, 64, 3), np.float32)
    images[:, 0, 0, 0] = places
    return pipeline.EvalBatch(
        images=tf.constant(images),
        image_ids=tf.constant(ids, tf.int64),
        scales=tf.fill([len(ids)], 2.0),
        sizes=tf.fill([len(ids), 2], 128),
        is_real=tf.constant(is_real),
    )


def _truth(places: dict[int, int]) -> ground_truth_lib.GroundTruth:
    """Returns one bus per image, where the anchor lies at twice its size."""
    annotations = []
    for number, (image_id, place) in enumerate(places.items(), start=1):
        y_min, x_min, y_max, x_max = (2 * float(v) for v in ANCHORS[place])
        annotations.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": 2,
                "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
            }
        )
    return ground_truth_lib.parse(
        {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in places],
            "categories": [
                {"id": 1, "name": "car"},
                {"id": 2, "name": "bus"},
            ],
            "annotations": annotations,
        },
        "val.json",
    )


def _silent(done: int, total: int) -> None:
    pass


def test_every_image_is_measured_once() -> None:
    places = _inner_anchors()[:3]
    detector = PixelDetector()
    evaluator = evaluator_lib.Evaluator(detector, CONFIG, NAMES)
    calls = []
    found = evaluator.run(
        [
            _batch([7, 8], places[:2], [True, True]),
            # The second row repeats an id, but only fills up the batch.
            _batch([9, 7], [places[2], 0], [True, False]),
        ],
        _truth(dict(zip([7, 8, 9], places, strict=True))),
        lambda done, total: calls.append((done, total)),
    )
    assert calls == [(2, 3), (3, 3)]
    assert sorted(found.detections) == [7, 8, 9]
    for image_id, place in zip([7, 8, 9], places, strict=True):
        boxes, scores, classes = found.detections[image_id]
        np.testing.assert_allclose(boxes, [2 * ANCHORS[place]], rtol=1e-6)
        assert scores[0] == pytest.approx(1.0)
        assert classes.tolist() == [1]
    assert found.metrics.ap == pytest.approx(1.0)
    assert found.metrics.overall.true_positives == 3
    assert found.alarms == ()
    # One trace serves all batches, and further runs.
    assert detector.num_traces == 1


def test_alarm_where_a_class_is_never_found() -> None:
    place = _inner_anchors()[0]
    truth = _truth({1: place})
    annotation = {**truth.annotations[0], "id": 2, "category_id": 1}
    both = ground_truth_lib.GroundTruth(
        truth.source,
        truth.class_names,
        truth.file_names,
        (*truth.annotations, annotation),
    )
    evaluator = evaluator_lib.Evaluator(PixelDetector(), CONFIG, NAMES)
    found = evaluator.run([_batch([1], [place], [True])], both, _silent)
    assert found.alarms == (
        "class 'car' has 1 objects and not one detection of any score.",
    )
    assert found.metrics.ap == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            [1, 2],
            "The records hold 2 images, val.json holds 3, and they are not the"
            " same (missing from the records: image id 3).",
        ),
        (
            [1, 2, 3, 4],
            "The records hold 4 images, val.json holds 3, and they are not the"
            " same (only in the records: image id 4).",
        ),
        (
            [1, 2, 3, 3],
            "The records hold 4 images, val.json holds 3, and they are not the"
            " same (1 records repeat an image id).",
        ),
        (
            [4, 5],
            "(missing from the records: image ids 1, 2, 3; only in the records:"
            " image ids 4, 5).",
        ),
    ],
)
def test_other_images_than_the_ground_truth(
    ids: list[int], message: str
) -> None:
    evaluator = evaluator_lib.Evaluator(PixelDetector(), CONFIG, NAMES)
    batches = [_batch([i], [0], [True]) for i in ids]
    with pytest.raises(command.UserError) as caught:
        evaluator.run(batches, _truth({1: 0, 2: 0, 3: 0}), _silent)
    assert caught.value.exit_code == command.ExitCode.DATA
    assert message in str(caught.value)


def test_other_classes_than_the_ground_truth() -> None:
    names = ("bus", "car")
    evaluator = evaluator_lib.Evaluator(PixelDetector(), CONFIG, names)
    with pytest.raises(command.UserError) as caught:
        evaluator.run([], _truth({1: 0}), _silent)
    assert caught.value.exit_code == command.ExitCode.DATA
    assert (
        "The detector's classes are bus, car; those of val.json are car, bus."
        in str(caught.value)
    )
