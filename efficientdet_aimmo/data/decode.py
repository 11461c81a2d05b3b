"""From encoded bytes to the network's input, and boxes along with it."""

from __future__ import annotations

import tensorflow as tf

from efficientdet_aimmo import boxes as box_lib
from hparams import config as config_lib


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the image in JPEG or PNG bytes, [h, w, 3] uint8.

    The accurate inverse transform gives the pixels that other decoders give;
    the default one differs in the last bits.
    """
    image = tf.io.decode_jpeg(
        encoded, channels=3, dct_method="INTEGER_ACCURATE"
    )
    return tf.ensure_shape(image, [None, None, 3])


def fit_scale(
    height: tf.Tensor, width: tf.Tensor, data: config_lib.Data
) -> tf.Tensor:
    """Returns network pixels per image pixel, such that the image just fits.

    (The official code cuts the scaled sides to whole pixels but maps
    detections back by this scale: up to a pixel off. Here both are exact.)
    """
    target_height, target_width = data.image_size
    return tf.minimum(
        target_height / tf.cast(height, tf.float32),
        target_width / tf.cast(width, tf.float32),
    )


def _covered(side: int, image_side: tf.Tensor) -> tf.Tensor:
    """Returns [side] float32: 1 where a pixel's centre lies on the image."""
    return tf.cast(
        tf.range(side, dtype=tf.float32) + 0.5 < image_side, tf.float32
    )


def place_image(
    image: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    data: config_lib.Data,
) -> tf.Tensor:
    """Returns the image scaled, shifted, normalised and padded.

    Bilinear at pixel centres, without anti-aliasing, as officially. What lies
    beyond the image is 0, the mean colour.

    Args:
      image: [h, w, 3] uint8.
      scale: [2] float32, network pixels per image pixel, (y, x).
      offset: [2] float32, network pixels that are cut off at top and left.
      data: the network's input size and the colour statistics.

    Returns:
      [H, W, 3] float32.
    """
    height, width = data.image_size
    placed = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=data.image_size,
        scale=scale,
        translation=-offset,
        kernel_type="triangle",
        antialias=False,
    )[0]
    extent = tf.cast(tf.shape(image)[:2], tf.float32) * scale - offset
    on_image = (
        _covered(height, extent[0])[:, None, None]
        * _covered(width, extent[1])[None, :, None]
    )
    placed = tf.ensure_shape(placed, [height, width, 3])
    return (placed - data.mean_rgb) / data.stddev_rgb * on_image


def place_boxes(
    boxes_norm: tf.Tensor,
    image_shape: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    data: config_lib.Data,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns boxes where place_image puts them, and which are still there.

    A box ends at the input's edge at most. (Officially a pixel before it, as if
    coordinates were pixel numbers.)

    Args:
      boxes_norm: [N, 4] float32, in sides of the image.
      image_shape: [3] int32.
      scale: as in place_image.
      offset: as in place_image.
      data: the network's input size.

    Returns:
      [N, 4] float32 network pixels, clipped to the input, and [N] bool, False
      where nothing is left.
    """
    sides = tf.cast(image_shape[:2], tf.float32) * scale
    moved = boxes_norm * tf.tile(sides, [2]) - tf.tile(offset, [2])
    height, width = data.image_size
    clipped = box_lib.clip(moved, tf.constant(height), tf.constant(width))
    return clipped, box_lib.area(clipped) > 0.0


def prepare_image(
    image: tf.Tensor, data: config_lib.Data
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the network's input for an image, and the way back.

    Args:
      image: [h, w, 3] uint8.
      data: the network's input size and the colour statistics.

    Returns:
      [H, W, 3] float32, and a scalar: image pixels per network pixel.
    """
    shape = tf.shape(image)
    scale = fit_scale(shape[0], shape[1], data)
    placed = place_image(image, tf.stack([scale, scale]), tf.zeros([2]), data)
    return placed, 1.0 / scale
