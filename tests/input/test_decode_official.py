"""Resizing, cropping and padding against official arrays.

data/preprocess.npz holds six images of 64x64 to 200x100, what the official
EfficientDet (google/automl, commit 6a54c874, unpatched) makes of them (every
83rd pixel) and of five boxes, at the scale of evaluation and at 0.6 and 1.7
times that, with the crop that it drew.

Officially the scaled sides are cut to whole pixels, so each axis has its own
scale, and detections are mapped back by the one before; boxes are clipped to
one pixel less than the input. Here the scale is exact, and the edge of the last
pixel is the input's side.
"""

from __future__ import annotations

import functools
import pathlib
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.data import decode
from hparams import config

REFERENCE = pathlib.Path(__file__).parents[1] / "data" / "preprocess.npz"
IMAGES = range(6)
MODES = {"eval": 1.0, "scale0.6": 0.6, "scale1.7": 1.7}
CASES = [(image, mode) for image in IMAGES for mode in MODES]


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


class Case(NamedTuple):
    """An image and what the official code makes of it."""

    image: np.ndarray
    data: config.Data
    pixels: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scale: np.ndarray
    scale_to_original: np.ndarray
    scaled_hw: np.ndarray
    offset_yx: np.ndarray

    @property
    def axis_scale(self) -> np.ndarray:
        """[2]: the scale of each axis after cutting to whole pixels."""
        return self.scaled_hw / np.array(self.image.shape[:2])


def _case(image: int, mode: str) -> Case:
    height, width = _arrays()[f"{image}/output_hw"].tolist()
    return Case(
        _arrays()[f"{image}/input"],
        config.Data(image_size=(height, width)),
        *(_arrays()[f"{image}/{mode}/{name}"] for name in Case._fields[2:]),
    )


def _place_boxes(
    case: Case, scale: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    boxes, is_left = decode.place_boxes(
        tf.constant(_arrays()["boxes_norm"]),
        tf.constant(case.image.shape),
        tf.constant(scale, tf.float32),
        tf.constant(offset, tf.float32),
        case.data,
    )
    return boxes.numpy(), is_left.numpy()


@pytest.mark.parametrize(("image", "mode"), CASES)
def test_place_image_equals_the_official_pixels(image: int, mode: str) -> None:
    case = _case(image, mode)
    placed = decode.place_image(
        tf.constant(case.image),
        tf.constant(case.axis_scale, tf.float32),
        tf.constant(case.offset_yx, tf.float32),
        case.data,
    )
    assert placed.shape == (*case.data.image_size, 3)
    np.testing.assert_allclose(
        placed.numpy().reshape(-1, 3)[::83], case.pixels, rtol=0.0, atol=2e-4
    )


@pytest.mark.parametrize(("image", "mode"), CASES)
def test_official_rule_gives_the_official_sides_and_boxes(
    image: int, mode: str
) -> None:
    case = _case(image, mode)
    sides = np.array(case.image.shape[:2])
    output = np.array(case.data.image_size)
    aim = output if mode == "eval" else np.floor(output * MODES[mode])
    scale = (aim / sides).min()
    np.testing.assert_allclose(case.scale, scale, rtol=1e-6)
    np.testing.assert_allclose(case.scale_to_original, 1 / scale, rtol=1e-6)
    scaled = np.floor(np.float32(scale) * sides.astype(np.float32))
    np.testing.assert_array_equal(case.scaled_hw, scaled)
    moved = _arrays()["boxes_norm"] * np.tile(scaled, 2)
    moved -= np.tile(case.offset_yx, 2)
    moved = np.clip(moved, 0.0, np.tile(output - 1, 2))
    is_left = (moved[:, 2:] > moved[:, :2]).all(axis=1)
    np.testing.assert_allclose(moved[is_left], case.boxes, atol=1e-3)
    np.testing.assert_array_equal(_arrays()["classes"][is_left], case.classes)


@pytest.mark.parametrize(("image", "mode"), CASES)
def test_place_boxes_equals_the_official_boxes_but_for_the_last_pixel(
    image: int, mode: str
) -> None:
    case = _case(image, mode)
    boxes, is_left = _place_boxes(case, case.axis_scale, case.offset_yx)
    np.testing.assert_array_equal(_arrays()["classes"][is_left], case.classes)
    ours, output = boxes[is_left], np.tile(case.data.image_size, 2)
    at_border = ours > output - 1
    np.testing.assert_allclose(
        ours[~at_border], case.boxes[~at_border], atol=1e-3
    )
    # A whole image's box ends at the input's edge, not a pixel before it.
    np.testing.assert_array_equal(
        case.boxes[at_border],
        np.broadcast_to(output, ours.shape)[at_border] - 1,
    )
    np.testing.assert_allclose(
        ours[1][[2, 3]],
        np.minimum(output[:2], case.scaled_hw - case.offset_yx),
        rtol=1e-6,
    )


@pytest.mark.parametrize("image", IMAGES)
def test_prepared_image_is_the_official_one_where_nothing_is_cut(
    image: int,
) -> None:
    case = _case(image, "eval")
    placed, back = decode.prepare_image(tf.constant(case.image), case.data)
    np.testing.assert_allclose(back, case.scale_to_original, rtol=1e-6)
    exact = float(case.scale) * np.array(case.image.shape[:2])
    cut = exact - case.scaled_hw
    pixels = placed.numpy().reshape(-1, 3)[::83]
    if image in (1, 5):  # 227.6 and 79.6 pixels are 227 and 79 there
        assert 0.5 < cut.max() < 1.0
        assert np.abs(pixels - case.pixels).max() > 0.01
    else:
        assert np.abs(cut).max() < 1e-4
        np.testing.assert_allclose(pixels, case.pixels, rtol=0.0, atol=2e-4)
    # Mapped back by the one scale, our boxes are where they were; the official
    # ones are off by what was cut.
    scale = np.array([case.scale, case.scale])
    boxes, is_left = _place_boxes(case, scale, np.zeros(2))
    stored = _arrays()["boxes_norm"] * np.tile(case.image.shape[:2], 2)
    np.testing.assert_allclose(
        boxes[is_left] * float(back), stored[is_left], rtol=1e-5, atol=1e-3
    )
    official = case.boxes[0] * float(case.scale_to_original)
    np.testing.assert_allclose(
        (stored[0] - official) / float(back),
        _arrays()["boxes_norm"][0] * np.tile(cut, 2),
        atol=1e-3,
    )
