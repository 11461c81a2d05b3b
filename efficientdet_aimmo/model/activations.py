"""Activation functions by their official names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from efficientdet_aimmo.model import on_cpu, own_gradient


def _swish_gradient(features: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(features)
    return upstream * gate * (1.0 + features * (1.0 - gate))


_compiled_swish_gradient = tf.function(
    _swish_gradient, jit_compile=True, autograph=False
)


@tf.function(jit_compile=True, autograph=False)
def compiled_swish(features: tf.Tensor) -> tf.Tensor:
    """Returns swish in one pass over memory; for what no tape watches."""
    return features * tf.sigmoid(features)


@tf.function(jit_compile=True, autograph=False)
def normalised_swish_gradient(
    features: tf.Tensor,
    mean: tf.Tensor,
    factor: tf.Tensor,
    offset: tf.Tensor,
    upstream: tf.Tensor,
) -> tf.Tensor:
    """Returns the gradient of swish at (features - mean) * factor + offset.

    It is that of the normalised features, which need not be kept so.
    """
    normalised = (features - mean) * factor + offset
    gate = tf.sigmoid(normalised)
    return upstream * gate * (1.0 + normalised * (1.0 - gate))


def swish(features: tf.Tensor) -> tf.Tensor:
    """Returns x * sigmoid(x) (Ramachandran et al. 2017); keeps x alone.

    As separate operations the gradient takes five passes over memory; compiled
    just for itself it took a quarter of the time on a [4, 128, 128, 96] tensor.
    """

    def compute(
        x: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], Sequence[tf.Tensor]]]:
        def gradient(upstream: tf.Tensor) -> Sequence[tf.Tensor]:
            if on_cpu.is_large(x):
                return [_compiled_swish_gradient(x, upstream)]
            return [_swish_gradient(x, upstream)]

        return x * tf.sigmoid(x), gradient

    return own_gradient.compute(compute, features)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "swish": swish,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "hswish": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
}


@contextlib.contextmanager
def _standard_error_closed() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def compile_quietly() -> None:
    """Compiles a first gradient, and drops what XLA says once per process.

    Its notice ignores TensorFlow's log level. On a GPU nothing is compiled.
    """
    if tf.config.list_logical_devices("GPU"):
        return
    with _standard_error_closed():
        _compiled_swish_gradient(tf.zeros([1]), tf.zeros([1]))
