"""What a run computes in, chosen by the device where nobody says it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from hparams import config as config_lib

# From here on GPUs have tensor cores, which multiply float16.
_LEAST_CAPABILITY = (7, 0)


def capabilities() -> list[tuple[int, int]]:
    """Returns the compute capability of every GPU, (0, 0) where unknown."""
    return [
        tf.config.experimental.get_device_details(gpu).get(
            "compute_capability", (0, 0)
        )
        for gpu in tf.config.list_physical_devices("GPU")
    ]


def resolve(
    config: config_lib.Config,
    begun: str | None,
    found: Sequence[tuple[int, int]],
) -> tuple[config_lib.Config, str]:
    """Returns the configuration without auto, and why it is so.

    Args:
      config: as given.
      begun: the precision that the run in this folder has, None in a new one.
      found: compute capability of every GPU that is used, none on a CPU.
    """
    given = config.train.precision
    if given != "auto":
        return config, "as given"
    chosen, reason = _choose(found)
    if begun is not None:
        other = f"; auto would be {chosen} here" if begun != chosen else ""
        chosen, reason = begun, f"as the run in --model_dir began{other}"
    train = dataclasses.replace(config.train, precision=chosen)
    return dataclasses.replace(config, train=train), f"auto: {reason}"


def _choose(found: Sequence[tuple[int, int]]) -> tuple[str, str]:
    if not found:
        return "float32", "there is no GPU"
    major, minor = least = min(found)
    if least < _LEAST_CAPABILITY:
        return (
            "float32",
            f"a GPU has compute capability {major}.{minor}, below 7.0",
        )
    return "float16", f"GPUs of compute capability {major}.{minor} or more"
