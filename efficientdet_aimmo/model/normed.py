"""Batch norm and the activation behind it, for the memory of one of them."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from efficientdet_aimmo.model import (
    activations,
    fused_norm,
    layers,
    on_cpu,
    own_gradient,
)


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

    def compute(
        features: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        done = fused_norm.forward(features, gamma, beta, norm.epsilon)
        norm.hand_back(run, done.mean, done.variance)
        mean, biased = done.reserved[:2]

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            inner = activations.normalised_swish_gradient(
                features,
                mean,
                gamma * tf.math.rsqrt(biased + done.epsilon),
                beta,
                upstream,
            )
            return done.back(inner)

        return activations.compiled_swish(done.outputs), gradient

    return own_gradient.compute(compute, features, norm.gamma, norm.beta)
