"""What a batch says of the weights, before anything is changed."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import losses
from efficientdet_aimmo.data import pipeline, targets
from efficientdet_aimmo.model import layers, synchronised_norm
from efficientdet_aimmo.training import compiled, loss_scale
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib


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


def add_up(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the sums over all replicas; called by each of them."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def trained(
    state: state_lib.TrainState, frozen: frozenset[str]
) -> list[tf.Variable]:
    """Returns the variables that have a gradient beside those frozen."""
    return [v for v in state.trainable if v.name not in frozen]


def find_targets(
    batch: pipeline.TrainBatch,
    anchors: tf.Tensor,
    config: config_lib.Config,
) -> tuple[targets.Targets, tf.Tensor]:
    """Returns the targets of a batch, and how many anchors are positive."""
    target = targets.assign_targets(
        batch.boxes,
        batch.classes,
        batch.num_boxes,
        anchors,
        config.anchors.match_iou,
    )
    positives = tf.reduce_sum(tf.cast(target.classes >= 0, tf.float32))
    return target, positives


def forward_pass(
    state: state_lib.TrainState,
    frozen: frozenset[str],
    config: config_lib.Config,
    num_rows: int,
    part: layers.Rows,
) -> layers.ForwardPass:
    """Returns the pass of a replica over some rows of the batch.

    Args:
      state: the run's.
      frozen: names of frozen variables.
      config: the run's.
      num_rows: rows that the pass sees.
      part: its place among the parts of the replica's batch, and their number.
    """
    seed = tf.stack(
        [tf.constant(config.train.seed, tf.int64), state.step.read_value()]
    )
    context = tf.distribute.get_replica_context()
    count, place = context.num_replicas_in_sync, 0
    synchronise = None
    if count > 1:
        place = context.replica_id_in_sync_group
        if num_rows < config.model.sync_batch_norm_below:
            synchronise = synchronised_norm.Replicas(
                count, place, lambda value: add_up([value])[0]
            )
    rows = None
    if count * part.total > 1:
        first = (place * part.total + part.first) * num_rows
        rows = layers.Rows(first, count * part.total * num_rows)
    return layers.ForwardPass(
        training=True,
        seed=tf.cast(seed, tf.int32),
        frozen=frozen,
        rows=rows,
        synchronise=synchronise,
        is_compiled=compiled.is_compiled(config.runtime),
    )


def compute_gradients(
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    anchors: tf.Tensor,
    config: config_lib.Config,
    frozen: frozenset[str],
) -> Gradients:
    """Returns losses and gradients of a batch; changes nothing.

    Called by every replica with its own rows; each gets the sums over all
    rows. Frozen variables, given by name, get no gradient and are not in the
    L2 term (as officially); layers whose moving statistics are frozen
    normalise by them.
    """
    weights = trained(state, frozen)
    target, own_positives = find_targets(batch, anchors, config)
    num_positives = add_up([own_positives])[0]
    run = forward_pass(
        state, frozen, config, batch.images.shape[0], layers.Rows(0, 1)
    )
    context = tf.distribute.get_replica_context()

    def differentiate() -> list[tf.Tensor]:
        # Only what is watched costs a backward pass.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
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
            l2_loss = losses.l2_loss(weights, config.loss.weight_decay)
            if context.num_replicas_in_sync > 1:  # each has the same
                l2_loss /= context.num_replicas_in_sync
            total = loss.total + l2_loss
            scaled = loss_scale.scaled(state.loss_scale, total, 1.0)
        values = loss_scale.unscaled(
            state.loss_scale, tape.gradient(scaled, weights), 1.0
        )
        terms = [loss.class_loss, loss.box_loss, loss.iou_loss]
        return [*terms, l2_loss, total, *values]

    found, updates = compiled.find(differentiate, run, config.runtime.use_xla)
    class_loss, box_loss, iou_loss, l2_loss, total, *values = add_up(found)
    return Gradients(
        class_loss,
        box_loss,
        iou_loss,
        l2_loss,
        total,
        num_positives,
        values,
        average_updates(updates, run.synchronise is not None),
    )


def average_updates(
    updates: list[layers.Update], is_synchronised: bool
) -> list[layers.Update]:
    """Returns the statistics' means over all replicas.

    Otherwise the copies of a moving statistic would drift apart.

    Args:
      updates: what a replica found; called by each of them.
      is_synchronised: they are the same on all, to the bit.
    """
    context = tf.distribute.get_replica_context()
    count = context.num_replicas_in_sync
    if count == 1 or is_synchronised or not updates:
        return updates
    sums = add_up([update.value for update in updates])
    return [
        update._replace(value=value / count)
        for update, value in zip(updates, sums, strict=True)
    ]
