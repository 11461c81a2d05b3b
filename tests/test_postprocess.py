"""Detections against a NumPy soft-NMS and examples by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from efficientdet_aimmo import postprocess
from hparams import config

ABSENT = -1e9  # a logit whose score is 0, below every threshold


def _detect(
    logits: np.ndarray,
    codes: np.ndarray,
    anchors: np.ndarray,
    nms: config.Nms,
    scales: tuple[float, ...] = (1.0,),
    sizes: tuple[tuple[int, int], ...] = ((1000, 1000),),
) -> postprocess.Detections:
    """Returns the detections as arrays."""
    found = postprocess.detect(
        tf.constant(logits, tf.float32),
        tf.constant(codes, tf.float32),
        tf.constant(anchors, tf.float32),
        tf.constant(scales, tf.float32),
        tf.constant(sizes, tf.int32),
        nms,
    )
    return postprocess.Detections(*(part.numpy() for part in found))


def _logit(scores: npt.ArrayLike) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    return np.log(scores) - np.log1p(-scores)


def _at(
    boxes: npt.ArrayLike, scores: npt.ArrayLike, nms: config.Nms
) -> postprocess.Detections:
    """Detects where the anchors are the boxes and the codes are 0."""
    anchors = np.asarray(boxes)
    codes = np.zeros((1, len(anchors), 4))
    return _detect(_logit(scores)[None], codes, anchors, nms)


def _numpy_iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=-1)
    return overlap / (np.prod(box[2:] - box[:2]) + areas - overlap)


def _numpy_nms(
    boxes: np.ndarray, scores: np.ndarray, nms: config.Nms
) -> list[tuple[float, int]]:
    """Returns (score, row) of the kept boxes, as the paper's figure 2 says."""
    scores = scores.astype(np.float64).copy()
    kept = []
    while scores.max(initial=0.0) > nms.score_thresh:
        row = int(scores.argmax())
        kept.append((float(scores[row]), row))
        overlaps = _numpy_iou(boxes[row], boxes)
        if nms.method == "gaussian":
            scores *= np.exp(-(overlaps**2) / nms.sigma)
        else:
            scores[overlaps > nms.iou_thresh] = 0.0
        scores[row] = 0.0
    return kept


@pytest.mark.parametrize("method", ["gaussian", "hard"])
@pytest.mark.parametrize("per_class", [True, False])
def test_equals_numpy(method: str, per_class: bool) -> None:
    draw = np.random.default_rng(5)
    centres = draw.uniform(100, 200, (40, 2))
    sides = draw.uniform(20, 60, (40, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], -1)
    boxes = boxes.astype(np.float32)
    scores = draw.uniform(0.05, 0.95, (40, 3))
    nms = config.Nms(
        method=method,
        per_class=per_class,
        sigma=0.4,
        iou_thresh=0.45,
        score_thresh=0.1,
        max_output_size=30,
    )
    found = _at(boxes, scores, nms)
    if per_class:
        expected = [
            (score, row, label)
            for label in range(3)
            for score, row in _numpy_nms(boxes, scores[:, label], nms)
        ]
    else:
        expected = [
            (score, row, int(scores[row].argmax()))
            for score, row in _numpy_nms(boxes, scores.max(-1), nms)
        ]
    expected = sorted(expected, reverse=True)[:30]
    assert found.count[0] == len(expected)
    for i, (score, row, label) in enumerate(expected):
        assert found.scores[0, i] == pytest.approx(score, abs=1e-5)
        assert found.classes[0, i] == label
        np.testing.assert_allclose(found.boxes[0, i], boxes[row], atol=1e-3)


