"""A network and a batch that are small enough for tests of training."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import anchors
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.training import schedule, state, step
from hparams import config as config_lib
from hparams import override, presets

# One cell, one convolution per head, no squeeze-and-excite: few operations.
TINY = (
    "image_size=64,num_classes=4,fpn_cell_repeats=1,box_class_repeats=1,"
    "fpn_num_filters=16,train_batch_size=2,num_epochs=4,learning_rate_batch=0,"
    "lr_warmup_epoch=0,lr_decay_method=constant,learning_rate=0.01,"
    "preemption_notice=off"
)


def config(text: str = "") -> config_lib.Config:
    """Returns a tiny lite0 with further settings."""
    tiny = override.override(presets.get_config("efficientdet-lite0"), TINY)
    return override.override(tiny, text) if text else tiny


def batch(fill: float = 0.0) -> pipeline.TrainBatch:
    """Returns two 64x64 images with three objects; fill is added to pixels."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(2, 64, 64, 3)).astype(np.float32) + fill
    boxes = np.zeros((2, 4, 4), np.float32)
    boxes[0, 0] = [4, 6, 40, 50]
    boxes[0, 1] = [30, 30, 60, 62]
    boxes[1, 0] = [0, 0, 20, 64]
    return pipeline.TrainBatch(
        images=tf.constant(images),
        boxes=tf.constant(boxes),
        classes=tf.constant([[0, 3, 0, 0], [2, 0, 0, 0]]),
        num_boxes=tf.constant([2, 1]),
        source_ids=tf.constant(["1", "2"]),
        bad=tf.constant(["", ""]),
    )


class Trainer:
    """A state and its compiled step."""

    def __init__(self, text: str = "") -> None:
        self.config = config(text)
        self.state = state.TrainState(self.config)
        self.anchors = tf.constant(
            anchors.anchor_boxes(
                self.config.anchors, self.config.data.image_size
            )
        )
        course = schedule.Course(8, 2, self.config.train.num_epochs)
        self.step = step.make_train_step(
            self.state,
            self.anchors,
            schedule.Schedule(self.config.optimizer, course),
            self.config,
        )

    def values(self) -> dict[str, np.ndarray]:
        """Returns a copy of everything that a step may change."""
        return {k: v.numpy().copy() for k, v in self.state.variables().items()}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """Returns whether all values are equal to the bit."""
    return first.keys() == second.keys() and all(
        np.array_equal(value, second[name]) for name, value in first.items()
    )
