"""Targets against official labels, and where they differ.

data/labels.npz holds the positive anchors that the official EfficientDet
(google/automl, commit 6a54c874, unpatched) finds for given boxes, their classes
and codes. Its rule is written out here in NumPy; the product has its own.
"""

from __future__ import annotations

import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import targets as targets_lib
from hparams import config

REFERENCE = pathlib.Path(__file__).parents[1] / "data" / "labels.npz"
# All but `rect` are of 512x512 images.
CASES = ("a", "clipped", "none", "duplicates", "exact_anchor", "rect")
# Anchors with another label than officially: those that two objects want. The
# last two tests say which they are.
NUM_DIFFERING = {"a": 1, "clipped": 1, "duplicates": 1}


@functools.cache
def _anchors(case: str) -> np.ndarray:
    size = (256, 384) if case == "rect" else (512, 512)
    return anchors_lib.anchor_boxes(config.Anchors(), size)


@functools.cache
def _reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def _objects(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes [N, 4] and classes [N]; officially they start at 1."""
    return _reference()[f"{case}/boxes"], _reference()[f"{case}/classes"]


def _official_labels(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the reference's classes [A] and codes [A, 4]."""
    part = {
        name: _reference()[f"{case}/{name}"]
        for name in ("anchors", "anchor_classes", "codes", "num_anchors")
    }
    assert len(_anchors(case)) == part["num_anchors"]
    classes = np.full(len(_anchors(case)), -1)
    codes = np.zeros((len(classes), 4), np.float32)
    classes[part["anchors"]] = part["anchor_classes"]
    codes[part["anchors"]] = part["codes"]
    return classes, codes


def _iou(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Returns [N, A] float32 overlaps."""
    low = np.maximum(boxes[:, None, :2], anchors[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], anchors[None, :, 2:])
    overlap = np.maximum(high - low, 0).prod(-1)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, anchors)]
    return overlap / (areas[0][:, None] + areas[1] - overlap)


def _official_match(case: str) -> np.ndarray:
    """Returns each anchor's object or -1, by the official rule.

    Of equal overlaps the first counts. An anchor that is the best of several
    objects goes to the first of them; the others get nothing instead.
    """
    boxes, _ = _objects(case)
    matched = np.full(len(_anchors(case)), -1)
    if len(boxes) == 0:
        return matched
    iou = _iou(boxes, _anchors(case))
    matched = np.where(iou.max(axis=0) >= 0.5, iou.argmax(axis=0), -1)
    for box in reversed(range(len(boxes))):
        matched[iou[box].argmax()] = box
    return matched


def _codes(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    sides, anchor_sides = (b[:, 2:] - b[:, :2] for b in (boxes, anchors))
    moved = boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]
    return np.concatenate(
        [moved / 2 / anchor_sides, np.log(sides / anchor_sides)], axis=1
    )


def _ours(
    cases: tuple[str, ...], num_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns our targets of all cases as one batch.

    Rows beyond a case's objects hold the objects of another image: whatever
    they hold, it must not count.
    """
    filling = _reference()["a/boxes"]
    boxes = np.tile(filling, (num_rows // len(filling) + 1, 1))[:num_rows]
    batch = np.stack([boxes] * len(cases))
    classes = np.full((len(cases), num_rows), 3)
    counts = []
    for i, case in enumerate(cases):
        own, labels = _objects(case)
        counts.append(len(own))
        batch[i, : len(own)] = own
        classes[i, : len(own)] = labels - 1
    found = targets_lib.assign_targets(
        tf.constant(batch),
        tf.constant(classes, tf.int32),
        tf.constant(counts),
        tf.constant(_anchors(cases[0])),
        0.5,
    )
    return found.classes.numpy(), found.boxes.numpy()


def _check(case: str, classes: np.ndarray, codes: np.ndarray) -> None:
    """Compares with the reference, but for the anchors that two want."""
    expected, expected_codes = _official_labels(case)
    same = classes == expected
    assert (~same).sum() == NUM_DIFFERING.get(case, 0)
    np.testing.assert_allclose(
        codes[same], expected_codes[same], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("case", CASES)
def test_official_rule_gives_the_official_labels(case: str) -> None:
    expected, expected_codes = _official_labels(case)
    matched = _official_match(case)
    boxes, labels = _objects(case)
    positive = matched >= 0
    assert positive.sum() == _reference()[f"{case}/num_positives"]
    np.testing.assert_array_equal(positive, expected >= 0)
    np.testing.assert_array_equal(
        labels[matched[positive]] - 1, expected[positive]
    )
    np.testing.assert_allclose(
        _codes(boxes[matched[positive]], _anchors(case)[positive]),
        expected_codes[positive],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("case", CASES)
def test_image_alone_equals_the_official_labels(case: str) -> None:
    num_rows = max(1, len(_objects(case)[0]))
    classes, codes = _ours((case,), num_rows)
    _check(case, classes[0], codes[0])


@pytest.mark.parametrize("num_rows", [12, 29])
def test_mixed_batch_equals_the_official_labels(num_rows: int) -> None:
    cases = CASES[:-1]
    assert {len(_objects(case)[0]) for case in cases} == {0, 2, 3, 12}
    classes, codes = _ours(cases, num_rows)
    for i, case in enumerate(cases):
        _check(case, classes[i], codes[i])


def test_ids_from_0_lose_the_first_class_officially() -> None:
    # Every label is one less; what becomes -1 there counts as background, with
    # the codes still in place. Here ids on disk start at 1, and 0 is refused
    # before the first step.
    shifted, shifted_codes = _official_labels("ids0to3")
    expected, codes = _official_labels("a")
    np.testing.assert_array_equal(_objects("ids0to3")[0], _objects("a")[0])
    np.testing.assert_array_equal(_objects("ids0to3")[1] + 1, _objects("a")[1])
    np.testing.assert_array_equal(shifted, np.maximum(expected - 1, -1))
    np.testing.assert_array_equal(shifted_codes, codes)
    lost = np.flatnonzero((expected == 0) & (shifted == -1))
    assert len(lost) == 27
    # Counted from 0, as here in memory, every one of them is an object's.
    assert (_ours(("a",), 12)[0][0][lost] == 0).all()


@pytest.mark.parametrize("case", ["a", "clipped"])
def test_better_overlap_keeps_the_anchor_of_two_objects(case: str) -> None:
    # Boxes 1 and 2 are both best at one anchor. Officially the first has it;
    # here the one that overlaps it more, and the first takes its next best.
    boxes, labels = _objects(case)
    iou = _iou(boxes, _anchors(case))
    shared = iou[1].argmax()
    assert iou[2].argmax() == shared
    assert iou[2, shared] > iou[1, shared]
    official, _ = _official_labels(case)
    classes, codes = _ours((case,), 12)
    assert np.flatnonzero(classes[0] != official) == [shared]
    assert official[shared] == labels[1] - 1
    assert classes[0, shared] == labels[2] - 1
    wanted = _codes(boxes[2:3], _anchors(case)[shared : shared + 1])
    np.testing.assert_allclose(codes[0, shared], wanted[0], atol=1e-5)
    iou[:, shared] = -1.0
    assert classes[0, iou[1].argmax()] == labels[1] - 1


def test_three_objects_on_one_anchor() -> None:
    # Two boxes are the same, the third nearly so. Officially the second has no
    # anchor; here it takes the next best one that nobody wants more.
    boxes, _ = _objects("duplicates")
    official, official_codes = _official_labels("duplicates")
    iou = _iou(boxes, _anchors("duplicates"))
    assert iou[0].argmax() == iou[1].argmax()
    assert sorted(official[official >= 0]) == [0, 2]
    classes, codes = _ours(("duplicates",), 3)
    at = np.flatnonzero(classes[0] >= 0)
    owners = {int(classes[0, anchor]): int(anchor) for anchor in at}
    assert sorted(owners) == [0, 1, 2]
    assert len(at) == 3
    for label in (0, 2):
        assert official[owners[label]] == label
        np.testing.assert_allclose(
            codes[0, owners[label]], official_codes[owners[label]], atol=1e-5
        )
    iou[:, [owners[0], owners[2]]] = -1.0
    assert owners[1] == iou[1].argmax()
    wanted = _codes(boxes[1:2], _anchors("duplicates")[[owners[1]]])
    np.testing.assert_allclose(codes[0, owners[1]], wanted[0], atol=1e-5)