def test_only_the_best_candidates_enter() -> None:
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]
    scores = [[0.2, 0.1], [0.9, 0.8], [0.3, 0.1]]
    two = _at(boxes, scores, config.Nms(max_nms_inputs=2, score_thresh=0.05))
    assert two.count[0] == 2
    np.testing.assert_array_equal(two.classes[0, :2], [0, 1])
    per_anchor = config.Nms(
        max_nms_inputs=2, score_thresh=0.05, per_class=False
    )
    best = _at(boxes, scores, per_anchor)
    np.testing.assert_allclose(best.scores[0, :2], [0.9, 0.3], atol=1e-6)
    assert best.count[0] == 2
    every = _at(boxes, scores, config.Nms(max_nms_inputs=0, score_thresh=0.05))
    assert every.count[0] == 6


def test_candidates_are_the_best_pairs_of_anchor_and_class() -> None:
    draw = np.random.default_rng(4)
    scores = draw.uniform(0.1, 0.9, (50, 3))
    corners = np.arange(50.0)[:, None] * [10.0, 10.0]
    boxes = np.concatenate([corners, corners + 9.0], axis=-1)
    found = _at(boxes, scores, config.Nms(max_nms_inputs=20))
    assert found.count[0] == 20
    best = np.argsort(-scores, axis=None)[:20]
    np.testing.assert_allclose(
        found.scores[0, :20], scores.ravel()[best], atol=1e-5
    )
    np.testing.assert_array_equal(found.classes[0, :20], best % 3)
    np.testing.assert_allclose(found.boxes[0, :20], boxes[best // 3], atol=1e-4)


def test_at_most_max_output_size_over_all_classes() -> None:
    boxes = [[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(4)]
    scores = [[0.9, 0.8], [0.7, 0.85], [0.2, 0.3], [0.1, 0.1]]
    found = _at(boxes, scores, config.Nms(max_output_size=3))
    assert found.boxes.shape == (1, 3, 4)
    np.testing.assert_allclose(found.scores[0], [0.9, 0.85, 0.8], atol=1e-6)
    np.testing.assert_array_equal(found.classes[0], [0, 1, 1])


def test_boxes_are_scaled_and_clipped_to_the_image() -> None:
    # Network 100x100; the image fills its upper 60 rows, stored at twice that.
    anchors = np.array(
        [[-10, 20, 50, 80], [40, 50, 90, 120], [70, 10, 90, 30]], np.float32
    )
    found = _detect(
        _logit([[0.9], [0.8], [0.99]])[None],
        np.zeros((1, 3, 4)),
        anchors,
        config.Nms(method="hard"),
        scales=(2.0,),
        sizes=((120, 200),),
    )
    # The third lies in the padding alone.
    assert found.count[0] == 2
    np.testing.assert_allclose(
        found.boxes[0, :2], [[0, 40, 100, 160], [80, 100, 120, 200]]
    )


def test_nothing_found_is_all_zeros() -> None:
    found = _detect(
        np.full((2, 6, 3), ABSENT),
        np.ones((2, 6, 4)),
        np.tile([[0.0, 0.0, 8.0, 8.0]], (6, 1)),
        config.Nms(max_output_size=5),
        (1.0, 1.0),
        ((50, 50), (50, 50)),
    )
    np.testing.assert_array_equal(found.count, [0, 0])
    assert found.boxes.shape == (2, 5, 4)
    assert found.classes.dtype == np.int32
    for part in found[:3]:
        assert not part.any()


def test_images_of_a_batch_do_not_meet() -> None:
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(3, 12, 2)).astype(np.float32)
    codes = draw.normal(size=(3, 12, 4)).astype(np.float32) * 0.3
    corners = draw.uniform(0, 40, (12, 2))
    anchors = np.concatenate([corners, corners + 20], -1).astype(np.float32)
    scales = (1.0, 0.5, 3.0)
    sizes = ((60, 60), (20, 30), (150, 90))
    nms = config.Nms(max_output_size=8)
    together = _detect(logits, codes, anchors, nms, scales, sizes)
    for i in range(3):
        alone = _detect(
            logits[i : i + 1],
            codes[i : i + 1],
            anchors,
            nms,
            scales[i : i + 1],
            sizes[i : i + 1],
        )
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[i], single[0])
