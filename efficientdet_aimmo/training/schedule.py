"""The learning rate of every step."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from hparams import config as config_lib


@dataclasses.dataclass(frozen=True)
class Course:
    """How long a run is.

    Attributes:
      num_images: images of an epoch.
      batch_size: images of a step, over all replicas.
      num_epochs: passes over the images.
    """

    num_images: int
    batch_size: int
    num_epochs: int

    @property
    def steps_per_epoch(self) -> float:
        """Steps of an epoch; a step may belong to two epochs."""
        return self.num_images / self.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the run; the last one is filled from the next epoch."""
        return self.end_of_epoch(self.num_epochs)

    def end_of_epoch(self, epoch: int) -> int:
        """Returns the step count at which `epoch` epochs have been seen."""
        return self.steps_of(epoch)

    def steps_of(self, epochs: float) -> int:
        """Returns how many steps it takes to see so many epochs."""
        return math.ceil(epochs * self.num_images / self.batch_size)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a curve that ends at the last step.

    Attributes:
      config: rates and decay.
      course: batch size and length of the run.
    """

    config: config_lib.Optimizer
    course: Course

    @property
    def factor(self) -> float:
        """What the batch size makes of the given rates."""
        if self.config.learning_rate_batch == 0:
            return 1.0
        return self.course.batch_size / self.config.learning_rate_batch

    @property
    def start(self) -> float:
        """The rate at step 0."""
        return self.config.lr_warmup_init * self.factor

    @property
    def peak(self) -> float:
        """The rate after warm-up."""
        return self.config.learning_rate * self.factor

    @property
    def warmup_steps(self) -> float:
        """Steps until the peak."""
        return self.config.lr_warmup_epoch * self.course.steps_per_epoch

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate of a step (from 0), scalar float32.

        Two rules differ from the official code: the warm-up starts at a rate
        that is scaled like the others, and the curve begins where the warm-up
        ends, so it neither jumps there nor rises again at the end.
        """
        step = tf.cast(step, tf.float32)
        warmup = self.warmup_steps
        rest = max(self.course.num_steps - warmup, 1.0)
        progress = tf.clip_by_value((step - warmup) / rest, 0.0, 1.0)
        rate = self.peak * self._decay(step, progress)
        if warmup == 0:
            return rate
        climb = self.start + (self.peak - self.start) * (step / warmup)
        return tf.where(step < warmup, climb, rate)

    def _decay(self, step: tf.Tensor, progress: tf.Tensor) -> tf.Tensor:
        """Returns the share of the peak rate, scalar float32."""
        config = self.config
        if config.lr_decay_method == "cosine":
            return 0.5 * (1.0 + tf.cos(math.pi * progress))
        if config.lr_decay_method == "polynomial":
            return tf.pow(1.0 - progress, config.poly_lr_power)
        if config.lr_decay_method == "stepwise":
            epoch = step / self.course.steps_per_epoch
            first = tf.where(epoch < config.first_lr_drop_epoch, 1.0, 0.1)
            second = tf.where(epoch < config.second_lr_drop_epoch, 1.0, 0.1)
            return first * second
        return tf.ones_like(progress)
