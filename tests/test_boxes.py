"""Box arithmetic against NumPy in float64 and against examples by hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import boxes as box_lib


def _random_boxes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    corner = rng.uniform(-20, 80, (*shape, 2))
    sides = rng.uniform(1, 60, (*shape, 2))
    return np.concatenate([corner, corner + sides], -1).astype(np.float32)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the overlap of two boxes, one interval after the other."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = height * width
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return both / (areas - both)


def test_area_is_height_times_width_and_never_negative() -> None:
    boxes = tf.constant(
        [
            [[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 1.0, 8.0]],
            [[4.0, 2.0, 1.0, 8.0], [4.0, 8.0, 1.0, 2.0]],  # min and max swapped
        ]
    )
    np.testing.assert_array_equal(box_lib.area(boxes), [[18, 0], [0, 0]])


def test_pairwise_iou_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    first, second = _random_boxes(rng, 2, 7), _random_boxes(rng, 2, 5)
    expected = [
        [[_iou(a, b) for b in second[i]] for a in first[i]] for i in range(2)
    ]
    assert 0 < np.count_nonzero(expected) < np.size(expected)
    iou = box_lib.pairwise_iou(tf.constant(first), tf.constant(second))
    np.testing.assert_allclose(iou, expected, rtol=1e-5, atol=1e-6)


def test_pairwise_iou_shares_second_among_the_batch() -> None:
    rng = np.random.default_rng(1)
    first, second = _random_boxes(rng, 3, 2), _random_boxes(rng, 4)
    iou = box_lib.pairwise_iou(tf.constant(first), tf.constant(second))
    assert iou.shape == (3, 2, 4)
    assert float(iou[2, 1, 3]) == np.float32(
        box_lib.pairwise_iou(first[2:, 1:], second[None, 3:])[0, 0, 0]
    )


def test_pairwise_iou_of_special_boxes() -> None:
    whole = [0.0, 0.0, 10.0, 10.0]
    others = {
        "the same": (whole, 1.0),
        "its left half": ([0.0, 0.0, 10.0, 5.0], 0.5),
        "touching at an edge": ([0.0, 10.0, 10.0, 20.0], 0.0),
        "apart": ([30.0, 30.0, 40.0, 40.0], 0.0),
        "a line inside": ([5.0, 2.0, 5.0, 8.0], 0.0),
        "swapped corners": ([8.0, 8.0, 2.0, 2.0], 0.0),
    }
    iou = box_lib.pairwise_iou(
        tf.constant([whole]), tf.constant([box for box, _ in others.values()])
    )
    np.testing.assert_allclose(iou[0], [value for _, value in others.values()])


def test_pairwise_iou_of_two_points_is_zero_not_nan() -> None:
    point = tf.constant([[3.0, 3.0, 3.0, 3.0]])
    assert float(box_lib.pairwise_iou(point, point)[0, 0]) == 0.0


def test_encode_by_hand() -> None:
    # Anchor: centre (20, 30), sides 10 x 40. Box: centre (25, 20), 20 x 10.
    anchor = tf.constant([[15.0, 10.0, 25.0, 50.0]])
    box = tf.constant([[15.0, 15.0, 35.0, 25.0]])
    np.testing.assert_allclose(
        box_lib.encode(box, anchor),
        [[0.5, -0.25, np.log(2.0), np.log(0.25)]],
        rtol=1e-6,
    )


def test_decode_undoes_encode() -> None:
    rng = np.random.default_rng(2)
    boxes, anchors = _random_boxes(rng, 2, 50), _random_boxes(rng, 50)
    codes = box_lib.encode(tf.constant(boxes), tf.constant(anchors))
    assert codes.shape == (2, 50, 4)
    np.testing.assert_allclose(
        box_lib.decode(codes, tf.constant(anchors)), boxes, atol=1e-4
    )


def test_codes_of_zero_are_the_anchor() -> None:
    anchors = _random_boxes(np.random.default_rng(3), 5)
    decoded = box_lib.decode(tf.zeros([5, 4]), tf.constant(anchors))
    np.testing.assert_allclose(decoded, anchors, atol=1e-5)


def test_encode_of_a_box_without_area_is_finite() -> None:
    codes = box_lib.encode(tf.zeros([1, 4]), tf.constant([[0.0, 0.0, 4.0, 4]]))
    assert np.isfinite(codes.numpy()).all()


def test_clip_cuts_at_all_four_sides() -> None:
    boxes = tf.constant(
        [
            [-5.0, -6.0, 50.0, 60.0],
            [3.0, 4.0, 8.0, 9.0],
            [10.0, 20.0, 10.0, 20.0],  # at the far corner
            [40.0, 50.0, 60.0, 70.0],
        ]
    )
    np.testing.assert_array_equal(
        box_lib.clip(boxes, tf.constant(10), tf.constant(20)),
        [[0, 0, 10, 20], [3, 4, 8, 9], [10, 20, 10, 20], [10, 20, 10, 20]],
    )
