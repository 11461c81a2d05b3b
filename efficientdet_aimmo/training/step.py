"""One training step, a pure function of state, batch and seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import losses
from efficientdet_aimmo.data import pipeline, targets
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import as_written
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
    is_finite: tf.Tensor  # False: the step was refused, nothing has changed


class Gradients(NamedTuple):
    """What a batch says, before anything is changed."""

    class_loss: tf.Tensor
    box_loss: tf.Tensor
    iou_loss: tf.Tensor
    l2_loss: tf.Tensor
    total_loss: tf.Tensor
    num_positives: tf.Tensor
    values: list[tf.Tensor]  # one per variable that is not frozen
    updates: list[layers.Update]  # batch-norm statistics


def compute_gradients(
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    anchors: tf.Tensor,
    config: config_lib.Config,
    frozen: frozenset[str],
) -> Gradients:
    """Returns losses and gradients of a batch; changes nothing.

    Frozen variables, given by name, get no gradient and are not in the L2 term
    (as officially); layers whose moving statistics are frozen normalise by
    them.
    """
    trained_now = trained(state, frozen)
    target = targets.assign_targets(
        batch.boxes,
        batch.classes,
        batch.num_boxes,
        anchors,
        config.anchors.match_iou,
    )
    num_positives = tf.reduce_sum(tf.cast(target.classes >= 0, tf.float32))
    seed = tf.stack(
        [tf.constant(config.train.seed, tf.int64), state.step.read_value()]
    )
    run = layers.ForwardPass(
        training=True, seed=tf.cast(seed, tf.int32), frozen=frozen
    )
    # Only what is watched costs a backward pass.
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(trained_now)
        outputs = state.detector.forward(batch.images, run)
        loss = losses.detection_loss(
            outputs.logits,
            outputs.codes,
            target.classes,
            target.boxes,
            num_positives,
            anchors,
            config.loss,
        )
        l2_loss = losses.l2_loss(trained_now, config.loss.weight_decay)
        total = loss.total + l2_loss
    return Gradients(
        loss.class_loss,
        loss.box_loss,
        loss.iou_loss,
        l2_loss,
        total,
        num_positives,
        tape.gradient(total, trained_now),
        run.updates,
    )


def trained(
    state: state_lib.TrainState, frozen: frozenset[str]
) -> list[tf.Variable]:
    """Returns the variables that have a gradient beside those frozen."""
    return [v for v in state.trainable if v.name not in frozen]


def _average(state: state_lib.TrainState, decay: float) -> None:
    """Moves the averages towards the new weights and statistics.

    The decay starts low and rises with the steps done, (1 + n) / (10 + n), as
    in the official code, so that the first weights are soon forgotten.
    (Officially batch-norm statistics have no average, and the last step's stand
    beside averaged weights that they do not belong to.)
    """
    done = tf.cast(state.step, tf.float32)
    share = 1.0 - tf.minimum(decay, (1.0 + done) / (10.0 + done))
    for average, variable in zip(
        state.averages, state.detector.all_variables, strict=False
    ):
        tf.raw_ops.ResourceApplyGradientDescent(
            var=average.handle, alpha=share, delta=average - variable
        )


def make_train_step(
    state: state_lib.TrainState,
    anchors: tf.Tensor,
    schedule: schedule_lib.Schedule,
    config: config_lib.Config,
) -> Callable[[pipeline.TrainBatch], StepResult]:
    """Returns a compiled function that takes one step.

    Loss or gradient not finite: the step is refused, and weights, statistics,
    optimizer and average stay as they are, to the bit. A run that skips such
    steps counts it among the steps done and those skipped.
    """
    clip_norm = config.optimizer.clip_gradients_norm
    decay = config.optimizer.moving_average_decay
    thaw_step = schedule.course.steps_of(config.train.freeze_epochs)

    @tf.function(autograph=False)
    def take(batch: pipeline.TrainBatch, is_thawed: bool) -> StepResult:
        frozen = frozenset() if is_thawed else state.frozen
        found = compute_gradients(state, batch, anchors, config, frozen)
        norm = tf.linalg.global_norm(found.values)
        rate = schedule(state.step)
        is_finite = tf.math.is_finite(found.total_loss + norm)
        gradients = found.values
        if clip_norm > 0.0:
            # All by one factor. (The official code clips each by its own norm
            # first, which turns the direction.)
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, norm)

        def apply() -> tf.Tensor:
            state.apply_gradients(gradients, trained(state, frozen), rate)
            for update in found.updates:
                update.store()
            _average(state, decay)
            return state.step.assign_add(1, read_value=True)

        tf.cond(is_finite, apply, state.step.read_value)
        return StepResult(
            found.class_loss,
            found.box_loss,
            found.iou_loss,
            found.l2_loss,
            found.total_loss,
            norm,
            rate,
            found.num_positives,
            is_finite,
        )

    def train_step(batch: pipeline.TrainBatch) -> StepResult:
        # One graph before the thaw and one after it: a frozen part costs no
        # backward pass.
        is_thawed = thaw_step > 0 and int(state.step) >= thaw_step
        with as_written.as_written():
            return take(batch, is_thawed)

    return train_step
