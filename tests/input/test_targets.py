"""Targets against a brute-force matcher in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import targets as targets_lib
from hparams import config

IMAGE_SIZE = (64, 96)
ANCHORS = anchors_lib.anchor_boxes(config.Anchors(), IMAGE_SIZE)


def _iou(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Returns [N, A] float32 overlaps."""
    low = np.maximum(boxes[:, None, :2], anchors[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], anchors[None, :, 2:])
    overlap = np.maximum(high - low, 0).prod(-1)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, anchors)]
    return overlap / (areas[0][:, None] + areas[1] - overlap)


def _match(
    boxes: np.ndarray, anchors: np.ndarray, match_iou: float
) -> np.ndarray:
    """Returns each anchor's box or -1, one pair after the other.

    First come the overlaps of at least match_iou, then each box gets an anchor
    of its own: the best pair of all boxes and anchors still without, again and
    again.
    """
    matched = np.full(len(anchors), -1)
    if len(boxes) == 0:
        return matched
    iou = _iou(boxes, anchors)
    for a in range(len(anchors)):
        if iou[:, a].max() >= match_iou:
            matched[a] = iou[:, a].argmax()
    for _ in boxes:
        box, anchor = np.unravel_index(iou.argmax(), iou.shape)
        matched[anchor] = box
        iou[box] = -1.0
        iou[:, anchor] = -1.0
    return matched


