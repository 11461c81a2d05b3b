"""Everything that a step changes: what a checkpoint holds."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import checkpoint, uncollected
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import averages, freezing, loss_scale
from hparams import config as config_lib


def variable_name(variable: tf.Variable) -> str:
    """Returns a variable's name in checkpoints."""
    return variable.name.removesuffix(":0")


def _make_optimizer(
    config: config_lib.Optimizer,
) -> tf.keras.optimizers.legacy.Optimizer:
    """Returns the update rule; its rate is set before every step.

    Keras's legacy optimizers update a variable in one kernel. The newer ones
    take about fifteen operations for it, which triples the time to the first
    step and slows every one.
    """
    if config.optimizer == "adam":
        return tf.keras.optimizers.legacy.Adam(
            0.0, config.adam_beta_1, config.adam_beta_2, config.adam_epsilon
        )
    if config.optimizer == "lamb":
        # Imported only where it is asked for: it takes a second.
        from efficientdet_aimmo.training import addons

        return addons.lamb(
            config.adam_beta_1, config.adam_beta_2, config.adam_epsilon
        )
    return tf.keras.optimizers.legacy.SGD(0.0, config.momentum)


class TrainState:
    """Detector, optimizer, moving average and step.

    Made in the scope of a strategy it has a copy on each of its replicas.

    Attributes:
      strategy: the one in whose scope it was made.
      detector: the network being trained.
      frozen: names of variables that stand still, for ever or at first.
      trainable: the variables that are trained at some step.
      average: of all the detector's variables, batch-norm statistics included;
        None if there is no moving average.
      step: int64, steps done, those skipped included.
      skipped: int64, steps skipped because they were not finite.
      bad_draws: int64, images drawn that were bad records.
      loss_scale: of float16; None under another precision.
    """

    @uncollected.uncollected()
    def __init__(self, config: config_lib.Config) -> None:
        self.strategy = tf.distribute.get_strategy()
        self.detector = detector_lib.Detector(config)
        self.frozen = freezing.frozen_names(
            config.train.var_freeze_expr, self.detector.all_variables
        )
        # What is trained from the first step on, and what after a thaw.
        groups: list[list[tf.Variable]] = [[], []]
        for variable in self.detector.all_variables:
            if variable.trainable:
                groups[variable.name in self.frozen].append(variable)
        if config.train.freeze_epochs == 0.0:
            del groups[1]  # never trained: no place in an optimizer
        self.trainable = [v for group in groups for v in group]
        # Each with its own count of steps: Adam corrects its moments by it,
        # and a thawed variable's first updates would be too large otherwise.
        self._rules = [
            (_make_optimizer(config.optimizer), group) for group in groups
        ]
        for optimizer, group in self._rules:
            # Making slots otherwise happens in the first step, after a restore.
            optimizer._create_all_weights(group)
        self.step = tf.Variable(
            0, dtype=tf.int64, name=checkpoint.STEP, trainable=False
        )
        self.skipped = tf.Variable(
            0, dtype=tf.int64, name=checkpoint.SKIPPED, trainable=False
        )
        self.bad_draws = tf.Variable(
            0, dtype=tf.int64, name=checkpoint.BAD_DRAWS, trainable=False
        )
        self.loss_scale = loss_scale.make(config.train)
        self.average: averages.Average | None = None
        if config.optimizer.moving_average_decay > 0.0:
            weights = self.detector.all_variables
            self.average = averages.Average(
                weights,
                [variable_name(v) + checkpoint.AVERAGE_SUFFIX for v in weights],
            )

    def apply_gradients(
        self,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[tf.Variable],
        rate: tf.Tensor | float,
    ) -> None:
        """Moves variables by their gradients; called by each replica.

        Args:
          gradients: one for every variable, added up over the replicas.
          variables: all that are trained from the first step on, and all or
            none of the others.
          rate: the learning rate, scalar.
        """
        found = {v.name: g for v, g in zip(variables, gradients, strict=True)}
        for optimizer, group in self._rules:
            pairs = [(found[v.name], v) for v in group if v.name in found]
            if pairs:
                optimizer.learning_rate.assign(rate)
                optimizer.apply_gradients(
                    pairs, experimental_aggregate_gradients=False
                )

    def skip_step(self) -> None:
        """Counts a refused step as done and skipped."""
        self.step.assign_add(1)
        self.skipped.assign_add(1)

    def variables(self) -> dict[str, tf.Variable | averages.Part]:
        """Returns all that a checkpoint holds, by name."""
        counts = [self.step, self.skipped, self.bad_draws]
        if self.loss_scale is not None:
            counts += self.loss_scale.variables
        own = [*self.detector.all_variables, *counts]
        named = {variable_name(v): v for v in own}
        if self.average is not None:
            named |= {part.name: part for part in self.average.parts}
        kept = [
            v for optimizer, _ in self._rules for v in optimizer.variables()
        ]
        for i, variable in enumerate(kept):
            place = f"{checkpoint.OPTIMIZER}{i:04}"
            named[f"{place}/{variable_name(variable)}"] = variable
        return named

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Gives everything that a checkpoint holds its value, by name."""
        averages.assign(self.variables(), values)

    def checksum(self) -> int:
        """Returns a number of 31 bits that follows from all values."""
        digest = 0
        for _, variable in sorted(self.variables().items()):
            digest = zlib.crc32(variable.numpy().tobytes(), digest)
        return digest & 0x7FFFFFFF

    def num_bytes(self) -> int:
        """Returns what all variables take."""
        return sum(
            v.shape.num_elements() * v.dtype.size
            for v in self.variables().values()
        )

    def copy_weights_to(self, other: detector_lib.Detector) -> None:
        """Gives another detector the average, or the weights without one."""
        values = self.detector.all_variables
        if self.average is not None:
            values = self.average.parts
        for target, value in zip(other.all_variables, values, strict=True):
            target.assign(value.read_value())

    def restart_average(self) -> None:
        """Lets the moving average begin with the weights as they are."""
        if self.average is not None:
            self.average.restart()
