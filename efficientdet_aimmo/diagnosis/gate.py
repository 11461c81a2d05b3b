"""Stops what would compute on the CPU where nobody asked for that."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfrecord_tools import command


def require_gpu(*, allow_cpu: bool, environment: Mapping[str, str]) -> None:
    """Raises UserError if TensorFlow can use no GPU, unless that is allowed.

    Call it after what is cheap to check in the user's flags and files, and
    before anything is built. Where TensorFlow has a GPU it asks nothing else.

    Args:
      allow_cpu: whether the user gave --allow_cpu.
      environment: the process's environment variables.

    Raises:
      UserError: DEVICE, with what does not fit and what to do.
    """
    if tf.config.list_physical_devices("GPU") or allow_cpu:
        return
    raise command.UserError(
        command.ExitCode.DEVICE,
        "This machine has no GPU that TensorFlow can use. To compute on the"
        " CPU, give --allow_cpu.",
    )
