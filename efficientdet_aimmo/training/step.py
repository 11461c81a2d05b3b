"""One training step, a pure function of state, batch and seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import uncollected
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import accumulation, as_written, averages
from efficientdet_aimmo.training import gradients as gradients_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib


class StepResult(NamedTuple):
    """What a step reports, scalars; losses are those before the update."""

    class_loss: tf.Tensor
    box_loss: tf.Tensor
    iou_loss: tf.Tensor
    l2_loss: tf.Tensor
    total_loss: tf.Tensor
    gradient_norm: tf.Tensor  # before clipping
    learning_rate: tf.Tensor
    num_positives: tf.Tensor
    is_finite: tf.Tensor  # False: no weight or statistic has changed
    is_overflow: tf.Tensor  # not finite, and counted: the scale was halved
    loss_scale: tf.Tensor  # after the step; 1 but under float16


def _average(state: state_lib.TrainState, decay: float) -> None:
    """Moves the average towards the new weights and statistics.

    The decay starts low and rises with the steps done, (1 + n) / (10 + n), as
    in the official code, so that the first weights are soon forgotten.
    (Officially batch-norm statistics have no average, and the last step's stand
    beside averaged weights that they do not belong to.)
    """
    if state.average is None:
        return
    done = tf.cast(state.step.read_value(), tf.float32)
    share = 1.0 - tf.minimum(decay, (1.0 + done) / (10.0 + done))
    state.average.move(share)


class _Step:
    """A step across the replicas of the state's strategy."""

    def __init__(
        self,
        state: state_lib.TrainState,
        anchors: tf.Tensor,
        schedule: schedule_lib.Schedule,
        config: config_lib.Config,
    ) -> None:
        self._state, self._strategy = state, state.strategy
        self._anchors, self._schedule, self._config = anchors, schedule, config
        self._accumulator: accumulation.Accumulator | None = None
        if config.train.accumulate_steps > 1:
            self._accumulator = accumulation.Accumulator(state, anchors, config)
        self._updates: list[layers.Update] = []  # which statistics, in order

    def take(
        self, batch: pipeline.TrainBatch, frozen: frozenset[str]
    ) -> StepResult:
        """Takes a step; traced once for each set of frozen variables."""
        state, strategy = self._state, self._strategy
        # Every replica has found the same; one's copy decides.
        found = self._compute(batch, frozen)
        first = tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], found
        )
        norm = tf.sqrt(2.0 * tf.nn.l2_loss(first.values[0]))
        rate = self._schedule(state.step.read_value())
        is_finite = tf.math.is_finite(first.total_loss + norm)

        def apply() -> tf.Tensor:
            strategy.run(self._change, args=(found, norm, rate, frozen))
            return state.step.assign_add(1, read_value=True)

        is_overflow, scale = tf.constant(False), tf.constant(1.0)
        if state.loss_scale is not None:
            is_overflow, scale = state.loss_scale.move(is_finite, state.step)
        tf.cond(is_finite, apply, state.step.read_value)
        return StepResult(
            first.class_loss,
            first.box_loss,
            first.iou_loss,
            first.l2_loss,
            first.total_loss,
            norm,
            rate,
            first.num_positives,
            is_finite,
            is_overflow,
            scale,
        )

    def _compute(
        self, batch: pipeline.TrainBatch, frozen: frozenset[str]
    ) -> gradients_lib.Gradients:
        accumulator = self._accumulator
        if accumulator is not None:
            accumulator.add_parts(batch, frozen)
            return self._on_replicas(lambda: accumulator.collect(frozen))
        return self._on_replicas(
            lambda rows: gradients_lib.compute_gradients(
                self._state, rows, self._anchors, self._config, frozen
            ),
            batch,
        )

    def _on_replicas(
        self,
        find: Callable[..., gradients_lib.Gradients],
        *batch: pipeline.TrainBatch,
    ) -> gradients_lib.Gradients:
        """Returns tensors alone: variables cannot leave a replica.

        The gradients are one vector: what is asked of all of them, and done to
        all of them, is then one operation.
        """

        def on_replica(*rows: pipeline.TrainBatch) -> gradients_lib.Gradients:
            found = find(*rows)
            self._updates[:] = found.updates
            flat = [averages.flat(gradient) for gradient in found.values]
            return found._replace(
                values=[tf.concat(flat, axis=0)],
                updates=[u.value for u in found.updates],
            )

        return self._strategy.run(on_replica, args=batch)

    def _change(
        self,
        found: gradients_lib.Gradients,
        norm: tf.Tensor,
        rate: tf.Tensor,
        frozen: frozenset[str],
    ) -> None:
        """Changes a replica's copies."""
        flat = found.values[0]
        clip_norm = self._config.optimizer.clip_gradients_norm
        if clip_norm > 0.0:
            # All by one factor. (The official code clips each by its own norm
            # first, which turns the direction.)
            flat *= clip_norm * tf.minimum(1.0 / norm, 1.0 / clip_norm)
        trained = gradients_lib.trained(self._state, frozen)
        sizes = [variable.shape.num_elements() for variable in trained]
        gradients = [
            part
            if variable.shape.rank == 1
            else tf.reshape(part, variable.shape)
            for part, variable in zip(
                tf.split(flat, sizes), trained, strict=True
            )
        ]
        self._state.apply_gradients(gradients, trained, rate)
        for update, value in zip(self._updates, found.updates, strict=True):
            update._replace(value=value).store()
        _average(self._state, self._config.optimizer.moving_average_decay)


def make_train_step(
    state: state_lib.TrainState,
    anchors: tf.Tensor,
    schedule: schedule_lib.Schedule,
    config: config_lib.Config,
) -> Callable[[pipeline.TrainBatch], StepResult]:
    """Returns a compiled function that takes one step.

    It takes a batch, or one for each replica of the state's strategy. Loss or
    gradient not finite: the step is refused, and weights, statistics, optimizer
    and average stay as they are, to the bit. A run that skips such steps counts
    it among the steps done and those skipped. Under float16 it is an overflow
    as long as the loss scale can be halved: then it is done and counted here.
    """
    thaw_step = schedule.course.steps_of(config.train.freeze_epochs)
    take = tf.function(
        _Step(state, anchors, schedule, config).take, autograph=False
    )

    def train_step(batch: pipeline.TrainBatch) -> StepResult:
        # One graph before the thaw and one after it: a frozen part costs no
        # backward pass.
        is_thawed = thaw_step > 0 and int(state.step.numpy()) >= thaw_step
        # It traces in its first call.
        with as_written.as_written(), uncollected.uncollected():
            return take(
                # A TPU takes no text.
                batch._replace(source_ids=None, bad=None),
                frozenset() if is_thawed else state.frozen,
            )

    return train_step
