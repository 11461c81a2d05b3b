"""Keeps TensorFlow from rewriting the graph of a training step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_SWITCH = "disable_meta_optimizer"


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """Functions called inside run as they were written, on a CPU.

    Grappler, which rewrites graphs before their first run, took 7 of 26 seconds
    to D0's first step and made no step faster. It also adds up gradients in an
    order that depends on what else is in the graph. Elsewhere, as in
    evaluation, its rewriting stays; and where there is a GPU, for whose layouts
    of arrays it was not measured.
    """
    if tf.config.list_physical_devices("GPU"):
        yield
        return
    options = tf.config.optimizer
    before = options.get_experimental_options().get(_SWITCH, False)
    options.set_experimental_options({_SWITCH: True})
    try:
        yield
    finally:
        options.set_experimental_options({_SWITCH: before})
