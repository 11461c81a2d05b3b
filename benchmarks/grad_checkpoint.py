"""Measures what grad_checkpoint saves and costs.

    python -m benchmarks.grad_checkpoint

A training step of EfficientDet-D2, one image of 768x768, with and without: the
growth of the process in a step, each in a process of its own, and the time, of
both in turn in one process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from absl import flags

from hparams import override, presets
from tfrecord_tools import command

MOST_MEMORY = 0.65
MOST_TIME = 1.35

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model_name", "efficientdet-d2", "the network", flag_values=FLAGS
)
flags.DEFINE_string(
    "hparams",
    "",
    "further settings, name=value,name=value",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "rounds", 15, "steps of each that are timed", flag_values=FLAGS
)
flags.DEFINE_enum(
    "memory_of",
    None,
    ["false", "true"],
    "only print what a step with this grad_checkpoint adds to the process, MiB",
    flag_values=FLAGS,
)

_SETTINGS = "num_classes=90,train_batch_size=1,learning_rate=0.001"


def _make_step(
    values: flags.FlagValues, grad_checkpoint: str
) -> Callable[[], object]:
    from benchmarks import training_steps

    config = presets.get_config(values.model_name)
    for text in (
        _SETTINGS,
        values.hparams,
        f"grad_checkpoint={grad_checkpoint}",
    ):
        config = override.override(config, text) if text else config
    return training_steps.make_step(config)


def _growth_mib(values: flags.FlagValues, grad_checkpoint: str) -> float:
    """Returns the growth in this process, from the weights made to its most."""
    from benchmarks import training_steps

    take = _make_step(values, grad_checkpoint)
    before = training_steps.resident_mib()
    take()
    # What tracing took is no part of it.
    training_steps.forget_peak()
    for _ in range(3):
        take()
    return training_steps.peak_mib() - before


def _growth_elsewhere(values: flags.FlagValues, grad_checkpoint: str) -> float:
    """Returns the growth in a process of its own."""
    arguments = [f"--memory_of={grad_checkpoint}"]
    arguments += [f"--{k}={values[k].value}" for k in ("model_name", "hparams")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.grad_checkpoint", *arguments],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(done.stdout)


def main(values: flags.FlagValues) -> None:
    """Measures and prints."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if values.memory_of is not None:
        print(_growth_mib(values, values.memory_of))
        return
    growths = [_growth_elsewhere(values, on) for on in ("false", "true")]
    steps = [_make_step(values, on) for on in ("false", "true")]
    times: list[list[float]] = [[], []]
    for number in range(values.rounds + 1):
        for take, found in zip(steps, times, strict=True):
            start = time.perf_counter()
            take()
            if number:  # the first traces
                found.append(time.perf_counter() - start)
    seconds = [statistics.median(found) for found in times]
    for name, unit, (without, with_), most in (
        ("memory", "MiB", growths, MOST_MEMORY),
        ("time", "s", seconds, MOST_TIME),
    ):
        ratio = with_ / without
        print(
            f"{name:8} {without:8.2f} {unit} without, {with_:8.2f} with:"
            f" {ratio:.2f}, at most {most:.2f}"
            f" {'reached' if ratio <= most else 'missed'}"
        )


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
