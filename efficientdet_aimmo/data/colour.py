"""Colour jitter, with the operations of the TensorFlow Model Garden."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def make_colour_jitter(
    strength: float,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function that changes an image's colours at random.

    Saturation, brightness and sharpness are each multiplied by a factor drawn
    from [1 - strength, 1 + strength]; at 1 an operation changes nothing.

    Args:
      strength: above 0, below 1.

    Returns:
      (image [h, w, 3] uint8, seed [2] int64) -> image [h, w, 3] uint8; the
      draws follow from the seed alone.
    """
    # Imported only where colour jitter is on: it takes seconds.
    from official.vision.ops import augment

    operations = (augment.color, augment.brightness, augment.sharpness)

    def jitter(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draws = tf.random.stateless_uniform(
            [len(operations)], seed, 1.0 - strength, 1.0 + strength
        )
        for operation, factor in zip(
            operations, tf.unstack(draws), strict=True
        ):
            image = operation(image, factor)
        return tf.ensure_shape(image, [None, None, 3])

    # The operations branch on tensors in Python, for AutoGraph to convert.
    return tf.function(jitter)
