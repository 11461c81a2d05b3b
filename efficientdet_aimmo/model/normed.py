"""Batch norm and the activation behind it, for the memory of one of them."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from efficientdet_aimmo.model import activations, layers, on_cpu

# What tf.nn.fused_batch_norm takes at least, because cuDNN does.
_LEAST_EPSILON = 1.001e-5


def activated(
    norm: layers.BatchNorm,
    features: tf.Tensor,
    run: layers.ForwardPass,
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Returns activation(norm(features, run)).

    With swish in training on a CPU the normalised features are not kept: the
    backward pass makes them again from the features.
    """
    if (
        activation is not activations.swish
        or not on_cpu.is_large(features)
        or run.synchronise is not None
        or not run.training
        or norm.mean.name in run.frozen
    ):
        return activation(norm(features, run))
    epsilon = max(norm.epsilon, _LEAST_EPSILON)

    @tf.custom_gradient
    def compute(
        features: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        found = tf.raw_ops.FusedBatchNormV3(
            x=features,
            scale=gamma,
            offset=beta,
            mean=[],
            variance=[],
            epsilon=epsilon,
        )
        norm.hand_back(run, found.batch_mean, found.batch_variance)
        # On a CPU the first two are the batch's mean and biased variance.
        reserved = found[3:6]

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            inner = activations.normalised_swish_gradient(
                features,
                reserved[0],
                gamma * tf.math.rsqrt(reserved[1] + epsilon),
                beta,
                upstream,
            )
            return tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=inner,
                x=features,
                scale=gamma,
                reserve_space_1=reserved[0],
                reserve_space_2=reserved[1],
                reserve_space_3=reserved[2],
                epsilon=epsilon,
            )[:3]

        # Unwatched: a call that the tape saw would hand out all that its own
        # gradient needs.
        outputs = activations.compiled_swish(tf.stop_gradient(found.y))
        return outputs, gradient

    return compute(
        features, *map(tf.convert_to_tensor, (norm.gamma, norm.beta))
    )
