"""Layers against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import (
    activations,
    drawing,
    layers,
    normed,
    on_cpu,
)


def _maker() -> drawing.VariableMaker:
    make = drawing.VariableMaker(0)
    make.start_group()
    return make


@pytest.fixture
def norm() -> layers.BatchNorm:
    """Returns a batch norm of 3 channels whose variables are all uneven."""
    made = layers.BatchNorm(_maker(), "bn", 3, momentum=0.8, epsilon=0.01)
    made.gamma.assign([0.5, 1.0, 2.0])
    made.beta.assign([0.1, -0.2, 0.3])
    made.mean.assign([1.0, 2.0, 3.0])
    made.variance.assign([4.0, 5.0, 6.0])
    return made


FEATURES = np.random.default_rng(0).normal(3.0, 2.0, (2, 3, 2, 3))


def test_batch_norm_in_inference(norm: layers.BatchNorm) -> None:
    run = layers.ForwardPass(training=False)
    found = norm(tf.constant(FEATURES, tf.float32), run)
    scale = np.array([0.5, 1.0, 2.0]) / np.sqrt(np.array([4.0, 5, 6]) + 0.01)
    expected = (FEATURES - [1.0, 2.0, 3.0]) * scale + [0.1, -0.2, 0.3]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert run.updates == []


def test_batch_norm_in_training(norm: layers.BatchNorm) -> None:
    run = layers.ForwardPass(training=True)
    found = norm(tf.constant(FEATURES, tf.float32), run)
    mean = FEATURES.mean(axis=(0, 1, 2))
    variance = FEATURES.var(axis=(0, 1, 2))
    scale = np.array([0.5, 1.0, 2.0]) / np.sqrt(variance + 0.01)
    expected = (FEATURES - mean) * scale + [0.1, -0.2, 0.3]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.mean, [1, 2, 3])  # not stored yet
    for update in run.updates:
        update.store()
    # n / (n - 1) with the 12 numbers of a channel.
    np.testing.assert_allclose(
        norm.mean, 0.8 * np.array([1.0, 2, 3]) + 0.2 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        norm.variance,
        0.8 * np.array([4.0, 5, 6]) + 0.2 * variance * 12 / 11,
        rtol=1e-5,
    )


def _dropped(seed: int, survival_prob: float, name: str) -> np.ndarray:
    run = layers.ForwardPass(True, tf.constant([seed, 0]))
    branch = tf.ones([400, 1, 1, 2])
    return run.drop_branch(branch, survival_prob, name).numpy()


def test_drop_branch_keeps_whole_images_and_the_mean() -> None:
    kept = _dropped(0, 0.8, "a")
    np.testing.assert_array_equal(kept[..., 0], kept[..., 1])
    np.testing.assert_allclose(np.unique(kept), [0.0, 1.25])
    # 400 draws: the share's deviation is .02.
    assert abs(kept.mean() - 1.0) < 0.1


def test_drop_branch_follows_from_seed_and_name() -> None:
    np.testing.assert_array_equal(_dropped(0, 0.5, "a"), _dropped(0, 0.5, "a"))
    assert (_dropped(0, 0.5, "a") != _dropped(1, 0.5, "a")).any()
    assert (_dropped(0, 0.5, "a") != _dropped(0, 0.5, "b")).any()


def test_drop_branch_that_always_survives_is_none() -> None:
    branch = tf.constant(FEATURES)
    training = layers.ForwardPass(training=True)  # no seed is needed
    assert training.drop_branch(branch, 1.0, "a") is branch
    inference = layers.ForwardPass(training=False)
    assert inference.drop_branch(branch, 0.5, "a") is branch


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_activation_and_gradient(name: str) -> None:
    x = np.array([-5.0, -2.0, -0.3, 0.2, 1.5, 4.0, 9.0])
    formulas: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "swish": lambda v: v / (1.0 + np.exp(-v)),
        "relu": lambda v: np.maximum(v, 0.0),
        "relu6": lambda v: np.clip(v, 0.0, 6.0),
        "hswish": lambda v: v * np.clip(v + 3.0, 0.0, 6.0) / 6.0,
    }
    features = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        found = activations.ACTIVATIONS[name](features)
    formula = formulas[name]
    np.testing.assert_allclose(found, formula(x), rtol=1e-5, atol=1e-6)
    slope = (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5
    np.testing.assert_allclose(
        tape.gradient(found, features), slope, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("draw", "variance"),
    [
        (drawing.he_fan_out, 2.0 / (9 * 40)),
        (drawing.glorot, 2.0 / (9 * (30 + 40))),
        (drawing.lecun, 1.0 / (9 * 30)),
    ],
)
def test_initialisers_have_the_variance_of_their_paper(
    draw: Callable[..., np.ndarray], variance: float
) -> None:
    values = draw(np.random.default_rng(0), (3, 3, 30, 40))
    # 10,800 draws: the variance is known to some 2 %.
    np.testing.assert_allclose(values.var(), variance, rtol=0.06)
    assert abs(values.mean()) < 4.0 * np.sqrt(variance / values.size)


def _swish_after_norm(
    together: bool,
) -> tuple[list[np.ndarray], list[layers.Update]]:
    """Returns swish of batch norm and its gradients, in one step or two."""
    make = drawing.VariableMaker(0)
    make.start_group()
    norm = layers.BatchNorm(make, "n", 32, momentum=0.9, epsilon=1e-3)
    rng = np.random.default_rng(4)
    norm.gamma.assign(rng.normal(size=32).astype(np.float32))
    norm.beta.assign(rng.normal(size=32).astype(np.float32))
    features = tf.constant(rng.normal(3.0, 2.0, (2, 32, 32, 32)), tf.float32)
    assert on_cpu.is_large(features)
    run = layers.ForwardPass(training=True)
    with tf.GradientTape() as tape:
        tape.watch(features)
        if together:
            y = normed.activated(norm, features, run, activations.swish)
        else:
            x = norm(features, run)
            y = x * tf.sigmoid(x)
        total = tf.reduce_sum(tf.sin(y))
    found = tape.gradient(total, [features, norm.gamma, norm.beta])
    return [y.numpy(), *(g.numpy() for g in found)], run.updates


def test_swish_that_normalises_again_has_the_same_gradients() -> None:
    together, updates = _swish_after_norm(True)
    apart, expected = _swish_after_norm(False)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert len(updates) == 2
    for update, wanted in zip(updates, expected, strict=True):
        assert update.variable.name == wanted.variable.name
        np.testing.assert_array_equal(update.value, wanted.value)
