"""Weights and images that two PyTorch ports were run with, made anew.

Weights follow from a seed, the state dict's key and the shape. They are large
enough everywhere that a wrong epsilon or two swapped batch norms show in the
outputs, and the weights of a fusion are uneven.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def _draws(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.RandomState((zlib.crc32(key.encode()) + seed) & 0xFFFFFFFF)
    return rng.random_sample(size=shape)


def _limits(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns between which numbers a parameter's values are drawn."""
    last = key.rpartition(".")[2]
    if last.endswith(("_w1", "_w2")) or last == "edge_weights":
        return 0.1, 1.7
    if len(shape) == 4:
        is_small = key.startswith(("regressor.header", "box_net.predict"))
        gain = 0.3 if is_small else 2.0
        limit = np.sqrt(3.0 * gain / math.prod(shape[1:]))
        return -limit, limit
    if last == "weight":
        return 0.7, 1.3
    is_final = key.startswith(("classifier.header", "class_net.predict"))
    return (-3.5, -2.0) if is_final else (-0.3, 0.3)


def value(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns a parameter, float32, in the state dict's layout."""
    low, high = _limits(key, shape)
    drawn = low + (high - low) * _draws(key, shape, seed)
    return np.asarray(drawn, np.float32)


def statistic(
    key: str, shape: tuple[int, ...], measured: np.ndarray, seed: int
) -> np.ndarray:
    """Returns a running mean or variance, float32, uneven over channels.

    Args:
      key: ends in running_mean or running_var.
      shape: [channels].
      measured: mean and variance of all that the batch norm was given.
      seed: of all weights.
    """
    mean, variance = measured.astype(np.float64)
    draws = _draws(key, shape, seed)
    if key.endswith("running_mean"):
        disturbed = mean + 0.3 * np.sqrt(variance) * (2.0 * draws - 1.0)
    else:
        disturbed = variance * (0.6 + 0.8 * draws)
    return disturbed.astype(np.float32)


def images(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns noise, float32, [B, 3, H, W] as PyTorch has it."""
    noise = np.random.RandomState(seed).standard_normal(shape)
    return noise.astype(np.float32)


def thin(levels: list[np.ndarray], every: tuple[int, int]) -> list[np.ndarray]:
    """Returns the flat levels: the two large ones thinned more."""
    return [
        level.reshape(-1)[:: every[0] if place < 2 else every[1]]
        for place, level in enumerate(levels)
    ]


def largest_deviation(
    found: dict[str, list[np.ndarray]], expected: dict[str, np.ndarray]
) -> float:
    """Returns the largest difference of outputs by part, level 3 first."""
    deviations = []
    for part, levels in found.items():
        for level, values in enumerate(levels, start=3):
            difference = np.abs(values - expected[f"{part}_{level}"])
            assert difference.size > 0
            deviations.append(float(difference.max()))
    return max(deviations)
