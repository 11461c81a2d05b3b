"""The network: sizes, statistics, first weights, stochastic depth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from hparams import config, override, presets


def _tiny_config(**other: object) -> config.Config:
    values = {
        "num_classes": 3,
        "fpn_num_filters": 8,
        "fpn_cell_repeats": 1,
        "box_class_repeats": 1,
    }
    base = presets.get_config("efficientdet-d0")
    return override.override(base, {**values, **other})


def _images(height: int, width: int, batch: int) -> tf.Tensor:
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(batch, height, width, 3)), tf.float32)


def _moving(detector: detector_lib.Detector) -> list[tf.Variable]:
    return [v for v in detector.all_variables if not v.trainable]


def _values(variables: list[tf.Variable]) -> np.ndarray:
    return np.concatenate([v.numpy().reshape(-1) for v in variables])


@pytest.fixture(scope="module")
def tiny() -> detector_lib.Detector:
    return detector_lib.Detector(_tiny_config())


@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (64, 96), (72, 100), (33, 130)]
)
def test_sizes_that_are_not_square(
    tiny: detector_lib.Detector, height: int, width: int
) -> None:
    outputs = tiny(_images(height, width, 1), training=False)
    section = _tiny_config().anchors
    num_anchors = len(anchors_lib.anchor_boxes(section, (height, width)))
    assert outputs.logits.shape == (1, num_anchors, 3)
    assert outputs.codes.shape == (1, num_anchors, 4)
    for values in outputs:
        assert values.dtype == tf.float32
        assert np.isfinite(values).all()


def test_other_levels_and_anchors_of_a_cell() -> None:
    settings = _tiny_config(
        min_level=4, max_level=6, num_scales=1, aspect_ratios=(1.0, 2.0)
    )
    detector = detector_lib.Detector(settings)
    outputs = detector(_images(64, 64, 2), training=False)
    num_anchors = 2 * (4 * 4 + 2 * 2 + 1)
    assert outputs.logits.shape == (2, num_anchors, 3)
    assert outputs.codes.shape == (2, num_anchors, 4)
    anchors = anchors_lib.anchor_boxes(settings.anchors, (64, 64))
    assert len(anchors) == num_anchors


def test_inference_uses_moving_statistics_and_leaves_them(
    tiny: detector_lib.Detector,
) -> None:
    images = _images(64, 64, 2)
    before = _values(_moving(tiny))
    first = tiny(images, training=False)
    again = tiny(images, training=False)
    np.testing.assert_array_equal(first.logits, again.logits)
    np.testing.assert_array_equal(_values(_moving(tiny)), before)
    # An image does not depend on what else is in the batch.
    alone = tiny(images[:1], training=False)
    np.testing.assert_allclose(alone.logits, first.logits[:1], atol=1e-5)
    mean = next(v for v in _moving(tiny) if "stem" in v.name)
    mean.assign_add(tf.ones_like(mean))
    moved = tiny(images, training=False)
    mean.assign_sub(tf.ones_like(mean))
    assert np.abs(moved.logits - first.logits).max() > 1e-4


def test_training_moves_all_statistics_once(
    tiny: detector_lib.Detector,
) -> None:
    images = _images(64, 64, 2)
    before = [v.numpy() for v in _moving(tiny)]
    run = layers.ForwardPass(training=True)
    tiny.forward(images, run)
    for variable, value in zip(_moving(tiny), before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert sorted(u.variable.name for u in run.updates) == sorted(
        v.name for v in _moving(tiny)
    )
    tiny(images, training=True)
    changed = [
        not np.array_equal(variable, value)
        for variable, value in zip(_moving(tiny), before, strict=True)
    ]
    assert all(changed)


def test_first_weights_follow_from_seed_and_name() -> None:
    first, same, other = (
        detector_lib.Detector(_tiny_config(seed=seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(
        _values(first.all_variables), _values(same.all_variables)
    )
    assert (_values(first.all_variables) != _values(other.all_variables)).any()


def test_every_class_starts_at_a_hundredth(tiny: detector_lib.Detector) -> None:
    bias = next(v for v in tiny.all_variables if "class-predict/bias" in v.name)
    np.testing.assert_allclose(tf.sigmoid(bias), 0.01, rtol=1e-5)


def test_stochastic_depth_needs_a_seed_and_follows_it() -> None:
    settings = _tiny_config(box_class_repeats=3, survival_prob=0.5)
    detector = detector_lib.Detector(settings)
    images = _images(64, 64, 2)

    def logits(seed: int) -> np.ndarray:
        run = layers.ForwardPass(True, tf.constant([seed, 7]))
        return detector.forward(images, run).logits.numpy()

    np.testing.assert_array_equal(logits(0), logits(0))
    assert (logits(0) != logits(1)).any()
    with pytest.raises(ValueError, match="needs a seed"):
        detector(images, training=True)


def test_without_a_number_of_classes_there_is_no_network() -> None:
    settings = _tiny_config()
    settings = dataclasses.replace(
        settings, model=dataclasses.replace(settings.model, num_classes=0)
    )
    with pytest.raises(config.HParamError, match="'num_classes' is 0"):
        detector_lib.Detector(settings)
