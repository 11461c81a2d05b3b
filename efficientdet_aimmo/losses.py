"""The detection loss: focal for classes, Huber for boxes, L2 for weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf

from hparams import config as config_lib


class Losses(NamedTuple):
    """The terms of the loss, scalars, float32, as they enter the sum."""

    class_loss: tf.Tensor
    box_loss: tf.Tensor  # before box_loss_weight
    total: tf.Tensor  # class_loss + box_loss_weight * box_loss


def focal_loss(
    logits: tf.Tensor,
    classes: tf.Tensor,
    alpha: float,
    gamma: float,
    label_smoothing: float,
) -> tf.Tensor:
    """Returns the focal loss of every logit (Lin et al. 2017, equation 5).

    Args:
      logits: [..., K] float32.
      classes: [...] int32; below 0 no class is right.
      alpha: weight of the right class; the others weigh 1 - alpha.
      gamma: focusing exponent.
      label_smoothing: moves the targets of the cross entropy, not the weights,
        to 0.5 * label_smoothing and 1 - 0.5 * label_smoothing.

    Returns:
      [..., K] float32.
    """
    is_right = tf.one_hot(classes, logits.shape[-1], True, False, dtype=tf.bool)
    smooth = 0.5 * label_smoothing
    target = tf.where(is_right, 1.0 - smooth, smooth)
    weight = tf.where(is_right, alpha, 1.0 - alpha)
    # The probability given to the wrong answer.
    error = tf.sigmoid(tf.where(is_right, -logits, logits))
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
    return weight * tf.pow(error, gamma) * entropy


def huber_loss(codes: tf.Tensor, targets: tf.Tensor, delta: float) -> tf.Tensor:
    """Returns the Huber loss of every code: quadratic up to delta."""
    error = tf.abs(codes - targets)
    quadratic = tf.minimum(error, delta)
    return quadratic * (error - 0.5 * quadratic)


def detection_loss(
    logits: tf.Tensor,
    codes: tf.Tensor,
    target_classes: tf.Tensor,
    target_codes: tf.Tensor,
    num_positives: tf.Tensor,
    config: config_lib.Loss,
) -> Losses:
    """Returns the loss of a batch.

    Args:
      logits: [B, A, K] float32.
      codes: [B, A, 4] float32.
      target_classes: [B, A] int32; -1 background, -2 ignored.
      target_codes: [B, A, 4] float32, read where target_classes >= 0.
      num_positives: scalar float32: positive anchors of the whole step, on all
        replicas.
      config: weights and shapes of the terms.
    """
    # One more than the positives, so that a batch without objects divides
    # by 1 (official).
    normaliser = num_positives + 1.0
    focal = focal_loss(
        logits,
        target_classes,
        config.alpha,
        config.gamma,
        config.label_smoothing,
    )
    counts = tf.cast(target_classes > -2, tf.float32)
    class_loss = tf.reduce_sum(focal * counts[..., None]) / normaliser
    # All four codes of a positive anchor count. (The official loss leaves out
    # a code whose target is exactly 0: an object right on its anchor taught
    # nothing.)
    is_positive = tf.cast(target_classes >= 0, tf.float32)
    huber = huber_loss(codes, target_codes, config.delta)
    box_loss = tf.reduce_sum(huber * is_positive[..., None])
    box_loss /= 4.0 * normaliser
    total = class_loss + config.box_loss_weight * box_loss
    return Losses(class_loss, box_loss, total)


def l2_loss(variables: Iterable[tf.Variable], weight_decay: float) -> tf.Tensor:
    """Returns weight_decay * half the sum of squares of all kernels.

    Biases, batch norm and fusion weights are left out, as officially.
    """
    kernels = [v for v in variables if v.name.split(":")[0].endswith("kernel")]
    return weight_decay * tf.add_n([tf.nn.l2_loss(v) for v in kernels])
