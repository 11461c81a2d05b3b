"""Computations that say their own gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.eager import record


def compute(
    function: Callable[
        ..., tuple[tf.Tensor, Callable[[tf.Tensor], Sequence[tf.Tensor]]]
    ],
    *inputs: tf.Tensor | tf.Variable,
) -> tf.Tensor:
    """Returns what a function of tensors gives, with the gradient it gives.

    tf.custom_gradient does the same, and prepares for tf.gradients and for
    variables that the function reads: every use of it adds a dozen operations
    to a graph, mostly zeros that nobody reads.

    Args:
      function: returns a tensor, and a function from the tensor's gradient to
        those of the inputs. No tape sees what it does, and no input of it may
        be its output.
      *inputs: all that has a gradient.
    """
    tensors = [tf.convert_to_tensor(value) for value in inputs]
    with record.stop_recording():
        outputs, gradient = function(*tensors)
    record.record_operation(
        "OwnGradient",
        [outputs],
        tensors,
        lambda upstream: list(gradient(upstream)),
    )
    return outputs
