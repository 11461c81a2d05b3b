"""The flag with which a command computes on a machine without a GPU."""

from __future__ import annotations

from absl import flags


def define(values: flags.FlagValues) -> None:
    """Defines --allow_cpu for a command that calls gate.require_gpu."""
    flags.DEFINE_bool(
        "allow_cpu",
        False,
        "compute on the CPU where TensorFlow can use no GPU, instead of"
        " stopping",
        flag_values=values,
    )
