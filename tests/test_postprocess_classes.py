"""NMS of many classes, and what is left out before it, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import postprocess
from hparams import config

NUM_ANCHORS = 60


def _soft_nms(
    boxes: np.ndarray, scores: np.ndarray, nms: config.Nms
) -> list[tuple[float, int]]:
    """Returns (score, row) of what soft-NMS of one class keeps."""
    scores = scores.astype(np.float64).copy()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    kept = []
    while scores.max() > nms.score_thresh:
        row = int(scores.argmax())
        kept.append((float(scores[row]), row))
        low = np.maximum(boxes[row, :2], boxes[:, :2])
        high = np.minimum(boxes[row, 2:], boxes[:, 2:])
        overlap = np.maximum(high - low, 0.0).prod(-1)
        iou = overlap / (areas[row] + areas - overlap)
        scores *= np.exp(-(iou**2) / nms.sigma)
        scores[row] = 0.0
    return kept


def _detect(
    boxes: np.ndarray, logits: np.ndarray, nms: config.Nms
) -> postprocess.Detections:
    found = postprocess.detect(
        tf.constant(logits[None], tf.float32),
        tf.zeros([1, len(boxes), 4]),
        tf.constant(boxes, tf.float32),
        tf.ones([1]),
        tf.constant([[1000, 1000]]),
        nms,
    )
    return postprocess.Detections(*(part.numpy()[0] for part in found))


def _boxes(draw: np.random.Generator) -> np.ndarray:
    # At the corner of the plane, where classes are kept apart.
    corners = draw.uniform(0, 40, (NUM_ANCHORS, 2))
    corners[:10] = 0.0
    sides = draw.uniform(20, 60, (NUM_ANCHORS, 2))
    return np.concatenate([corners, corners + sides], -1).astype(np.float32)


@pytest.mark.parametrize("num_classes", [1, 4, 5, 9])
def test_classes_are_left_alone(num_classes: int) -> None:
    draw = np.random.default_rng(num_classes)
    boxes = _boxes(draw)
    logits = draw.normal(-1.0, 1.5, (NUM_ANCHORS, num_classes))
    scores = 1.0 / (1.0 + np.exp(-logits))
    nms = config.Nms(score_thresh=0.02, max_output_size=40)
    found = _detect(boxes, logits, nms)
    expected = sorted(
        (
            (score, row, label)
            for label in range(num_classes)
            for score, row in _soft_nms(boxes, scores[:, label], nms)
        ),
        reverse=True,
    )[:40]
    assert found.count == len(expected)
    np.testing.assert_allclose(
        found.scores[: found.count], [e[0] for e in expected], atol=1e-5
    )
    np.testing.assert_array_equal(
        found.classes[: found.count], [e[2] for e in expected]
    )
    np.testing.assert_allclose(
        found.boxes[: found.count], boxes[[e[1] for e in expected]], atol=1e-3
    )


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.25, 1.0])
def test_scores_at_the_threshold_are_left_out(
    threshold: float, per_class: bool
) -> None:
    corners = np.arange(5.0)[:, None] * [20.0, 20.0]
    boxes = np.concatenate([corners, corners + 10.0], -1)
    logits = np.log(np.array([0.24, 0.25, 0.2501, 0.9, 0.1]))
    logits -= np.log1p(-np.exp(logits))
    nms = config.Nms(score_thresh=threshold, per_class=per_class)
    found = _detect(boxes, logits[:, None], nms)
    kept = {0.0: [0.9, 0.2501, 0.25, 0.24, 0.1], 0.25: [0.9, 0.2501], 1.0: []}
    np.testing.assert_allclose(
        found.scores[: found.count], kept[threshold], atol=1e-6
    )


@pytest.mark.parametrize("limit", [1, 7, 59, 60, 500])
def test_equal_logits_fill_the_limit_and_no_more(limit: int) -> None:
    corners = np.arange(NUM_ANCHORS)[:, None] * [10.0, 10.0]
    boxes = np.concatenate([corners, corners + 9.0], -1)
    nms = config.Nms(max_nms_inputs=limit, max_output_size=200)
    found = _detect(boxes, np.zeros((NUM_ANCHORS, 3)), nms)
    assert found.count == min(limit, 3 * NUM_ANCHORS)
