"""Box arithmetic. Boxes are [y_min, x_min, y_max, x_max], float32, pixels."""

from __future__ import annotations

import tensorflow as tf


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the areas [...] of boxes [..., 4]; 0 where max < min."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns intersection over union of every pair.

    Args:
      first: [..., N, 4] boxes.
      second: [..., M, 4] boxes.

    Returns:
      [..., N, M] float32; 0 where both areas are 0.
    """
    # One coordinate at a time: [N, M] planes instead of [N, M, 2] ones.
    y_min, x_min, y_max, x_max = tf.unstack(first[..., :, None, :], axis=-1)
    v_min, u_min, v_max, u_max = tf.unstack(second[..., None, :, :], axis=-1)
    height = tf.minimum(y_max, v_max) - tf.maximum(y_min, v_min)
    width = tf.minimum(x_max, u_max) - tf.maximum(x_min, u_min)
    overlap = tf.maximum(height, 0.0) * tf.maximum(width, 0.0)
    areas = area(first)[..., :, None] + area(second)[..., None, :]
    return tf.math.divide_no_nan(overlap, areas - overlap)


def _centres(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns centres and sides, each [..., 2] as (y, x)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sides / 2, sides


def encode(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns box codes relative to anchors (Faster R-CNN, section 3.1.2).

    Args:
      boxes: [..., A, 4] pixels; sides above 0 where the code is read.
      anchors: [A, 4] pixels.

    Returns:
      [..., A, 4] float32 (ty, tx, th, tw): shift of the centre in anchor sides
      and logarithm of the ratio of sides.
    """
    centre, sides = _centres(boxes)
    anchor_centre, anchor_sides = _centres(anchors)
    shift = (centre - anchor_centre) / anchor_sides
    ratio = tf.math.log(tf.maximum(sides, 1e-8) / anchor_sides)
    return tf.concat([shift, ratio], axis=-1)


def decode(codes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns boxes [..., 4] that codes [..., 4] mean at anchors [..., 4]."""
    anchor_centre, anchor_sides = _centres(anchors)
    centre = codes[..., :2] * anchor_sides + anchor_centre
    half = tf.exp(codes[..., 2:]) * anchor_sides / 2
    return tf.concat([centre - half, centre + half], axis=-1)


def clip(boxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns boxes [..., 4] cut off at [0, height] and [0, width]."""
    limits = tf.stack([height, width, height, width], axis=-1)
    return tf.clip_by_value(boxes, 0.0, tf.cast(limits, tf.float32))
