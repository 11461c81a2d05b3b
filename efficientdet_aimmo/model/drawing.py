"""Makes variables, and draws what they begin with."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf


class VariableMaker:
    """Makes variables, each drawn from the seed and its own name.

    Attributes:
      groups: variables by part of the network, in order of creation.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.groups: list[list[tf.Variable]] = []

    def start_group(self) -> None:
        """Starts a part: official order sorts its statistics to its end."""
        self.groups.append([])

    def add(
        self,
        name: str,
        shape: tuple[int, ...],
        draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
        trainable: bool = True,
    ) -> tf.Variable:
        """Returns a new float32 variable of the current group."""
        rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        value = draw(rng, shape).astype(np.float32)
        variable = tf.Variable(value, trainable=trainable, name=name)
        self.groups[-1].append(variable)
        return variable

    def ordered(self) -> list[tf.Variable]:
        """Returns all variables in the official order."""
        return [
            variable
            for group in self.groups
            for trainable in (True, False)
            for variable in group
            if variable.trainable == trainable
        ]


def zeros(_: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns zeros."""
    return np.zeros(shape)


def ones(_: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns ones."""
    return np.ones(shape)


def he_fan_out(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with variance 2 / fan-out (EfficientNet's own initialiser)."""
    fan_out = shape[0] * shape[1] * shape[3]
    return rng.normal(0.0, math.sqrt(2.0 / fan_out), shape)


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform with variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010)."""
    fans = shape[0] * shape[1] * (shape[2] + shape[3])
    limit = math.sqrt(6.0 / fans)
    return rng.uniform(-limit, limit, shape)


def lecun(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with variance 1 / fan-in, cut at two deviations (LeCun 1998)."""
    # .8796 is the deviation of a normal cut at two deviations.
    scale = math.sqrt(1.0 / (shape[0] * shape[1] * shape[2])) / 0.87962566
    values = rng.normal(size=shape)
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = rng.normal(size=int(outside.sum()))
    return values * scale


def constant(value: float) -> Callable[..., np.ndarray]:
    """Returns an initialiser that fills with value."""
    return lambda _, shape: np.full(shape, value)
