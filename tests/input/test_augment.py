"""What is drawn for an image, and mirroring against NumPy."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from efficientdet_aimmo.data import augment, colour
from hparams import config
from tests.input import made_records

DATA = config.Data(image_size=(64, 96))


def _draw(
    seed: int, section: config.Augment, shape: tuple[int, int] = (100, 100)
) -> augment.Placement:
    drawn = augment.draw_placement(
        tf.constant([7, seed]), tf.constant([*shape, 3]), section, DATA
    )
    return augment.Placement(*(part.numpy() for part in drawn))


def test_placement_follows_from_the_seed() -> None:
    section = config.Augment(jitter_min=0.5, jitter_max=2.0)
    first, same, other = (_draw(seed, section) for seed in (1, 1, 2))
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.scale != other.scale).all()


def test_zoom_covers_its_range_and_the_place_lies_on_the_image() -> None:
    section = config.Augment(jitter_min=0.5, jitter_max=2.0)
    drawn = [_draw(seed, section) for seed in range(300)]
    scales = np.stack([placement.scale for placement in drawn])
    np.testing.assert_array_equal(scales[:, 0], scales[:, 1])
    # 100x100 just fits 64x96 at 0.64.
    zooms = scales[:, 0] / 0.64
    assert 0.5 <= zooms.min() < 0.52
    assert 1.97 < zooms.max() <= 2.0
    room = np.maximum(100 * scales - [64.0, 96.0], 0.0)
    offsets = np.stack([placement.offset for placement in drawn])
    assert (offsets[room == 0.0] == 0.0).all()
    share = offsets[room > 1.0] / room[room > 1.0]
    assert 0.0 <= share.min() < 0.05
    assert 0.95 < share.max() <= 1.0 + 1e-5
    # 300 fair draws: the share's deviation is .03.
    assert 0.4 < np.mean([p.is_mirrored for p in drawn]) < 0.6


def test_without_jitter_and_mirror_the_image_just_fits() -> None:
    section = config.Augment(
        jitter_min=1.0, jitter_max=1.0, input_rand_hflip=False
    )
    for seed in range(5):
        drawn = _draw(seed, section, (50, 200))
        np.testing.assert_allclose(drawn.scale, [0.48, 0.48], rtol=1e-6)
        np.testing.assert_allclose(drawn.offset, [0.0, 0.0], atol=1e-4)
        assert not drawn.is_mirrored


def test_mirror_turns_image_and_boxes_together() -> None:
    image = np.random.default_rng(0).normal(size=(8, 12, 3))
    boxes = np.array([[1.0, 2.0, 5.0, 7.0], [0.0, 0.0, 8.0, 12.0]], np.float32)
    mirrored, moved = augment.mirror(
        tf.constant(image), tf.constant(boxes), tf.constant(True)
    )
    np.testing.assert_array_equal(mirrored, np.flip(image, axis=1))
    np.testing.assert_allclose(moved, [[1, 5, 5, 10], [0, 0, 8, 12]])
    # What the first box holds is what it held, mirrored.
    np.testing.assert_array_equal(mirrored[1:5, 5:10], image[1:5, 2:7][:, ::-1])


def test_mirror_leaves_what_is_not_drawn_and_no_boxes() -> None:
    image, none = tf.ones([4, 6, 3]), tf.zeros([0, 4])
    same, boxes = augment.mirror(image, none, tf.constant(False))
    np.testing.assert_array_equal(same, image)
    assert boxes.shape == (0, 4)
    assert augment.mirror(image, none, tf.constant(True))[1].shape == (0, 4)


def test_colour_jitter_follows_from_the_seed() -> None:
    jitter = colour.make_colour_jitter(0.5)
    image = tf.constant(made_records.smooth_pixels(4, 24, 32))
    seeds = [tf.constant(seed, tf.int64) for seed in ([1, 2], [1, 2], [1, 3])]
    first, same, other = (jitter(image, seed).numpy() for seed in seeds)
    assert first.dtype == np.uint8
    assert first.shape == (24, 32, 3)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert (first != image.numpy()).any()
