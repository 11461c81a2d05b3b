"""A batch that does not fit a device at once, taken in parts.

The parts' gradients are those of sums that are not yet divided by the number of
positive anchors, which is known when the last part is done. Weights stand still
until then, so the result is the whole batch's, but for batch norm: it takes its
statistics from the images that are there at once, and what it stores is the
mean over the parts.
"""

from __future__ import annotations

import tensorflow as tf

from efficientdet_aimmo import losses
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import compiled, gradients, loss_scale
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib

_NUM_SUMS = 5  # of the loss's terms, and the positives


class Accumulator:
    """Adds up what the parts of a batch say.

    Its variables are each replica's own, and no part of the run's state: they
    begin every step at zero.
    """

    def __init__(
        self,
        state: state_lib.TrainState,
        anchors: tf.Tensor,
        config: config_lib.Config,
    ) -> None:
        self._state = state
        self._anchors = anchors
        self._config = config
        # What the parts have found, known once they are traced.
        self._updates: dict[str, layers.Update] = {}
        self._is_synchronised = False
        statistics = [
            v for v in state.detector.all_variables if not v.trainable
        ]
        with state.strategy.scope():
            self._sums = {
                variable.name: tf.Variable(
                    tf.zeros_like(variable), trainable=False
                )
                for variable in [*state.trainable, *statistics]
            }
            self._terms = tf.Variable(tf.zeros([_NUM_SUMS]), trainable=False)

    def add_parts(
        self, batch: pipeline.TrainBatch, frozen: frozenset[str]
    ) -> None:
        """Adds up a batch, or one for each replica; called across them."""
        strategy = self._state.strategy
        strategy.run(self._clear)

        def take_part(part: tf.Tensor) -> tuple[tf.Tensor]:
            strategy.run(self._add_part, args=(batch, part, frozen))
            return (part + 1,)

        tf.while_loop(
            lambda part: part < self._config.train.accumulate_steps,
            take_part,
            [tf.constant(0)],
            parallel_iterations=1,
        )

    def _clear(self) -> None:
        for variable in [*self._sums.values(), self._terms]:
            tf.raw_ops.AssignVariableOp(
                resource=variable.handle, value=tf.zeros(variable.shape)
            )

    def _add_part(
        self,
        batch: pipeline.TrainBatch,
        part: tf.Tensor,
        frozen: frozenset[str],
    ) -> None:
        num_rows = batch.images.shape[0] // self._config.train.accumulate_steps
        rows = _rows_of(batch, part * num_rows, num_rows)
        weights = gradients.trained(self._state, frozen)
        target, positives = gradients.find_targets(
            rows, self._anchors, self._config
        )
        run = gradients.forward_pass(
            self._state,
            frozen,
            self._config,
            num_rows,
            layers.Rows(part, self._config.train.accumulate_steps),
        )

        def differentiate() -> list[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                outputs = self._state.detector.forward(rows.images, run)
                loss = losses.detection_loss(
                    outputs.logits,
                    outputs.codes,
                    target.classes,
                    target.boxes,
                    tf.constant(0.0),  # divides by 1
                    self._anchors,
                    self._config.loss,
                )
                scaled = loss_scale.scaled(
                    self._state.loss_scale, loss.total, positives + 1.0
                )
            values = loss_scale.unscaled(
                self._state.loss_scale,
                tape.gradient(scaled, weights),
                positives + 1.0,
            )
            return [tf.stack(loss), *values]

        (terms, *values), updates = compiled.find(
            differentiate, run, self._config.runtime.use_xla
        )
        self._updates = {u.variable.name: u for u in updates}
        self._is_synchronised = run.synchronise is not None
        added = [(v.name, g) for v, g in zip(weights, values, strict=True)]
        added += [(name, u.value) for name, u in self._updates.items()]
        for name, value in added:
            tf.raw_ops.AssignAddVariableOp(
                resource=self._sums[name].handle, value=value
            )
        tf.raw_ops.AssignAddVariableOp(
            resource=self._terms.handle,
            value=tf.concat([terms, [positives]], 0),
        )

    def collect(self, frozen: frozenset[str]) -> gradients.Gradients:
        """Returns what compute_gradients does; called by each replica."""
        weights = gradients.trained(self._state, frozen)
        sums = gradients.add_up(
            [
                self._terms.read_value(),
                *(self._sums[v.name].read_value() for v in weights),
            ]
        )
        terms, values = sums[0], sums[1:]
        num_positives = terms[-1]
        normaliser = num_positives + 1.0  # as in losses.detection_loss
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            decay = losses.l2_loss(weights, self._config.loss.weight_decay)
        decays = tape.gradient(
            decay, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        class_loss, box_loss, iou_loss, total = tf.unstack(
            terms[:-1] / normaliser
        )
        count = self._config.train.accumulate_steps
        updates = [
            update._replace(value=self._sums[name].read_value() / count)
            for name, update in self._updates.items()
        ]
        return gradients.Gradients(
            class_loss,
            box_loss,
            iou_loss,
            decay,
            total + decay,
            num_positives,
            [
                value / normaliser + slope
                for value, slope in zip(values, decays, strict=True)
            ],
            gradients.average_updates(updates, self._is_synchronised),
        )


def _rows_of(
    batch: pipeline.TrainBatch, first: tf.Tensor, num_rows: int
) -> pipeline.TrainBatch:
    def own_rows(tensor: tf.Tensor) -> tf.Tensor:
        shape = [num_rows, *tensor.shape[1:]]
        begin = [first] + [0] * (tensor.shape.rank - 1)
        return tf.ensure_shape(tf.slice(tensor, begin, shape), shape)

    return pipeline.TrainBatch(
        *(None if t is None else own_rows(t) for t in batch)
    )


def compute_gradients(
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    anchors: tf.Tensor,
    config: config_lib.Config,
    frozen: frozenset[str],
) -> gradients.Gradients:
    """Returns what a step of one replica computes; changes nothing."""
    if config.train.accumulate_steps == 1:
        return gradients.compute_gradients(
            state, batch, anchors, config, frozen
        )
    accumulator = Accumulator(state, anchors, config)
    accumulator.add_parts(batch, frozen)
    return accumulator.collect(frozen)
