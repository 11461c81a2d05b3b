"""Anchors against the official arrays and by hand.

data/anchors.npz holds every 499th anchor of the official EfficientDet
(google/automl, commit 6a54c874, unpatched), and how many there are; with pairs
as shapes and a scale for each level every 13th, which every level has.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from efficientdet_aimmo import anchors as anchors_lib
from hparams import config

REFERENCE = pathlib.Path(__file__).parent / "data" / "anchors.npz"


@pytest.mark.parametrize(
    ("case", "image_size", "anchor_scale"),
    [
        ("512x512", (512, 512), 4.0),
        ("512x960", (512, 960), 4.0),
        ("256x384", (256, 384), 4.0),
        ("500x333", (500, 333), 4.0),
        ("320x320_scale3", (320, 320), 3.0),
    ],
)
def test_anchors_equal_the_official_ones(
    case: str, image_size: tuple[int, int], anchor_scale: float
) -> None:
    section = config.Anchors(anchor_scale=anchor_scale)
    anchors = anchors_lib.anchor_boxes(section, image_size)
    assert anchors.dtype == np.float32
    with np.load(REFERENCE) as arrays:
        assert anchors.shape == (arrays[f"count_{case}"], 4)
        np.testing.assert_allclose(
            anchors[::499], arrays[f"rows_{case}"], rtol=1e-6, atol=1e-4
        )


def test_pairs_and_a_scale_for_each_level_equal_the_official_ones() -> None:
    section = config.Anchors(
        aspect_ratios=((0.7, 1.4), (1.0, 1.0), (1.4, 0.7)),
        anchor_scale=(4.0, 4.0, 3.0, 5.0, 4.0),
    )
    anchors = anchors_lib.anchor_boxes(section, (256, 256))
    case = "256x256_pairs_perlevelscale"
    with np.load(REFERENCE) as arrays:
        assert anchors.shape == (arrays[f"count_{case}"], 4)
        np.testing.assert_allclose(
            anchors[::13], arrays[f"rows_{case}"], rtol=1e-6, atol=1e-4
        )


def test_a_number_and_a_pair_side_by_side_by_hand() -> None:
    section = config.Anchors(
        min_level=5,
        max_level=6,
        num_scales=1,
        aspect_ratios=(4.0, (2.0, 0.25)),
        anchor_scale=(1.0, 3.0),
    )
    anchors = anchors_lib.anchor_boxes(section, (64, 64))
    # (height, width) of the last cell of level 5, then of level 6's only cell.
    sides = [(16, 64), (8, 64), (96, 384), (48, 384)]
    centres = [48, 48, 32, 32]
    expected = [
        [c - h / 2, c - w / 2, c + h / 2, c + w / 2]
        for c, (h, w) in zip(centres, sides, strict=True)
    ]
    np.testing.assert_allclose(anchors[-4:], expected, rtol=1e-6)
    assert anchors_lib.anchors_per_cell(section) == 2


def test_feature_sizes_are_halves_rounded_up() -> None:
    assert anchors_lib.feature_sizes((512, 333), 4) == [
        (512, 333), (256, 167), (128, 84), (64, 42), (32, 21),
    ]  # fmt: skip


def test_one_level_by_hand() -> None:
    section = config.Anchors(
        min_level=5,
        max_level=5,
        num_scales=2,
        aspect_ratios=(1.0, 4.0),
        anchor_scale=1.0,
    )
    root = np.sqrt(2.0)
    # (height, width) at each cell: first octave, then the half octave.
    sides = [(32, 32), (16, 64), (32 * root, 32 * root), (16 * root, 64 * root)]
    expected = [
        [16 - h / 2, x - w / 2, 16 + h / 2, x + w / 2]
        for x in (16, 48)
        for h, w in sides
    ]
    anchors = anchors_lib.anchor_boxes(section, (32, 64))
    np.testing.assert_allclose(anchors, expected, rtol=1e-6)
    assert anchors_lib.anchors_per_cell(section) == 4


def test_stride_is_image_side_over_feature_side() -> None:
    # 500 wide: level 7 has 4 columns of 125 pixels, not of 128.
    section = config.Anchors(min_level=5, max_level=7)
    per_cell = anchors_lib.anchors_per_cell(section)
    anchors = anchors_lib.anchor_boxes(section, (128, 500))
    last_row = anchors[-4 * per_cell :].reshape(4, per_cell, 4)
    centres = (last_row[:, 0, 1] + last_row[:, 0, 3]) / 2
    np.testing.assert_allclose(centres, [62.5, 187.5, 312.5, 437.5])
