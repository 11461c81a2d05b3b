"""Decoding and placing against Pillow, NumPy and examples by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientdet_aimmo.data import decode
from hparams import config
from tests.input import made_records


def _data(height: int, width: int) -> config.Data:
    return config.Data(image_size=(height, width))


def _place(
    image: np.ndarray,
    scale: tuple[float, float],
    offset: tuple[float, float],
    data: config.Data,
) -> np.ndarray:
    placed = decode.place_image(
        tf.constant(image),
        tf.constant(scale, tf.float32),
        tf.constant(offset, tf.float32),
        data,
    )
    assert placed.shape == (*data.image_size, 3)
    assert placed.dtype == tf.float32
    return placed.numpy()


def _bilinear(
    image: np.ndarray,
    scale: tuple[float, float],
    offset: tuple[float, float],
    data: config.Data,
) -> np.ndarray:
    """Returns what place_image should, one pixel after the other."""
    height, width = data.image_size
    sides = image.shape[:2]
    out = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            # The pixel's centre, in pixels of the image.
            at = (np.array([y, x]) + 0.5 + offset) / scale
            if (at >= sides).any():
                continue
            at = np.clip(at - 0.5, 0.0, np.array(sides) - 1.0)
            low = np.floor(at).astype(int)
            high = np.minimum(low + 1, np.array(sides) - 1)
            (v, u), (a, b), (c, d) = at - low, low, high
            top = (1 - u) * image[a, b] + u * image[a, d]
            bottom = (1 - u) * image[c, b] + u * image[c, d]
            out[y, x] = (1 - v) * top + v * bottom
            out[y, x] = (out[y, x] - data.mean_rgb) / data.stddev_rgb
    return out


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        ((1.0, 1.0), (0.0, 0.0)),
        ((1.7, 1.7), (0.0, 0.0)),
        ((2.5, 2.5), (7.3, 11.8)),
        ((0.6, 0.6), (0.0, 0.0)),
        ((0.31, 0.87), (0.0, 0.0)),
    ],
)
def test_place_image_is_bilinear_at_pixel_centres(
    scale: tuple[float, float], offset: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (26, 34, 3), np.uint8)
    data = _data(32, 40)
    np.testing.assert_allclose(
        _place(image, scale, offset, data),
        _bilinear(image, scale, offset, data),
        atol=1e-4,
    )


def test_what_lies_beyond_the_image_is_zero_after_normalisation() -> None:
    image = np.full((8, 16, 3), 255, np.uint8)
    placed = _place(image, (2.0, 2.0), (0.0, 0.0), _data(32, 32))
    data = config.Data()
    white = (255.0 - np.array(data.mean_rgb)) / data.stddev_rgb
    np.testing.assert_allclose(
        placed[:16], np.broadcast_to(white, (16, 32, 3)), rtol=1e-5
    )
    np.testing.assert_array_equal(placed[16:], 0.0)


def test_prepare_image_fits_the_image_and_says_the_way_back() -> None:
    pixels = made_records.smooth_pixels(1, 40, 100)
    placed, back = decode.prepare_image(tf.constant(pixels), _data(32, 64))
    # The width decides: 64 / 100. Of 32 rows 25.6 are covered.
    np.testing.assert_allclose(back, 100 / 64, rtol=1e-6)
    assert np.abs(placed[:26]).max(axis=(1, 2)).min() > 0.0
    np.testing.assert_array_equal(placed[26:], 0.0)
    expected = _bilinear(pixels, (0.64, 0.64), (0.0, 0.0), _data(32, 64))
    np.testing.assert_allclose(placed, expected, atol=1e-4)


def test_place_boxes_by_hand() -> None:
    boxes = [
        [0.1, 0.2, 0.5, 0.6],  # inside
        [0.0, 0.0, 1.0, 1.0],  # cut at all sides
        [0.0, 0.0, 0.1, 0.1],  # gone, beyond top and left
        [0.9, 0.9, 1.0, 1.0],  # gone, beyond bottom and right
        [0.0, 0.2, 0.1, 0.6],  # its lower edge is the border: gone
    ]
    # 100x200 at scale 2 is 200x400; 20 and 50 are cut off; 150x300 remains.
    placed, is_left = decode.place_boxes(
        tf.constant(boxes),
        tf.constant([100, 200, 3]),
        tf.constant([2.0, 2.0]),
        tf.constant([20.0, 50.0]),
        _data(150, 300),
    )
    expected = [
        [0.0, 30.0, 80.0, 190.0],
        [0.0, 0.0, 150.0, 300.0],
        [0.0, 0.0, 0.0, 0.0],
        [150.0, 300.0, 150.0, 300.0],
        [0.0, 30.0, 0.0, 190.0],
    ]
    np.testing.assert_allclose(placed, expected, atol=1e-4)
    np.testing.assert_array_equal(is_left, [True, True, False, False, False])


def test_place_boxes_without_boxes() -> None:
    placed, is_left = decode.place_boxes(
        tf.zeros([0, 4]),
        tf.constant([10, 10, 3]),
        tf.ones([2]),
        tf.zeros([2]),
        _data(32, 32),
    )
    assert placed.shape == (0, 4)
    assert is_left.shape == (0,)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(48, 64), (41, 57)])
def test_decode_image_gives_pillows_pixels(
    file_format: str, size: tuple[int, int]
) -> None:
    pixels = made_records.smooth_pixels(2, *size)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format)
    decoded = decode.decode_image(tf.constant(file.getvalue()))
    assert decoded.dtype == tf.uint8
    file.seek(0)
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(file)))


def test_decode_image_makes_three_channels_of_grey() -> None:
    grey = made_records.smooth_pixels(3, 24, 32)[..., 0]
    encoded = made_records.jpeg(grey)
    decoded = decode.decode_image(tf.constant(encoded)).numpy()
    expected = np.asarray(Image.open(io.BytesIO(encoded)))
    assert expected.shape == (24, 32)
    np.testing.assert_array_equal(decoded, np.stack([expected] * 3, axis=2))
