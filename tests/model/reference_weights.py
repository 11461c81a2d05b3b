"""Weights and images that the official network was run with, made anew.

Weights follow from a seed and the variable's name alone. They are large enough
everywhere that a wrong epsilon or two swapped batch norms show in the outputs.
Moving statistics are measured ones, in tests/data/d0_statistics.npz and
lite0_4cls.npz.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def _limits(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns between which numbers a variable's values are drawn."""
    last = name.split("/")[-1]
    if last == "gamma":
        return 0.7, 1.3
    if last.startswith("WSM"):
        return -0.3, 1.7
    if last in ("beta", "bias"):
        return (-3.5, -2.0) if "class-predict/bias" in name else (-0.3, 0.3)
    inputs = 1 if last == "depthwise_kernel" else shape[2]
    gain = 0.3 if "box-predict" in name else 2.0
    limit = np.sqrt(3.0 * gain / (math.prod(shape[:2]) * inputs))
    return -limit, limit


def value(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns a trainable variable's value, float32.

    Args:
      name: the variable's, ending in ':0' as TensorFlow's do.
      shape: its shape.
      seed: of all weights.
    """
    rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) & 0xFFFFFFFF)
    low, high = _limits(name.removesuffix(":0"), shape)
    drawn = low + (high - low) * rng.random_sample(size=shape)
    return np.asarray(drawn, np.float32)


def images(seed: int, size: tuple[int, int] = (256, 256)) -> np.ndarray:
    """Returns two images, [2, *size, 3] float32: noise on waves."""
    height, width = size
    noise = np.random.RandomState(seed).standard_normal((2, height, width, 3))
    image, row, column = np.ogrid[:2, :height, :width]
    waves = np.sin(column / 17 + image) * np.cos(row / 23 - image)
    colours = np.array([1.0, 0.7, -0.5])
    return (0.5 * noise + waves[..., None] * colours).astype(np.float32)


def restore(variables: Sequence[Any], seed: int, moving: np.ndarray) -> None:
    """Gives a network's variables the reference's values.

    Args:
      variables: of the whole network, in the official order.
      seed: of all weights.
      moving: the moving statistics, one after the other.
    """
    start = 0
    for variable in variables:
        shape = tuple(variable.shape)
        if variable.trainable:
            variable.assign(value(variable.name, shape, seed))
        else:
            end = start + math.prod(shape)
            variable.assign(moving[start:end])
            start = end
    assert start == len(moving)
