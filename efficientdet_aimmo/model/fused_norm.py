"""TensorFlow's batch norm by the images of one pass, and its gradient.

TensorFlow's own gradient makes zeros for each output that has none, five of
six: a dozen operations for every batch norm of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo.model import own_gradient

# What cuDNN takes at least, and so tf.nn.fused_batch_norm too.
_LEAST_EPSILON = 1.001e-5


class Pass(NamedTuple):
    """A pass forward, and what the one back needs of it."""

    features: tf.Tensor  # [B, h, w, C]
    gamma: tf.Tensor  # [C] float32
    epsilon: float
    outputs: tf.Tensor
    mean: tf.Tensor  # [C] float32
    variance: tf.Tensor  # [C] float32, n / (n - 1) times the batch's
    reserved: tuple[tf.Tensor, ...]  # on a CPU the mean and the batch's first

    def back(self, upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the gradients of features, gamma and beta."""
        return tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=upstream,
            x=self.features,
            scale=self.gamma,
            reserve_space_1=self.reserved[0],
            reserve_space_2=self.reserved[1],
            reserve_space_3=self.reserved[2],
            epsilon=self.epsilon,
        )[:3]


def forward(
    features: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> Pass:
    """Normalises features; not for a tape to watch."""
    epsilon = max(epsilon, _LEAST_EPSILON)
    found = tf.raw_ops.FusedBatchNormV3(
        x=features,
        scale=gamma,
        offset=beta,
        mean=[],
        variance=[],
        epsilon=epsilon,
    )
    return Pass(
        features,
        gamma,
        epsilon,
        found.y,
        found.batch_mean,
        found.batch_variance,
        tuple(found[3:6]),
    )


def normalise(
    features: tf.Tensor, gamma: tf.Variable, beta: tf.Variable, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns normalised features, their mean [C] and unbiased variance [C].

    Args:
      features: [B, h, w, C].
      gamma: [C] float32.
      beta: [C] float32.
      epsilon: added to the variance, at least 1.001e-5.
    """
    statistics: list[tf.Tensor] = []

    def compute(
        x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        done = forward(x, scale, offset, epsilon)
        statistics[:] = done.mean, done.variance
        return done.outputs, done.back

    outputs = own_gradient.compute(compute, features, gamma, beta)
    return outputs, *statistics
