"""Losses of a batch of two images against official numbers.

data/losses_batch.npz holds the targets of two 128x192 images with four classes
(positive anchors alone), and what the official EfficientDet (google/automl,
commit 6a54c874, unpatched) makes of them and of outputs drawn from a seed.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import losses
from efficientdet_aimmo.data import targets as targets_lib
from hparams import config

REFERENCE = pathlib.Path(__file__).parent / "data" / "losses_batch.npz"
SIZE = (128, 192)
# Anchors of levels 3 to 7: nine per cell.
LEVELS = [9 * h * w for h, w in anchors_lib.feature_sizes(SIZE, 7)[3:]]
NUM_ANCHORS = sum(LEVELS)
CASES = {
    "default": config.Loss(),
    "ls0.1": config.Loss(label_smoothing=0.1),
    "gamma2": config.Loss(gamma=2.0, alpha=0.4, delta=0.5),
}


class Batch(NamedTuple):
    logits: np.ndarray  # [2, A, 4]
    codes: np.ndarray  # [2, A, 4]
    target_classes: np.ndarray  # [2, A]
    target_codes: np.ndarray  # [2, A, 4]


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def batch(official: dict[str, np.ndarray]) -> Batch:
    draw = np.random.RandomState(7)
    logits, codes = [], []
    for count in LEVELS:  # level by level, logits first, as it was done there
        logits.append(draw.randn(2, count, 4) * 1.5 - 2.5)
        codes.append(draw.randn(2, count, 4) * 0.3)
    classes = np.full((2, NUM_ANCHORS), -1, np.int32)
    target_codes = np.zeros((2, NUM_ANCHORS, 4), np.float32)
    at = official["images"], official["anchors"]
    classes[at] = official["anchor_classes"]
    target_codes[at] = official["codes"]
    return Batch(
        np.concatenate(logits, axis=1).astype(np.float32),
        np.concatenate(codes, axis=1).astype(np.float32),
        classes,
        target_codes,
    )


def _by_level(values: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.cumsum(LEVELS)[:-1], axis=1)


def _huber(errors: np.ndarray, delta: float) -> np.ndarray:
    size = np.abs(errors.astype(np.float64))
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


def test_targets_are_the_official_ones(
    official: dict[str, np.ndarray], batch: Batch
) -> None:
    boxes = np.zeros((2, 5, 4), np.float32)
    classes = np.zeros((2, 5), np.int32)
    for i in range(2):
        own = official[f"boxes_{i}"]
        boxes[i, : len(own)] = own
        classes[i, : len(own)] = official[f"classes_{i}"] - 1
    found = targets_lib.assign_targets(
        tf.constant(boxes),
        tf.constant(classes),
        tf.constant([4, 1]),
        tf.constant(anchors_lib.anchor_boxes(config.Anchors(), SIZE)),
        0.5,
    )
    np.testing.assert_array_equal(found.classes, batch.target_classes)
    np.testing.assert_allclose(
        found.boxes, batch.target_codes, rtol=1e-4, atol=1e-5
    )
    num_positives = (batch.target_classes >= 0).sum(axis=1)
    np.testing.assert_array_equal(official["num_positives"], num_positives)
    assert official["normalizer"] == num_positives.sum() + 1


@pytest.mark.parametrize("smoothing", ["0.0", "0.1"])
def test_focal_loss_by_element_and_by_level(
    official: dict[str, np.ndarray], batch: Batch, smoothing: str
) -> None:
    found = losses.focal_loss(
        tf.constant(batch.logits),
        tf.constant(batch.target_classes),
        0.25,
        1.5,
        float(smoothing),
    )
    by_level = _by_level(found.numpy() / official["normalizer"])
    np.testing.assert_allclose(
        by_level[2], official[f"focal_elementwise_ls{smoothing}"], rtol=1e-4
    )
    np.testing.assert_allclose(
        [level.sum(dtype=np.float64) for level in by_level],
        official[f"focal_sum_ls{smoothing}"],
        rtol=1e-5,
    )


def test_huber_loss_by_element_and_by_level(
    official: dict[str, np.ndarray], batch: Batch
) -> None:
    expected = _huber(batch.codes - batch.target_codes, 0.1)
    found = losses.huber_loss(
        tf.constant(batch.codes), tf.constant(batch.target_codes), 0.1
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    # The official loss takes a target of exactly 0 for an anchor without an
    # object, and leaves out such codes of anchors that have one.
    left_out = batch.target_codes == 0.0
    by_level = _by_level(np.where(left_out, 0.0, expected))
    np.testing.assert_allclose(
        [level.sum() / (4 * official["normalizer"]) for level in by_level],
        official["huber"],
        rtol=1e-5,
        atol=1e-12,
    )
    is_positive = (batch.target_classes >= 0)[..., None]
    assert (left_out & is_positive).sum() == 12


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("images", [2, 1])
def test_detection_loss(
    official: dict[str, np.ndarray], batch: Batch, case: str, images: int
) -> None:
    loss = CASES[case]
    used = Batch(*(part[:images] for part in batch))
    num_positives = official["num_positives"][:images].sum()
    found = losses.detection_loss(
        tf.constant(used.logits),
        tf.constant(used.codes),
        tf.constant(used.target_classes),
        tf.constant(used.target_codes),
        tf.constant(num_positives, tf.float32),
        tf.zeros([used.codes.shape[1], 4]),
        loss,
    )
    prefix = case if images == 2 else f"image0/{case}"
    np.testing.assert_allclose(
        found.class_loss, official[f"{prefix}/cls_loss"], rtol=1e-5
    )
    # Ours counts all four codes of a positive anchor. Without those whose
    # target is exactly 0, both terms and their sum are the official ones.
    huber = _huber(used.codes - used.target_codes, loss.delta)
    per_code = 4 * (num_positives + 1)
    is_positive = (used.target_classes >= 0)[..., None]
    left_out = is_positive & (used.target_codes == 0.0)
    missing = huber[left_out].sum() / per_code
    assert missing > 0.0
    np.testing.assert_allclose(
        float(found.box_loss) - missing,
        official[f"{prefix}/box_loss"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        float(found.total) - loss.box_loss_weight * missing,
        official[f"{prefix}/det_loss"],
        rtol=1e-5,
    )
