"""The computation of a training step as one program, compiled by XLA.

Forward pass, loss and gradients are compiled. Targets, what replicas add up,
the judgement whether a step is finite and all changes stay outside: they are
few operations, and some of them XLA does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_aimmo.model import layers
from hparams import config as config_lib
from tfrecord_tools import command


def find(
    function: Callable[[], Sequence[tf.Tensor]],
    run: layers.ForwardPass,
    use_xla: bool,
) -> tuple[list[tf.Tensor], list[layers.Update]]:
    """Returns what function gives, and what the pass hands back.

    Args:
      function: goes forward through run, and back.
      run: a pass that has not begun.
      use_xla: whether both are compiled as one program.
    """

    def tensors() -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        found = list(function())
        return found, [update.value for update in run.updates]

    take = tensors
    if use_xla:
        if not tf.executing_eagerly():
            run.outside = tf.compat.v1.get_default_graph().as_default
        take = tf.function(tensors, jit_compile=True, autograph=False)
    found, values = take()
    return found, [
        update._replace(value=value)
        for update, value in zip(run.updates, values, strict=True)
    ]


def is_compiled(runtime: config_lib.Runtime) -> bool:
    """Returns whether XLA compiles a step; called by a replica."""
    # TensorFlow compiles whatever a TPU's replica does.
    strategy = tf.distribute.get_strategy()
    return runtime.use_xla or isinstance(strategy, tf.distribute.TPUStrategy)


def check(config: config_lib.Config, num_replicas: int) -> list[str]:
    """Returns what is to be said of use_xla before the first step.

    Args:
      config: of the run.
      num_replicas: devices that share it.

    Raises:
      UserError: it does not go together with something else that is asked for.
    """
    if not config.runtime.use_xla:
        return []
    if config.runtime.grad_checkpoint:
        raise _usage(
            "use_xla=true and grad_checkpoint=true: XLA computes what is equal"
            " once and keeps it, so nothing would be saved. Give one of them."
        )
    rows = config.train.train_batch_size // (
        num_replicas * config.train.accumulate_steps
    )
    least = config.model.sync_batch_norm_below
    if num_replicas > 1 and rows < least:
        raise _usage(
            f"use_xla=true: batch norm is synchronised over {num_replicas}"
            f" replicas, as each has {rows} images at once, fewer than {least}"
            " (sync_batch_norm_below), and a compiled program cannot wait for"
            " another. Give use_xla=false, larger batches, or"
            " sync_batch_norm_below=0."
        )
    if tf.config.list_physical_devices("GPU"):
        return []
    return [
        "warning: use_xla=true on a CPU, where a compiled step was measured"
        " slower than one that is not (benchmarks/README.md)."
    ]


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)
