"""Frozen weights against the detector that they were taken from."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import weights
from tests import detection_cases


def test_outputs_are_the_detectors_as_it_was() -> None:
    detector = detection_cases.lively_detector(0)
    size = detection_cases.tiny_config().data.image_size
    images = np.random.default_rng(0).normal(size=(2, *size, 3))
    images = tf.constant(images, tf.float32)
    expected = detector(images, False)
    frozen = weights.frozen(detector, size)
    for variable in detector.all_variables:
        variable.assign(tf.zeros_like(variable))
    for count in (2, 1):
        found = frozen(images[:count], False)
        np.testing.assert_allclose(
            found.logits, expected.logits[:count], atol=1e-5
        )
        np.testing.assert_allclose(
            found.codes, expected.codes[:count], atol=1e-5
        )
    assert np.ptp(expected.logits) > 1e-3
    with pytest.raises(ValueError, match="cannot be trained"):
        frozen(images, True)