def _codes(box: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """Returns the code of one box at one anchor."""
    sides, anchor_sides = box[2:] - box[:2], anchor[2:] - anchor[:2]
    shift = (box[:2] + box[2:] - anchor[:2] - anchor[2:]) / 2 / anchor_sides
    return np.concatenate([shift, np.log(sides / anchor_sides)])


def _random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns boxes of all sizes, some beyond the image's border."""
    sides = np.exp(rng.uniform(np.log(2.0), np.log(60.0), (count, 2)))
    corner = rng.uniform(-10.0, 1.0, (count, 2))
    corner = corner + rng.uniform(0, 1, (count, 2)) * IMAGE_SIZE
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def _assign(
    boxes: np.ndarray,
    classes: np.ndarray,
    num_boxes: list[int],
    match_iou: float = 0.5,
    anchors: np.ndarray = ANCHORS,
) -> tuple[np.ndarray, np.ndarray]:
    found = targets_lib.assign_targets(
        tf.constant(boxes, tf.float32),
        tf.constant(classes, tf.int32),
        tf.constant(num_boxes, tf.int32),
        tf.constant(anchors),
        match_iou,
    )
    assert found.classes.dtype == tf.int32
    assert found.boxes.dtype == tf.float32
    assert found.classes.shape == (len(boxes), len(anchors))
    assert found.boxes.shape == (len(boxes), len(anchors), 4)
    return found.classes.numpy(), found.boxes.numpy()


@pytest.mark.parametrize("match_iou", [0.5, 0.2])
@pytest.mark.parametrize("num_rows", [11, 8, 1])
def test_mixed_batch_equals_brute_force(
    num_rows: int, match_iou: float
) -> None:
    rng = np.random.default_rng(num_rows)
    num_boxes = [0, num_rows, num_rows // 2, min(1, num_rows)]
    boxes = np.stack([_random_boxes(rng, num_rows) for _ in num_boxes])
    classes = rng.integers(0, 4, (len(num_boxes), num_rows))
    # Rows beyond num_boxes hold boxes too: they must not count.
    found, codes = _assign(boxes, classes, num_boxes, match_iou)
    for i, count in enumerate(num_boxes):
        matched = _match(boxes[i, :count], ANCHORS, match_iou)
        positive = matched >= 0
        expected = np.where(positive, classes[i][matched], -1)
        np.testing.assert_array_equal(found[i], expected)
        assert set(matched[positive]) == set(range(count))
        for a in np.flatnonzero(positive):
            np.testing.assert_allclose(
                codes[i, a], _codes(boxes[i, matched[a]], ANCHORS[a]),
                rtol=1e-4, atol=1e-5,
            )  # fmt: skip
        assert not codes[i][~positive].any()


def _inner_anchor() -> np.ndarray:
    """Returns a square anchor of the finest level well inside the image."""
    return ANCHORS[9 * (12 * 4 + 6)]


@pytest.mark.parametrize("num_between", [0, 9])
def test_first_of_equal_boxes_takes_shared_anchors(num_between: int) -> None:
    # A last box just as good at every anchor as the first, of another class;
    # so many between that the two are not looked at together.
    box = _inner_anchor() + np.array([1.0, 1.0, -1.0, -1.0], np.float32)
    between = np.tile(np.array([0, 0, 2, 2], np.float32), [num_between, 1])
    boxes = np.concatenate([box[None], between, box[None]])
    classes = np.array([2, *[0] * num_between, 3])
    found, _ = _assign(boxes[None], classes[None], [len(boxes)])
    matched = _match(boxes, ANCHORS, 0.5)
    np.testing.assert_array_equal(
        found[0], np.where(matched < 0, -1, classes[matched])
    )
    assert (found[0] == 3).sum() == 1
    assert (found[0] == 2).sum() > 1


def test_a_box_takes_the_first_of_equal_anchors() -> None:
    # Four anchors of one cell's corners overlap the box alike, below 0.5.
    anchors = np.array(
        [[0, 0, 8, 8], [0, 8, 8, 16], [8, 0, 16, 8], [8, 8, 16, 16]],
        np.float32,
    )
    box = np.array([[[4.0, 4.0, 12.0, 12.0]]])
    found, _ = _assign(box, np.array([[0]]), [1], anchors=anchors)
    np.testing.assert_array_equal(found[0], [0, -1, -1, -1])


@pytest.mark.parametrize("exact_first", [True, False])
def test_better_overlap_keeps_the_anchor(exact_first: bool) -> None:
    exact = _inner_anchor()
    near = exact + np.array([0.5, 0.5, 0.5, 0.5], np.float32)
    order = [0, 1] if exact_first else [1, 0]
    boxes = np.stack([exact, near])[order]
    # A threshold of 1: no anchor but a box's own is positive.
    found, codes = _assign(boxes[None], np.array([[0, 1]])[:, order], [2], 1.0)
    place = int(np.flatnonzero((exact == ANCHORS).all(axis=1))[0])
    assert found[0, place] == 0
    assert (found[0] == 0).sum() == (found[0] == 1).sum() == 1
    np.testing.assert_array_equal(codes[0, place], np.zeros(4))


def test_as_many_equal_boxes_as_rows_have_an_anchor_each() -> None:
    box = np.tile(_inner_anchor(), [9, 1])
    found, codes = _assign(box[None], np.arange(9)[None], [9], 1.0)
    assert sorted(found[0][found[0] >= 0]) == list(range(9))
    assert np.isfinite(codes).all()


@pytest.mark.parametrize(
    "box",
    [
        [0.0, 0.0, 64.0, 96.0],  # the whole image
        [63.0, 95.0, 64.0, 96.0],  # one pixel in the far corner
        [0.0, 0.0, 64.0, 0.01],  # a line at the edge
    ],
)
def test_any_box_has_an_anchor(box: list[float]) -> None:
    found, codes = _assign(np.array([[box]]), np.array([[1]]), [1])
    assert (found[0] == 1).any()
    assert set(found[0]) <= {-1, 1}
    assert np.isfinite(codes).all()


@pytest.mark.parametrize("by_xla", [False, True])
def test_same_targets_inside_a_compiled_function(by_xla: bool) -> None:
    boxes = _random_boxes(np.random.default_rng(5), 10)[None]
    classes, num_boxes = np.arange(10)[None], [7]

    @tf.function(jit_compile=by_xla)
    def compiled(boxes: tf.Tensor, num_boxes: tf.Tensor) -> targets_lib.Targets:
        return targets_lib.assign_targets(
            boxes, tf.constant(classes, tf.int32), num_boxes, ANCHORS, 0.5
        )

    found = compiled(tf.constant(boxes), tf.constant(num_boxes))
    eager = _assign(boxes, classes, num_boxes)
    np.testing.assert_array_equal(found.classes, eager[0])
    np.testing.assert_allclose(found.boxes, eager[1], atol=1e-6)


def _operations(graph: tf.Graph) -> list[tf.Operation]:
    """Returns the operations of a graph and of the loops' bodies."""
    found = list(graph.get_operations())
    for name in graph._functions:
        found += _operations(graph._get_function(name).graph)
    return found


def test_all_shapes_are_static() -> None:
    """A TPU computes nothing whose shape depends on values."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([2, 11, 4], tf.float32),
            tf.TensorSpec([2, 11], tf.int32),
            tf.TensorSpec([2], tf.int32),
        ]
    )
    def assign(
        boxes: tf.Tensor, classes: tf.Tensor, num_boxes: tf.Tensor
    ) -> targets_lib.Targets:
        return targets_lib.assign_targets(
            boxes, classes, num_boxes, tf.constant(ANCHORS), 0.5
        )

    operations = _operations(assign.get_concrete_function().graph)
    assert any(op.type == "TensorScatterUpdate" for op in operations)
    for op in operations:
        assert op.type != "Where", op.name
        # What a loop's condition is given and does not read has no shape.
        for tensor in op.outputs if op.type != "Placeholder" else ():
            assert tensor.shape.is_fully_defined(), tensor
