"""What is drawn for an image in training: its zoom, its place, its mirror."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo.data import decode
from hparams import config as config_lib


class Placement(NamedTuple):
    """Where an image goes in the network's input."""

    scale: tf.Tensor  # [2] float32, network pixels per image pixel, (y, x)
    offset: tf.Tensor  # [2] float32, network pixels cut off at top and left
    is_mirrored: tf.Tensor  # scalar bool


def draw_placement(
    seed: tf.Tensor,
    image_shape: tf.Tensor,
    augment: config_lib.Augment,
    data: config_lib.Data,
) -> Placement:
    """Returns a placement that follows from the seed alone.

    Scale jitter as officially: the image just fits at zoom 1; where it is
    larger than the input, a place is drawn from all that lie on it.

    Args:
      seed: [2] int32.
      image_shape: [3] int32.
      augment: the range of zoom, and whether to mirror.
      data: the network's input size.
    """
    zoom, down, right, mirror = tf.unstack(
        tf.random.stateless_uniform([4], seed)
    )
    zoom = augment.jitter_min + zoom * (augment.jitter_max - augment.jitter_min)
    scale = zoom * decode.fit_scale(image_shape[0], image_shape[1], data)
    sides = tf.cast(image_shape[:2], tf.float32) * scale
    room = tf.maximum(sides - tf.cast(data.image_size, tf.float32), 0.0)
    return Placement(
        scale=tf.stack([scale, scale]),
        offset=room * tf.stack([down, right]),
        is_mirrored=tf.logical_and(augment.input_rand_hflip, mirror < 0.5),
    )


def mirror(
    image: tf.Tensor, boxes: tf.Tensor, is_mirrored: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns image [H, W, 3] and boxes [N, 4], mirrored or as they are."""
    width = float(image.shape[1])
    y_min, x_min, y_max, x_max = tf.unstack(boxes, axis=1)
    swapped = tf.stack([y_min, width - x_max, y_max, width - x_min], axis=1)
    return (
        tf.cond(is_mirrored, lambda: tf.reverse(image, [1]), lambda: image),
        tf.where(is_mirrored, swapped, boxes),
    )
