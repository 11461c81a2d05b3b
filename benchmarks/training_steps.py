"""Training steps of made batches, for benchmarks of their time and memory."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import anchors
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.training import schedule, state, step
from hparams import config as config_lib

_MAX_BOXES = 16


def made_batch(config: config_lib.Config) -> pipeline.TrainBatch:
    """Returns smooth random images with eight objects in each."""
    count = config.train.train_batch_size
    height, width = config.data.image_size
    draw = np.random.default_rng(0)
    coarse = draw.normal(size=(count, height // 8, width // 8, 3))
    sides = draw.uniform(0.05, 0.4, (count, _MAX_BOXES, 2))
    corners = draw.uniform(0.0, 0.6, (count, _MAX_BOXES, 2))
    boxes = np.concatenate([corners, corners + sides], axis=-1)
    boxes *= [height, width, height, width]
    classes = draw.integers(0, config.model.num_classes, (count, _MAX_BOXES))
    return pipeline.TrainBatch(
        images=tf.image.resize(coarse.astype(np.float32), (height, width)),
        boxes=tf.constant(boxes, tf.float32),
        classes=tf.constant(classes, tf.int32),
        num_boxes=tf.fill([count], _MAX_BOXES // 2),
        source_ids=tf.fill([count], "1"),
        bad=tf.fill([count], ""),
    )


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
    batch = made_batch(config)
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
