"""Training steps of made batches, for benchmarks of their time and memory."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import tensorflow as tf

from efficientdet_aimmo import anchors
from efficientdet_aimmo.benching import made
from efficientdet_aimmo.training import schedule, state, step
from hparams import config as config_lib


def make_step(config: config_lib.Config) -> Callable[[], float]:
    """Returns a function that trains on one batch, and gives the loss."""
    count = config.train.train_batch_size
    course = schedule.Course(1000 * count, count, 10)
    boxes = anchors.anchor_boxes(config.anchors, config.data.image_size)
    train_step = step.make_train_step(
        state.TrainState(config),
        tf.constant(boxes),
        schedule.Schedule(config.optimizer, course),
        config,
    )
    batch = made.batch(config, count)
    return lambda: float(train_step(batch).total_loss)


def resident_mib() -> float:
    """Returns the memory of this process now."""
    return _status_mib("VmRSS")


def peak_mib() -> float:
    """Returns the most memory this process has had since forget_peak."""
    return _status_mib("VmHWM")


def forget_peak() -> None:
    """Lets peak_mib count from now on."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def _status_mib(key: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{key}:"))
    return float(found.split()[1]) / 1024
