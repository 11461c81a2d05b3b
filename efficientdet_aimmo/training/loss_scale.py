"""The factor that keeps float16 gradients within their range.

The loss is multiplied by it before the backward pass, and the gradients are
divided by it in float32, before they are clipped or judged (Micikevicius et al.
2018, "Mixed precision training", section 3.2). It moves by powers of two, so
that nothing is rounded: half after a gradient that overflows, double after a
number of finite steps in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_aimmo import checkpoint
from hparams import config as config_lib


class LossScale:
    """The scale and its counts, which a checkpoint holds.

    Attributes:
      value: float32, the scale in force.
      good_steps: int64, finite steps since it last changed.
      overflowed: int64, steps done without a change because they overflowed.
    """

    def __init__(self, start: float, num_steps: int, floor: float) -> None:
        """Makes the variables.

        Args:
          start: the scale of the first step.
          num_steps: finite steps in a row after which it is doubled.
          floor: the least scale.
        """
        self._num_steps = num_steps
        self._floor = floor
        self.value = tf.Variable(
            start, dtype=tf.float32, name=checkpoint.LOSS_SCALE, trainable=False
        )
        self.good_steps = tf.Variable(
            0, dtype=tf.int64, name=checkpoint.GOOD_STEPS, trainable=False
        )
        self.overflowed = tf.Variable(
            0, dtype=tf.int64, name=checkpoint.OVERFLOWED, trainable=False
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """Returns what a checkpoint holds."""
        return [self.value, self.good_steps, self.overflowed]

    def move(
        self, is_finite: tf.Tensor, step: tf.Variable
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Moves the scale; called once a step, across replicas.

        Args:
          is_finite: [] bool, of the loss and the gradient of all replicas.
          step: counts the steps done; one more after an overflow.

        Returns:
          [] bool, whether the step overflowed and is done: not finite, and the
          scale was above its floor; [] float32, the scale from now on.
        """
        scale = self.value.read_value()
        good = self.good_steps.read_value() + 1
        is_overflow = tf.logical_not(is_finite) & (scale > self._floor)
        doubled = 2.0 * scale
        # Without a gradient it would grow for ever.
        grown = tf.where(tf.math.is_finite(doubled), doubled, scale)
        is_due = good >= self._num_steps
        halved = tf.maximum(0.5 * scale, self._floor)
        kept = tf.where(is_finite & is_due, grown, scale)
        scale = tf.where(is_overflow, halved, kept)
        good = tf.where(is_finite & tf.logical_not(is_due), good, 0)
        count = tf.cast(is_overflow, tf.int64)
        self.value.assign(scale)
        self.good_steps.assign(good)
        self.overflowed.assign_add(count)
        step.assign_add(count)
        return is_overflow, scale


def make(train: config_lib.Train) -> LossScale | None:
    """Returns the scale of a run, None where nothing is scaled."""
    if train.precision != "float16":
        return None
    return LossScale(
        train.loss_scale_start, train.loss_scale_steps, train.loss_scale_floor
    )


def scaled(
    scale: LossScale | None, loss: tf.Tensor, normaliser: tf.Tensor | float
) -> tf.Tensor:
    """Returns what the backward pass begins with, [] float32.

    Args:
      scale: of the run.
      loss: [] float32.
      normaliser: what a loss that is a sum is to be divided by, for gradients
        as large as those of a mean; unscaled takes it back.
    """
    return loss if scale is None else loss * (scale.value / normaliser)


def unscaled(
    scale: LossScale | None,
    gradients: Sequence[tf.Tensor],
    normaliser: tf.Tensor | float,
) -> list[tf.Tensor]:
    """Returns the gradients of the loss as it is, float32."""
    if scale is None:
        return list(gradients)
    return [gradient / (scale.value / normaliser) for gradient in gradients]


class Reporter:
    """Says when the scale has changed."""

    def __init__(
        self, scale: LossScale | None, write: Callable[[str], None]
    ) -> None:
        """Begins with the scale in force; write takes a line."""
        self._last = 1.0 if scale is None else float(scale.value.numpy())
        self._write = write

    def note(self, step: int, result: dict[str, float]) -> bool:
        """Returns whether a step overflowed, which leaves the result.

        Args:
          step: steps done before it.
          result: what it reported, by name.
        """
        before, after = self._last, result.get("loss_scale", self._last)
        self._last = after
        is_overflow = bool(result.pop("is_overflow"))
        if is_overflow:
            self._write(
                f"Step {step} overflowed under float16: nothing was changed,"
                f" the loss scale is {after:g} (was {before:g})."
            )
        elif after != before:
            self._write(
                f"Loss scale {after:g} from step {step + 1} on (was"
                f" {before:g})."
            )
        return is_overflow
