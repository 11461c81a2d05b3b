"""Segments of the network that keep nothing but their inputs.

What a segment computes on the way to its outputs is given back at once, and
computed again in the backward pass (Chen et al. 2016, "Training deep nets with
sublinear memory cost"). The operations are the same both times, and so are the
gradients, to the bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import tensorflow as tf

from efficientdet_aimmo.model import layers

# A tensor, or a list of tensors.
In = TypeVar("In")
Out = TypeVar("Out")


def _same(tensors: In) -> In:
    return tf.nest.map_structure(tf.identity, tensors)


def segment(
    function: Callable[[In, layers.ForwardPass], Out],
    inputs: In,
    run: layers.ForwardPass,
) -> Out:
    """Returns function(inputs, run), recomputed if the pass asks for it.

    What function hands to the pass counts once.

    Args:
      function: a part of the network.
      inputs: what is kept.
      run: the pass.
    """
    last = run.recomputed
    if not run.training:
        return function(inputs, run)
    if last is None:
        # Gradients that meet at a segment's ends are summed outside and inside
        # first, as they are when it is recomputed.
        outputs = function(_same(inputs), run)
        return _same(outputs)

    @tf.custom_gradient
    def compute(*kept: tf.Tensor) -> tuple[Out, Callable[..., object]]:
        def gradient(
            *upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()
        ) -> tuple[list[tf.Tensor], list[tf.Tensor | None]]:
            trained = [v for v in variables if v.name not in run.frozen]
            # A segment waits for the gradients that come to it, and for those
            # that the segment before has given. Otherwise TensorFlow computes
            # all segments again at once, or takes what it has computed the
            # first time, which is then kept after all.
            with (
                tf.control_dependencies([*upstream, *last]),
                tf.GradientTape(watch_accessed_variables=False) as tape,
            ):
                again = [tf.identity(tensor) for tensor in kept]
                tape.watch([*again, *trained])
                outputs = function(
                    tf.nest.pack_sequence_as(inputs, again),
                    dataclasses.replace(run, updates=[]),
                )
                # From one operation the tape goes back in a fixed order; from
                # several in the order of a hash table, in which replicas that
                # sum over devices on the way would wait for each other.
                ends = tf.identity_n(tf.nest.flatten(outputs))
            found = tape.gradient(ends, [*again, *trained], upstream)
            last[:] = found
            of_variable = {
                v.name: g
                for v, g in zip(trained, found[len(kept) :], strict=True)
            }
            return (
                found[: len(kept)],
                [of_variable.get(v.name) for v in variables],
            )

        return function(tf.nest.pack_sequence_as(inputs, kept), run), gradient

    return compute(*tf.nest.flatten(inputs))
