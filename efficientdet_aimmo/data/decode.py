"""From encoded bytes to the network's input, and boxes along with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import boxes as box_lib
from hparams import config as config_lib

_SLACK = 1e-2  # pixels of the image


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


class _Span(NamedTuple):
    """Along one axis: which pixels of the input lie on the image, and where."""

    count: tf.Tensor  # int32, of pixels from the first one on
    first: tf.Tensor  # the first one's place among the centres of the image's
    last: tf.Tensor  # the last one's


def _span(
    side: int, image_side: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
) -> _Span:
    """Returns what of `side` pixels lies on an image of `image_side`."""
    extent = tf.cast(image_side, tf.float32) * scale - offset
    # Those whose centre is on it.
    count = tf.clip_by_value(tf.math.ceil(extent - 0.5), 0.0, float(side))
    centres = tf.stack([0.5, tf.maximum(count, 1.0) - 0.5]) + offset
    first, last = tf.unstack(centres / scale - 0.5)
    return _Span(tf.cast(count, tf.int32), first, last)


def _with_edge(image: tf.Tensor) -> tf.Tensor:
    """Returns [h + 2, w + 2, 3]: an image with its border pixels once more."""
    image = tf.concat([image[:1], image, image[-1:]], 0)
    return tf.concat([image[:, :1], image, image[:, -1:]], 1)


def _sample(image: tf.Tensor, y: _Span, x: _Span) -> tf.Tensor:
    """Returns [y.count, x.count, 3] float32, bilinear between pixels' centres.

    tf.image.crop_and_resize samples at any places with even distances, in a
    third of ScaleAndTranslate's time, but not beyond the outer pixels' centres.
    """
    inner = tf.cast(tf.shape(image)[:2], tf.float32) - 1.0
    first, last = tf.stack([y.first, x.first]), tf.stack([y.last, x.last])
    # Some way within, as the operation computes the places by itself.
    is_inside = tf.reduce_all((first >= _SLACK) & (last <= inner - _SLACK))
    image, shift = tf.cond(
        is_inside,
        lambda: (image, tf.constant(0.0)),
        lambda: (_with_edge(image), tf.constant(1.0)),
    )
    corners = tf.stack([first, last]) + shift
    sampled = tf.image.crop_and_resize(
        image[None],
        tf.reshape(corners / (inner + 2.0 * shift), [1, 4]),
        [0],
        tf.maximum(tf.stack([y.count, x.count]), 1),
    )[0]
    return sampled[: y.count, : x.count]


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
    shape = tf.shape(image)
    y = _span(height, shape[0], scale[0], offset[0])
    x = _span(width, shape[1], scale[1], offset[1])
    # Pixels in a line: operations over an axis of three are five times slower.
    line = tf.reshape(_sample(image, y, x), [y.count, 3 * x.count])
    mean = tf.constant(np.tile(data.mean_rgb, width), tf.float32)
    stddev = tf.constant(np.tile(data.stddev_rgb, width), tf.float32)
    line = (line - mean[: 3 * x.count]) / stddev[: 3 * x.count]
    line = tf.pad(line, [[0, height - y.count], [0, 3 * (width - x.count)]])
    return tf.reshape(line, [height, width, 3])


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
