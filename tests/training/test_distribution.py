"""Two replicas with half the batch each do what one does with the whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.training import schedule, state, step
from hparams import config as config_lib
from tests.training import tiny

SETTINGS = (
    "train_batch_size=8,survival_prob=0.8,box_class_repeats=2,weight_decay=0.01"
    ",moving_average_decay=0.9"
)
ROWS = 8


def street_batch() -> pipeline.TrainBatch:
    """Returns eight images with 13 objects, most of them in the first four."""
    rng = np.random.default_rng(7)
    corner = rng.uniform(0, 40, [ROWS, 3, 2])
    size = rng.uniform(8, 24, [ROWS, 3, 2])
    return pipeline.TrainBatch(
        images=tf.constant(rng.normal(size=(ROWS, 64, 64, 3)), tf.float32),
        boxes=tf.constant(
            np.concatenate([corner, corner + size], -1), tf.float32
        ),
        classes=tf.constant(rng.integers(0, 4, [ROWS, 3]), tf.int32),
        # Uneven, so that means of the replicas' means would be wrong.
        num_boxes=tf.constant([3, 3, 3, 2, 1, 0, 0, 1]),
        source_ids=tf.constant([str(i) for i in range(ROWS)]),
        bad=tf.constant([""] * ROWS),
    )


class Run:
    """A state, and steps on it with one batch."""

    def __init__(
        self, strategy: tf.distribute.Strategy, more: str = ""
    ) -> None:
        self.config = tiny.config(SETTINGS + more)
        self.strategy = strategy
        with strategy.scope():
            self.state = state.TrainState(self.config)
        self._step = _make_step(self.state, self.config)
        self._first = {
            name: v.numpy() for name, v in self.state.variables().items()
        }

    def copies(self) -> list[tuple[tf.Variable, ...]]:
        """Returns every variable's copies, one on each replica."""
        stored = self.state.variables().values()
        return [
            self.strategy.experimental_local_results(getattr(v, "whole", v))
            for v in stored
        ]

    def restart(self) -> None:
        """Puts everything back to what it was before the first step."""
        self.state.assign(self._first)

    def step(
        self, batch: pipeline.TrainBatch
    ) -> tuple[step.StepResult, dict[str, np.ndarray]]:
        spread = replicas.Distribution(strategy=self.strategy)
        size = spread.share_of(ROWS).size
        rows = tf.data.Dataset.from_tensors(batch).unbatch().batch(size)
        result = self._step(next(iter(spread.share_out(rows))))
        return result, {
            name: v.numpy() for name, v in self.state.variables().items()
        }


def _make_step(
    made: state.TrainState, config: config_lib.Config
) -> Callable[[pipeline.TrainBatch], step.StepResult]:
    course = schedule.Course(64, ROWS, config.train.num_epochs)
    anchors = anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    return step.make_train_step(
        made,
        tf.constant(anchors),
        schedule.Schedule(config.optimizer, course),
        config,
    )


@pytest.fixture(scope="module")
def one() -> Run:
    return Run(tf.distribute.get_strategy())


@pytest.fixture(scope="module")
def two(mirrored: tf.distribute.Strategy) -> Run:
    return Run(mirrored)


def _difference(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], part: str
) -> float:
    """Returns the norm of the difference over that of the values."""
    names = [name for name in first if part in name]
    values, others = (
        np.concatenate([found[name].ravel() for name in names])
        for found in (first, second)
    )
    return float(np.linalg.norm(values - others) / np.linalg.norm(values))


def test_two_replicas_take_the_step_of_one(one: Run, two: Run) -> None:
    for run in (one, two):
        run.restart()
    alone, values = one.step(street_batch())
    shared, others = two.step(street_batch())
    assert float(shared.num_positives) == float(alone.num_positives) > 8
    for name in step.StepResult._fields:
        np.testing.assert_allclose(
            float(getattr(shared, name)),
            float(getattr(alone, name)),
            rtol=1e-5,
            err_msg=name,
        )
    # After one step from zero the momentum is the gradient.
    assert _difference(values, others, "momentum") < 1e-5
    assert _difference(values, others, "moving_mean") < 1e-5
    assert _difference(values, others, "moving_variance") < 1e-5
    assert values.keys() == others.keys()
    assert all(
        np.allclose(values[n], others[n], rtol=1e-5, atol=1e-6) for n in values
    )


def _losses(run: Run, batch: pipeline.TrainBatch) -> np.ndarray:
    """Returns the loss of ten steps from the beginning, [10]."""
    run.restart()
    return np.array([float(run.step(batch)[0].total_loss) for _ in range(10)])


def test_ten_steps_stay_as_close_as_one_replica_to_itself(
    one: Run, two: Run
) -> None:
    batch = street_batch()
    alone, shared = (_losses(run, batch) for run in (one, two))
    order = [3, 1, 7, 0, 5, 2, 6, 4]
    permuted = pipeline.TrainBatch(*(tf.gather(t, order) for t in batch))
    spread = np.abs(_losses(one, permuted) - alone).max()
    assert alone[-1] < alone[0]
    assert np.abs(shared - alone).max() < 5 * spread
    # Rounding grows from step to step, and stays small.
    np.testing.assert_allclose(shared[:3], alone[:3], rtol=1e-5)
    np.testing.assert_allclose(shared, alone, rtol=5e-3)


def test_two_replicas_go_on_to_the_bit(two: Run) -> None:
    batch = street_batch()
    two.restart()
    _, saved = [two.step(batch) for _ in range(2)][1]
    _, straight = [two.step(batch) for _ in range(2)][1]
    two.restart()
    two.state.assign(saved)
    _, resumed = [two.step(batch) for _ in range(2)][1]
    assert tiny.same(resumed, straight)


def test_all_copies_are_the_same(two: Run) -> None:
    two.step(street_batch())
    for copies in two.copies():
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0].numpy(), copies[1].numpy())


def test_refused_step_changes_no_copy(two: Run) -> None:
    before = {n: v.numpy() for n, v in two.state.variables().items()}
    batch = street_batch()
    images = batch.images.numpy()
    images[6, 5, 5, 1] = np.nan  # on the second replica alone
    result, after = two.step(batch._replace(images=tf.constant(images)))
    assert not bool(result.is_finite)
    assert tiny.same(before, after)
