"""Anchor boxes of all feature levels."""

from __future__ import annotations

import math

import numpy as np

from hparams import config as config_lib


def feature_sizes(
    image_size: tuple[int, int], max_level: int
) -> list[tuple[int, int]]:
    """Returns (height, width) of levels 0 to max_level: halves, rounded up."""
    sizes = [image_size]
    for _ in range(max_level):
        height, width = sizes[-1]
        sizes.append(((height - 1) // 2 + 1, (width - 1) // 2 + 1))
    return sizes


def _shape(ratio: float | tuple[float, float]) -> tuple[float, float]:
    """Returns the factors on (height, width) of a square anchor's side."""
    if isinstance(ratio, tuple):
        return ratio[1], ratio[0]
    return 1 / math.sqrt(ratio), math.sqrt(ratio)


def _scales(config: config_lib.Anchors) -> dict[int, float]:
    """Returns each level's anchor scale."""
    levels = range(config.min_level, config.max_level + 1)
    if isinstance(config.anchor_scale, tuple):
        return dict(zip(levels, config.anchor_scale, strict=True))
    return dict.fromkeys(levels, config.anchor_scale)


def _level_boxes(
    stride: tuple[float, float],
    size: tuple[int, int],
    scales: np.ndarray,
    shapes: np.ndarray,
) -> np.ndarray:
    """Returns [height, width, scales * shapes, 4] boxes of one level."""
    half = (scales[:, None, None] * shapes).reshape(-1, 2) * stride / 2
    rows = (np.arange(size[0]) + 0.5) * stride[0]
    columns = (np.arange(size[1]) + 0.5) * stride[1]
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    centres = grid[:, :, None, :]
    return np.concatenate([centres - half, centres + half], axis=-1)


def anchor_boxes(
    config: config_lib.Anchors, image_size: tuple[int, int]
) -> np.ndarray:
    """Returns all anchors, [A, 4] float32 pixels, not clipped.

    Order: level, row, column, octave scale, shape. A level's stride is
    the image's side over the feature's, so it need not be a power of two.

    Args:
      config: levels, scales and shapes.
      image_size: (height, width) of the network input.
    """
    sizes = feature_sizes(image_size, config.max_level)
    octaves = 2.0 ** (np.arange(config.num_scales) / config.num_scales)
    shapes = np.array([_shape(ratio) for ratio in config.aspect_ratios])
    levels = []
    for level, scale in _scales(config).items():
        height, width = sizes[level]
        stride = (image_size[0] / height, image_size[1] / width)
        boxes = _level_boxes(stride, sizes[level], scale * octaves, shapes)
        levels.append(boxes.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def anchors_per_cell(config: config_lib.Anchors) -> int:
    """Returns how many anchors stand at each feature cell."""
    return config.num_scales * len(config.aspect_ratios)
