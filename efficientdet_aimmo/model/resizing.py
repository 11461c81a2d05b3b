"""Nearest-neighbour resizing that XLA can take backward."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def enlarge(
    features: tf.Tensor, size: tuple[int, int], is_compiled: bool
) -> tf.Tensor:
    """Returns features at a larger size, each value that of the nearest place.

    Args:
      features: [B, h, w, C].
      size: height and width, not below h and w.
      is_compiled: the gradient is made of operations that XLA has; it has no
        ResizeNearestNeighborGrad (TensorFlow 2.15, on any device).

    Returns:
      [B, *size, C].
    """
    if not is_compiled:
        return tf.raw_ops.ResizeNearestNeighbor(images=features, size=size)
    height, width = features.shape[1:3]

    @tf.custom_gradient
    def compute(
        features: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        outputs = tf.raw_ops.ResizeNearestNeighbor(images=features, size=size)
        return outputs, lambda upstream: _add_up(upstream, height, width)

    return compute(features)


def _add_up(upstream: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the sums of all places that take one value, [B, h, w, C]."""
    size = upstream.shape[1:3]
    if size[0] % height == 0 and size[1] % width == 0:
        parts = [height, size[0] // height, width, size[1] // width]
        grouped = tf.reshape(upstream, [-1, *parts, upstream.shape[-1]])
        return tf.reduce_sum(grouped, [2, 4])
    rows, columns = (
        tf.constant(_sources(few, many), upstream.dtype)
        for few, many in zip((height, width), size, strict=True)
    )
    return tf.einsum("bijc,hi,wj->bhwc", upstream, rows, columns)


def _sources(few: int, many: int) -> np.ndarray:
    """Returns which of few places each of many takes, [few, many], 0 or 1."""
    # In float32, as TensorFlow rounds.
    step = np.float32(few) / np.float32(many)
    places = np.floor(np.arange(many, dtype=np.float32) * step)
    return np.equal(np.arange(few)[:, None], places.astype(np.int64))
