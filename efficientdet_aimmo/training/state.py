"""Everything that a step changes: what a checkpoint holds."""

from __future__ import annotations

import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import freezing
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

    Attributes:
      detector: the network being trained.
      frozen: names of variables that stand still, for ever or at first.
      trainable: the variables that are trained at some step.
      optimizer: its state is built.
      averages: one per detector variable, batch-norm statistics included;
        empty if there is no moving average.
      step: int64, steps done.
    """

    def __init__(self, config: config_lib.Config) -> None:
        self.detector = detector_lib.Detector(config)
        self.frozen = freezing.frozen_names(
            config.train.var_freeze_expr, self.detector.all_variables
        )
        is_thawed_later = config.train.freeze_epochs > 0.0
        self.trainable = [
            v
            for v in self.detector.all_variables
            if v.trainable and (is_thawed_later or v.name not in self.frozen)
        ]
        self.optimizer = _make_optimizer(config.optimizer)
        # Making slots otherwise happens in the first step, after a restore.
        self.optimizer._create_all_weights(self.trainable)
        self.step = tf.Variable(
            0, dtype=tf.int64, name=checkpoint.STEP, trainable=False
        )
        self.averages: list[tf.Variable] = []
        if config.optimizer.moving_average_decay > 0.0:
            self.averages = [
                tf.Variable(
                    v,
                    trainable=False,
                    name=variable_name(v) + checkpoint.AVERAGE_SUFFIX,
                )
                for v in self.detector.all_variables
            ]

    def variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by their names in a checkpoint."""
        named = {
            variable_name(v): v
            for v in [*self.detector.all_variables, *self.averages, self.step]
        }
        for i, variable in enumerate(self.optimizer.variables()):
            place = f"{checkpoint.OPTIMIZER}{i:04}"
            named[f"{place}/{variable_name(variable)}"] = variable
        return named

    def copy_weights_to(self, other: detector_lib.Detector) -> None:
        """Gives another detector the average, or the weights without one."""
        values = self.averages or self.detector.all_variables
        for target, value in zip(other.all_variables, values, strict=True):
            target.assign(value)

    def restart_averages(self) -> None:
        """Lets the moving average begin with the weights as they are."""
        for average, variable in zip(
            self.averages, self.detector.all_variables, strict=False
        ):
            average.assign(variable)
