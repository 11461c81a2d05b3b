"""Nearest-neighbour resizing and its gradient, also compiled by XLA."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import resizing

# Multiples, both or one of them, and sizes of an uneven pyramid.
SIZES = [
    ((3, 5), (6, 10)),
    ((2, 3), (6, 3)),
    ((3, 3), (5, 6)),
    ((1, 1), (3, 2)),
    ((7, 4), (13, 7)),
]


@pytest.mark.parametrize(("few", "many"), SIZES)
def test_gradient_adds_up_all_places_of_a_value(
    few: tuple[int, int], many: tuple[int, int]
) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(2, *few, 3)).astype(np.float32)
    upstream = draw.normal(size=(2, *many, 3)).astype(np.float32)
    expected = np.zeros_like(features)
    rows, columns = (
        np.arange(b) * a // b for a, b in zip(few, many, strict=True)
    )
    places = np.ix_(rows, columns)
    for image, gradient in zip(expected, upstream, strict=True):
        np.add.at(image, places, gradient)

    @tf.function(jit_compile=True, autograph=False)
    def both(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = resizing.enlarge(inputs, many, is_compiled=True)
        return outputs, tape.gradient(outputs, inputs, upstream)

    outputs, gradient = both(tf.constant(features))
    np.testing.assert_array_equal(outputs, features[:, rows][:, :, columns])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    plain = resizing.enlarge(tf.constant(features), many, is_compiled=False)
    np.testing.assert_array_equal(outputs, plain)
