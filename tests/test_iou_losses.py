"""IoU losses against numbers by hand and against official ones.

data/iou_losses.npz holds what the official EfficientDet (google/automl, commit
6a54c874, unpatched) makes of eight pairs of boxes, and its loss terms for the
batch of data/losses.npz (image 0) and for a batch with a second image.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import losses
from hparams import config

DATA = pathlib.Path(__file__).parent / "data"
KINDS = ("iou", "giou", "diou", "ciou")
ANCHORS = anchors_lib.anchor_boxes(config.Anchors(), (128, 192))


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    with np.load(DATA / "iou_losses.npz") as arrays:
        return dict(arrays)


def _loss(kind: str, boxes: object, targets: object) -> Any:
    return losses.iou_loss(
        tf.constant(boxes, tf.float32), tf.constant(targets, tf.float32), kind
    ).numpy()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Boxes of 10x10 that share 5x10: 50 of 150. Hull 10x15, all covered.
        # Centres 5 apart, diagonal 15^2 + 10^2 = 325.
        ("iou", 2 / 3),
        ("giou", 2 / 3),
        ("diou", 2 / 3 + 25 / 325),
        ("ciou", 2 / 3 + 25 / 325),
    ],
)
def test_half_covered_square_by_hand(kind: str, expected: float) -> None:
    found = _loss(kind, [0, 0, 10, 10], [0, 5, 10, 15])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_aspect_ratio_by_hand() -> None:
    # 20x10 inside 20x20, same centre: overlap 1/2. atan(1) - atan(1/2) is
    # .32175, v = (2 / pi * .32175)^2 = .041956, alpha = v / (1/2 + v).
    v = (2 / np.pi * (np.arctan(1.0) - np.arctan(0.5))) ** 2
    found = _loss("ciou", [0, 5, 20, 15], [0, 0, 20, 20])
    np.testing.assert_allclose(found, 0.5 + v * v / (0.5 + v), rtol=1e-5)


def test_pairs_equal_the_official_ones(official: dict[str, np.ndarray]) -> None:
    # The seventh pair is of empty boxes: officially no loss. Here only anchors
    # with an object have a loss, and objects have an area.
    rows = [i for i in range(8) if i != 6]
    for kind in KINDS:
        boxes = tf.constant(official["boxes"])
        with tf.GradientTape() as tape:
            tape.watch(boxes)
            loss = losses.iou_loss(
                boxes, tf.constant(official["targets"]), kind
            )
        np.testing.assert_allclose(
            loss.numpy()[rows], official[f"{kind}/loss"][rows], atol=2e-6
        )
        # Identical boxes, the first pair, have a kink there: which of equal
        # sides gets the gradient is a choice.
        np.testing.assert_allclose(
            tape.gradient(loss, boxes).numpy()[rows[1:]],
            official[f"{kind}/gradient"][rows[1:]],
            atol=2e-6,
            err_msg=kind,
        )


def test_loss_and_gradient_are_finite_without_area() -> None:
    for kind in KINDS:
        boxes = tf.zeros([2, 4])
        with tf.GradientTape() as tape:
            tape.watch(boxes)
            loss = losses.iou_loss(
                boxes, tf.constant([[0.0, 0, 0, 0], [0, 0, 5, 5]]), kind
            )
        assert np.isfinite(loss).all()
        assert np.isfinite(tape.gradient(loss, boxes)).all(), kind


def _batch(official: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns outputs and targets of two images, [2, A, ...]."""
    with np.load(DATA / "losses.npz") as arrays:
        first = dict(arrays)
    return {
        name: np.stack([first[name], official[f"second/{name}"]])
        for name in ("codes", "target_classes", "target_codes")
    }


def _term(batch: dict[str, np.ndarray], section: config.Loss) -> losses.Losses:
    classes = batch["target_classes"]
    return losses.detection_loss(
        tf.zeros([*classes.shape, 4]),
        tf.constant(batch["codes"]),
        tf.constant(classes),
        tf.constant(batch["target_codes"]),
        tf.constant(np.sum(classes >= 0), tf.float32),
        tf.constant(ANCHORS),
        section,
    )


def _decode(codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    sides = anchors[..., 2:] - anchors[..., :2]
    centre = codes[..., :2] * sides + anchors[..., :2] + sides / 2
    half = np.exp(codes[..., 2:]) * sides / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def _official_term(
    batch: dict[str, np.ndarray], anchors: np.ndarray, kind: str
) -> float:
    """The official rule: coordinates whose code should be 0 count as 0."""
    codes = batch["target_codes"].astype(np.float64)
    is_read = codes != 0.0
    boxes = _decode(batch["codes"].astype(np.float64), anchors) * is_read
    targets = _decode(codes, anchors) * is_read
    rows = is_read.any(axis=-1)
    loss = _loss(kind, boxes[rows], targets[rows]).sum()
    positives = int(np.sum(batch["target_classes"] >= 0))
    return float(loss) / (4.0 * (positives + 1.0))


def _shuffled_anchors() -> np.ndarray:
    """Anchors as the official loss pairs them with two images' predictions.

    Predictions come level by level, both images of a level together; the
    anchors come image by image.
    """
    cells = [16 * 24, 8 * 12, 4 * 6, 2 * 3, 1 * 2]
    order = []
    start = 0
    for count in (9 * c for c in cells):
        for image in range(2):
            order += [
                (image, start + i) for i in range(count)
            ]  # the prediction at this place of the list
        start += count
    paired = np.zeros((2, len(ANCHORS), 4))
    for place, (image, anchor) in enumerate(order):
        paired[image, anchor] = ANCHORS[place % len(ANCHORS)]
    return paired


@pytest.mark.parametrize("kind", KINDS)
def test_official_terms_follow_from_its_two_rules(
    official: dict[str, np.ndarray], kind: str
) -> None:
    batch = _batch(official)
    first = {name: value[:1] for name, value in batch.items()}
    np.testing.assert_allclose(
        _official_term(first, ANCHORS[None], kind),
        official[f"{kind}/first"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        _official_term(batch, _shuffled_anchors(), kind),
        official[f"{kind}/both"],
        rtol=1e-5,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_term_equals_the_official_one_but_for_these_rules(
    official: dict[str, np.ndarray], kind: str
) -> None:
    batch = _batch(official)
    section = config.Loss(iou_loss_type=kind, iou_loss_weight=2.0)
    found = _term(batch, section)
    # No code is exactly 0, and every prediction meets its own anchor.
    codes = batch["target_codes"]
    is_positive = batch["target_classes"][..., None] >= 0
    moved = np.where(is_positive & (codes == 0.0), np.float32(1e-30), codes)
    right = _official_term({**batch, "target_codes": moved}, ANCHORS, kind)
    assert right != pytest.approx(float(official[f"{kind}/both"]), rel=1e-3)
    np.testing.assert_allclose(found.iou_loss, right, rtol=1e-5)
    np.testing.assert_allclose(
        found.total,
        found.class_loss + 50.0 * found.box_loss + 2.0 * found.iou_loss,
        rtol=1e-6,
    )


def test_without_the_term_nothing_is_added(
    official: dict[str, np.ndarray],
) -> None:
    found = _term(_batch(official), config.Loss())
    assert float(found.iou_loss) == 0.0
    np.testing.assert_allclose(
        found.total, found.class_loss + 50.0 * found.box_loss, rtol=1e-6
    )
