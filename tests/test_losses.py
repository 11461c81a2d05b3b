"""Losses against NumPy formulas and against official numbers.

data/losses.npz holds raw outputs and targets of one 128x192 image with four
classes, and what the official EfficientDet (google/automl, commit 6a54c874,
unpatched) makes of them.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import boxes as box_lib
from efficientdet_aimmo import losses
from hparams import config

REFERENCE = pathlib.Path(__file__).parent / "data" / "losses.npz"
CASES = {
    "default": config.Loss(),
    "ls0.1": config.Loss(label_smoothing=0.1),
    "gamma2": config.Loss(gamma=2.0, alpha=0.4, delta=0.5),
}


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def _focal(
    logits: np.ndarray, classes: np.ndarray, loss: config.Loss
) -> np.ndarray:
    """Returns the focal loss of every logit, by probabilities."""
    p = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    y = np.arange(logits.shape[-1]) == classes[..., None]
    smoothed = y * (1.0 - loss.label_smoothing) + 0.5 * loss.label_smoothing
    entropy = -smoothed * np.log(p) - (1.0 - smoothed) * np.log(1.0 - p)
    p_right = np.where(y, p, 1.0 - p)
    weight = np.where(y, loss.alpha, 1.0 - loss.alpha)
    return weight * (1.0 - p_right) ** loss.gamma * entropy


def _huber(codes: np.ndarray, targets: np.ndarray, delta: float) -> np.ndarray:
    error = np.abs(codes.astype(np.float64) - targets)
    return np.where(
        error <= delta, error**2 / 2.0, delta * error - delta**2 / 2.0
    )


def _loss(
    logits: np.ndarray,
    codes: np.ndarray,
    classes: np.ndarray,
    targets: np.ndarray,
    num_positives: float,
    loss: config.Loss,
) -> losses.Losses:
    """Returns the loss of one batch as numbers."""
    terms = losses.detection_loss(
        tf.constant(logits),
        tf.constant(codes),
        tf.constant(classes),
        tf.constant(targets),
        tf.constant(num_positives, tf.float32),
        tf.zeros([logits.shape[-2], 4]),
        loss,
    )
    assert {(t.dtype, t.shape.rank) for t in terms} == {(tf.float32, 0)}
    return losses.Losses(*(float(t) for t in terms))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_loss_equals_numpy(smoothing: float, gamma: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 4.0, (2, 30, 3)).astype(np.float32)
    classes = rng.integers(-2, 3, (2, 30)).astype(np.int32)
    section = config.Loss(gamma=gamma, label_smoothing=smoothing, alpha=0.3)
    found = losses.focal_loss(
        tf.constant(logits), tf.constant(classes), 0.3, gamma, smoothing
    )
    expected = _focal(logits, classes, section)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_focal_loss_and_gradient_are_finite_for_extreme_logits() -> None:
    logits = tf.constant([[-200.0, 200.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.focal_loss(logits, tf.constant([0]), 0.25, 1.5, 0.0)
    # Wrong by 200 costs alpha * 200; (1 - alpha) * 200 for the other class.
    np.testing.assert_allclose(loss[0, :2], [50.0, 150.0], rtol=1e-5)
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


@pytest.mark.parametrize("gamma", [0.7, 1.5, 2.0])
@pytest.mark.parametrize("right", [0, -1])
def test_focal_loss_and_gradient_are_exact_for_sure_answers(
    right: int, gamma: float
) -> None:
    # Where a probability is far below a float's last digit, too.
    x = np.linspace(-25.0, 25.0, 101)[:, None]
    p, q = 1.0 / (1.0 + np.exp(-x)), 1.0 / (1.0 + np.exp(x))
    sign = 1.0
    if right == 0:  # the same with both answers exchanged
        p, q, sign = q, p, -1.0
    entropy = np.log1p(np.exp(sign * x))
    factor = (0.25 if right == 0 else 0.75) * p**gamma
    gradient = sign * factor * (gamma * q * entropy + p)
    logits = tf.constant(x, tf.float32)
    classes = tf.fill([len(x)], right)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.focal_loss(logits, classes, 0.25, gamma, 0.0)
    np.testing.assert_allclose(loss, factor * entropy, rtol=5e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits), gradient, rtol=5e-6)
    settings = losses._Focal(0.25, gamma, 0.0)
    compiled = losses._compiled_gradient(
        logits, classes, settings, tf.constant(1.0)
    )
    np.testing.assert_allclose(compiled, gradient, rtol=5e-6)


def test_logarithm_of_one_and_more() -> None:
    x = np.concatenate([np.linspace(0.0, 1.0, 101), np.logspace(-30, -1, 30)])
    found = losses._log1p(tf.constant(x, tf.float32))
    np.testing.assert_allclose(
        found, np.log1p(x.astype(np.float32).astype(np.float64)), rtol=3e-7
    )


@pytest.mark.parametrize("case", CASES)
def test_focal_gradient_is_the_slope(case: str) -> None:
    section = CASES[case]
    rng = np.random.default_rng(5)
    logits = rng.normal(0.0, 3.0, (2, 40, 3)).astype(np.float32)
    classes = rng.integers(-1, 3, (2, 40)).astype(np.int32)
    higher, lower = (
        _focal(logits.astype(np.float64) + by, classes, section)
        for by in (1e-5, -1e-5)
    )
    values = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = losses.focal_loss(
            values,
            tf.constant(classes),
            section.alpha,
            section.gamma,
            section.label_smoothing,
        )
    np.testing.assert_allclose(
        tape.gradient(loss, values), (higher - lower) / 2e-5, atol=2e-6
    )


@pytest.mark.parametrize("smoothing", ["0.0", "0.1"])
def test_focal_loss_equals_the_official_one(
    official: dict[str, np.ndarray], smoothing: str
) -> None:
    # Level 5 of the five: 4x6 cells with 9 anchors, after 16x24 and 8x12.
    level = slice(9 * (16 * 24 + 8 * 12), 9 * (16 * 24 + 8 * 12 + 4 * 6))
    found = losses.focal_loss(
        tf.constant(official["logits"][level]),
        tf.constant(official["target_classes"][level]),
        0.25,
        1.5,
        float(smoothing),
    )
    # Divided by one more than the positives of the image and a second one.
    expected = 94.0 * official[f"focal_elementwise_ls{smoothing}"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_huber_loss_equals_numpy() -> None:
    rng = np.random.default_rng(1)
    codes = rng.normal(0.0, 0.3, (50, 4)).astype(np.float32)
    targets = rng.normal(0.0, 0.3, (50, 4)).astype(np.float32)
    for delta in (0.1, 0.5):
        found = losses.huber_loss(
            tf.constant(codes), tf.constant(targets), delta
        )
        expected = _huber(codes, targets, delta)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_detection_loss_equals_the_official_one(
    official: dict[str, np.ndarray], case: str
) -> None:
    loss = CASES[case]
    names = ("logits", "codes", "target_classes", "target_codes")
    logits, codes, classes, targets = (official[name][None] for name in names)
    normaliser = float(official["num_positives"]) + 1.0
    found = _loss(logits, codes, classes, targets, normaliser - 1.0, loss)
    np.testing.assert_allclose(
        found.class_loss, official[f"{case}/cls_loss"], rtol=1e-5
    )
    # The official box loss leaves out codes whose target is exactly 0; ours
    # counts all four codes of a positive anchor.
    huber = _huber(codes, targets, loss.delta) / (4.0 * normaliser)
    np.testing.assert_allclose(
        huber[targets != 0.0].sum(), official[f"{case}/box_loss"], rtol=1e-5
    )
    np.testing.assert_allclose(
        found.box_loss, huber[classes >= 0].sum(), rtol=1e-5
    )
    np.testing.assert_allclose(
        found.total, found.class_loss + 50.0 * found.box_loss, rtol=1e-6
    )


def test_all_codes_of_an_object_right_on_its_anchor_count() -> None:
    logits = np.zeros((1, 1, 2), np.float32)
    codes = np.full((1, 1, 4), 0.05, np.float32)
    classes = np.array([[1]], np.int32)
    loss = CASES["default"]
    found = _loss(logits, codes, classes, np.zeros_like(codes), 1.0, loss)
    # Four codes of .05 ** 2 / 2, over 4 * (1 + 1).
    np.testing.assert_allclose(found.box_loss, 0.05**2 / 4.0, rtol=1e-5)


def test_ignored_anchors_cost_nothing_and_background_has_no_box() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(2, 6, 3)).astype(np.float32)
    codes = rng.normal(size=(2, 6, 4)).astype(np.float32)
    targets = rng.normal(size=(2, 6, 4)).astype(np.float32)
    classes = np.array(
        [[-2, -1, 0, 2, -2, -1], [1, -2, -2, -1, -1, 0]], np.int32
    )
    loss = config.Loss(box_loss_weight=3.0)
    found = _loss(logits, codes, classes, targets, 4.0, loss)
    counted = _focal(logits, classes, loss)[classes != -2].sum() / 5.0
    boxes = _huber(codes, targets, loss.delta)[classes >= 0].sum() / 20.0
    np.testing.assert_allclose(found.class_loss, counted, rtol=1e-5)
    np.testing.assert_allclose(found.box_loss, boxes, rtol=1e-5)
    np.testing.assert_allclose(found.total, counted + 3.0 * boxes, rtol=1e-5)


def test_a_batch_without_objects_divides_by_one() -> None:
    logits = np.full((1, 3, 2), -4.6, np.float32)
    codes = np.ones((1, 3, 4), np.float32)
    classes = np.full((1, 3), -1, np.int32)
    found = _loss(logits, codes, classes, codes * 9, 0.0, CASES["default"])
    expected = _focal(logits, classes, CASES["default"]).sum()
    np.testing.assert_allclose(found.class_loss, expected, rtol=1e-5)
    assert found.box_loss == 0.0


def test_l2_loss_counts_kernels_alone() -> None:
    names = ("a/kernel", "a/depthwise_kernel", "a/pointwise_kernel")
    kernels = [tf.Variable([1.0, 2.0], name=name) for name in names]
    others = [
        tf.Variable([100.0], name=name)
        for name in ("a/bias", "bn/gamma", "bn/beta", "WSM", "kernel/beta")
    ]
    found = losses.l2_loss([*others, *kernels], 0.1)
    np.testing.assert_allclose(found, 0.1 * 3 * (1.0 + 4.0) / 2.0)


def test_decode_equals_the_official_one(
    official: dict[str, np.ndarray],
) -> None:
    decoded = box_lib.decode(
        tf.constant(official["decode_in"]),
        tf.constant(official["decode_anchors"]),
    )
    np.testing.assert_allclose(decoded, official["decode_out"], rtol=1e-5)
