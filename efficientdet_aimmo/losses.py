"""The detection loss: focal for classes, Huber and IoU for boxes, L2."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import boxes as box_lib
from hparams import config as config_lib


class Losses(NamedTuple):
    """The terms of the loss, scalars, float32, as they enter the sum."""

    class_loss: tf.Tensor
    box_loss: tf.Tensor  # before box_loss_weight
    iou_loss: tf.Tensor  # before iou_loss_weight; 0 without an IoU loss
    total: tf.Tensor  # the weighted sum


class _Focal(NamedTuple):
    """Settings of the focal loss."""

    alpha: float
    gamma: float
    label_smoothing: float


class _FocalParts(NamedTuple):
    """What the focal loss and its gradient are made of, each [..., K]."""

    is_right: tf.Tensor
    error: tf.Tensor  # probability given to the wrong answer
    rest: tf.Tensor  # and to the right one
    entropy: tf.Tensor
    factor: tf.Tensor  # of the entropy


def _power(base: tf.Tensor, exponent: float) -> tf.Tensor:
    """Returns a power of base, which is at least 0.

    Products and a root where they do, as with the usual exponents: another
    exponential and logarithm would be a third of the whole loss.
    """
    whole, half = divmod(exponent, 1.0)
    if half not in (0.0, 0.5) or not 0.0 <= whole <= 4.0:
        return tf.exp(exponent * tf.math.log(base))
    factors = [base] * int(whole) + [tf.sqrt(base)] * (half == 0.5)
    return functools.reduce(operator.mul, factors, tf.ones_like(base))


def _log1p(x: tf.Tensor) -> tf.Tensor:
    """Returns log(1 + x) for x from 0 to 1.

    It is 2 artanh(x / (2 + x)), whose series is exact to a float's last digit
    after seven terms, small x included: products and one division, where
    tf.math.log1p takes half of the loss's time.
    """
    z = x / (2.0 + x)
    series = tf.zeros_like(z)
    for power in range(13, 0, -2):
        series = series * (z * z) + 2.0 / power
    return z * series


def _focal_parts(
    logits: tf.Tensor, classes: tf.Tensor, settings: _Focal
) -> _FocalParts:
    is_right = tf.one_hot(classes, logits.shape[-1], True, False, dtype=tf.bool)
    smooth = 0.5 * settings.label_smoothing
    target = tf.where(is_right, 1.0 - smooth, smooth)
    weight = tf.where(is_right, settings.alpha, 1.0 - settings.alpha)
    is_positive = logits >= 0.0
    # exp(-|x|) cannot overflow; both probabilities follow from it, the small
    # one as exactly as the large one.
    decay = tf.exp(-tf.abs(logits))
    larger = 1.0 / (1.0 + decay)
    smaller = decay * larger
    is_likely = tf.equal(is_right, is_positive)
    error = tf.where(is_likely, smaller, larger)
    return _FocalParts(
        is_right,
        error,
        tf.where(is_likely, larger, smaller),
        tf.maximum(logits, 0.0) - logits * target + _log1p(decay),
        weight * _power(error, settings.gamma),
    )


def focal_loss(
    logits: tf.Tensor,
    classes: tf.Tensor,
    alpha: float,
    gamma: float,
    label_smoothing: float,
) -> tf.Tensor:
    """Returns the focal loss of every logit (Lin et al. 2017, equation 5).

    With e the probability given to the wrong answer and s half of the
    smoothing, the gradient is (gamma * (1 - e) * entropy + e - s) times the
    loss's factor, and its negative for the right class. Nothing but the logits
    is kept for it.

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
    settings = _Focal(alpha, gamma, label_smoothing)

    @tf.custom_gradient
    def compute(
        kept: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            parts = _focal_parts(kept, classes, settings)
            slope = gamma * parts.rest * parts.entropy + parts.error
            slope -= 0.5 * label_smoothing
            slope = tf.where(parts.is_right, -slope, slope)
            return upstream * parts.factor * slope

        parts = _focal_parts(kept, classes, settings)
        return parts.factor * parts.entropy, gradient

    return compute(logits)


def _focal_sum(
    logits: tf.Tensor, classes: tf.Tensor, settings: _Focal
) -> tf.Tensor:
    """Returns the focal loss of all anchors that are not ignored, scalar."""
    counts = tf.cast(classes > -2, tf.float32)
    focal = focal_loss(logits, classes, *settings)
    # Class by class first: so XLA adds while it computes, on all cores.
    return tf.reduce_sum(tf.reduce_sum(focal, axis=-1) * counts)


@tf.function(jit_compile=True, autograph=False)
def _compiled_sum(
    logits: tf.Tensor, classes: tf.Tensor, settings: _Focal
) -> tf.Tensor:
    return _focal_sum(logits, classes, settings)


@tf.function(jit_compile=True, autograph=False)
def _compiled_gradient(
    logits: tf.Tensor,
    classes: tf.Tensor,
    settings: _Focal,
    upstream: tf.Tensor,
) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = _focal_sum(logits, classes, settings)
    return tape.gradient(total, logits, upstream)


def _focal_sum_on_cpu(
    logits: tf.Tensor, classes: tf.Tensor, settings: _Focal
) -> tf.Tensor:
    """The same, each of its passes one loop over the logits.

    As separate operations they are some forty passes over memory: with 90
    classes and four images of 512x512 they took 612 ms of processors' time,
    and take 63 so (benchmarks/README.md).
    """

    @tf.custom_gradient
    def compute(
        kept: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        # Unwatched: a call that the tape saw would hand out all that its own
        # gradient needs.
        total = _compiled_sum(tf.stop_gradient(kept), classes, settings)
        return total, lambda upstream: _compiled_gradient(
            kept, classes, settings, upstream
        )

    return compute(logits)


def huber_loss(codes: tf.Tensor, targets: tf.Tensor, delta: float) -> tf.Tensor:
    """Returns the Huber loss of every code: quadratic up to delta."""
    error = tf.abs(codes - targets)
    quadratic = tf.minimum(error, delta)
    return quadratic * (error - 0.5 * quadratic)


def iou_loss(boxes: tf.Tensor, targets: tf.Tensor, kind: str) -> tf.Tensor:
    """Returns one minus the overlap of every box with its target.

    Args:
      boxes: [..., 4] float32 pixels.
      targets: [..., 4] float32 pixels.
      kind: what is taken off the intersection over union: iou nothing; giou
        the share of the hull that neither box covers (Rezatofighi et al. 2019,
        algorithm 1); diou the squared distance of the centres over the hull's
        squared diagonal (Zheng et al. 2020, equation 7); ciou that and the
        difference of the aspect ratios (equations 8 to 11). As in the official
        code the gradient also goes through the weight of the latter, alpha.

    Returns:
      [...] float32, from 0 to 2. Where a ratio is of nothing to nothing it
      counts as 0.
    """
    ratio = tf.math.divide_no_nan
    overlap = tf.minimum(boxes[..., 2:], targets[..., 2:])
    overlap -= tf.maximum(boxes[..., :2], targets[..., :2])
    intersection = tf.reduce_prod(tf.maximum(overlap, 0.0), axis=-1)
    union = box_lib.area(boxes) + box_lib.area(targets) - intersection
    iou = ratio(intersection, union)
    if kind == "iou":
        return 1.0 - iou
    hull = tf.maximum(boxes[..., 2:], targets[..., 2:])
    hull -= tf.minimum(boxes[..., :2], targets[..., :2])
    if kind == "giou":
        area = tf.reduce_prod(hull, axis=-1)
        return 1.0 - iou + ratio(area - union, area)
    apart = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    apart -= (targets[..., :2] + targets[..., 2:]) / 2.0
    distance = ratio(
        tf.reduce_sum(apart**2, axis=-1), tf.reduce_sum(hull**2, axis=-1)
    )
    if kind == "diou":
        return 1.0 - iou + distance
    difference = _aspect_angle(targets) - _aspect_angle(boxes)
    aspect = (2.0 / math.pi * difference) ** 2
    alpha = ratio(aspect, 1.0 - iou + aspect)
    return 1.0 - iou + distance + alpha * aspect


def _aspect_angle(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the arc tangent of width over height, [...], radians."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return tf.atan(tf.math.divide_no_nan(sides[..., 1], sides[..., 0]))


def detection_loss(
    logits: tf.Tensor,
    codes: tf.Tensor,
    target_classes: tf.Tensor,
    target_codes: tf.Tensor,
    num_positives: tf.Tensor,
    anchors: tf.Tensor,
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
      anchors: [A, 4] float32 pixels, read with an IoU loss.
      config: weights and shapes of the terms.
    """
    # One more than the positives, so that a batch without objects divides
    # by 1 (official).
    normaliser = num_positives + 1.0
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    focal_sum = _focal_sum if on_gpu else _focal_sum_on_cpu
    settings = _Focal(config.alpha, config.gamma, config.label_smoothing)
    class_loss = focal_sum(logits, target_classes, settings) / normaliser
    # All four codes of a positive anchor count. (The official loss leaves out
    # a code whose target is exactly 0: an object right on its anchor taught
    # nothing.)
    is_positive = tf.cast(target_classes >= 0, tf.float32)
    huber = huber_loss(codes, target_codes, config.delta)
    box_loss = tf.reduce_sum(huber * is_positive[..., None])
    box_loss /= 4.0 * normaliser
    total = class_loss + config.box_loss_weight * box_loss
    overlap_loss = tf.constant(0.0)
    if config.iou_loss_type != "none":
        # Every prediction is decoded at its own anchor, whatever the batch.
        # (Officially predictions come level by level and anchors image by
        # image, so from two images on they are of different places. A
        # coordinate whose code should be exactly 0 is left out there, too.)
        overlap_loss = iou_loss(
            box_lib.decode(codes, anchors),
            box_lib.decode(target_codes, anchors),
            config.iou_loss_type,
        )
        overlap_loss = tf.reduce_sum(overlap_loss * is_positive)
        overlap_loss /= 4.0 * normaliser
        total += config.iou_loss_weight * overlap_loss
    return Losses(class_loss, box_loss, overlap_loss, total)


def l2_loss(variables: Iterable[tf.Variable], weight_decay: float) -> tf.Tensor:
    """Returns weight_decay * half the sum of squares of all kernels.

    Biases, batch norm and fusion weights are left out, as officially.
    """
    kernels = [v for v in variables if v.name.split(":")[0].endswith("kernel")]
    if not kernels:
        return tf.constant(0.0)
    return weight_decay * tf.add_n([tf.nn.l2_loss(v) for v in kernels])
