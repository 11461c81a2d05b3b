"""Batch norm whose statistics are those of all replicas' images together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Replicas(NamedTuple):
    """The replicas that share a step, seen from one of them."""

    number: int
    place: int | tf.Tensor  # of this one, from 0
    add_up: Callable[[tf.Tensor], tf.Tensor]  # the sum over all of them


def normalise(
    features: tf.Tensor,
    gamma: tf.Variable,
    beta: tf.Variable,
    epsilon: float,
    replicas: Replicas,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns what one device's fused batch norm would, of all the images.

    Mean and variance of the parts are put together without subtracting large
    squares (Chan, Golub and LeVeque 1983, section 2); the gradient is that of
    Ioffe and Szegedy 2015, section 3, with its two means over all replicas.

    Args:
      features: [B, h, w, C], B being the same on every replica.
      gamma: [C] float32.
      beta: [C] float32.
      epsilon: added to the variance.
      replicas: those that share the statistics.

    Returns:
      Normalised features; the mean [C], float32; the unbiased variance [C],
      float32.
    """
    size = replicas.number
    for length in features.shape[:-1]:
        size *= length

    @tf.custom_gradient
    def apply(
        x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Callable]:
        mean, variance = _moments(x, replicas)
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            is_training=False,
        ).y

        def gradient(
            d_outputs: tf.Tensor, *_: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # As if mean and variance were constants...
            found = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=d_outputs,
                x=x,
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=mean,
                epsilon=epsilon,
                is_training=False,
            )
            d_scale, d_offset = found.scale_backprop, found.offset_backprop
            # ... and what goes through them: from all replicas to all.
            sums = replicas.add_up(tf.stack([d_scale, d_offset]))
            d_scales, d_offsets = sums[0] / size, sums[1] / size
            slope = tf.math.rsqrt(variance + epsilon)
            shift = scale * slope * (d_offsets - mean * slope * d_scales)
            tilt = scale * slope * slope * d_scales
            through = x * tf.cast(tilt, x.dtype) + tf.cast(shift, x.dtype)
            return found.x_backprop - through, d_scale, d_offset

        unbiased = variance * (size / max(size - 1, 1))
        return (outputs, mean, unbiased), gradient

    return apply(
        features, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
    )


def _moments(x: tf.Tensor, replicas: Replicas) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean and biased variance over all replicas, [C] float32."""
    own = tf.stack(tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2]))
    # A row of its own for every replica: the sum is all their statistics.
    row = tf.one_hot(replicas.place, replicas.number)
    parts = replicas.add_up(row[:, None, None] * own)  # [replicas, 2, C]
    mean = tf.reduce_mean(parts[:, 0], axis=0)
    apart = tf.math.squared_difference(parts[:, 0], mean)
    return mean, tf.reduce_mean(parts[:, 1] + apart, axis=0)
