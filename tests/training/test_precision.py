"""What is computed in 16 bits, what is not, and the scale that goes with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint, precision
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import loss_scale, step
from tests.training import tiny

# Doubled after 40 finite steps, refused at 4.
_SMALL = (
    "precision=float16,loss_scale_start=16,loss_scale_steps=40,"
    "loss_scale_floor=4"
)
# Slow enough that rounding decides little of where 50 steps lead: of these
# weights 0.2 %, of others up to 3 %, as much as of float32 rounded otherwise.
_SLOW = "learning_rate=0.002,seed=6"


@pytest.fixture(scope="module")
def half() -> tiny.Trainer:
    return tiny.Trainer(f"{_SMALL},{_SLOW}")


@pytest.fixture(scope="module")
def first(half: tiny.Trainer) -> dict[str, np.ndarray]:
    return half.values()


def _take_50(name: str) -> list[step.StepResult]:
    trainer = tiny.Trainer(f"precision={name},{_SLOW}")
    return [trainer.step(tiny.batch()) for _ in range(50)]


@pytest.fixture(scope="module")
def plain() -> list[step.StepResult]:
    """What float32 reports."""
    return _take_50("float32")


@pytest.fixture
def trainer(half: tiny.Trainer, first: dict[str, np.ndarray]) -> tiny.Trainer:
    """The compiled step, with the state as the seed made it."""
    _set(half, first)
    return half


def _set(trainer: tiny.Trainer, values: dict[str, np.ndarray]) -> None:
    trainer.state.assign(values)


def _bad_batch() -> Any:
    batch = tiny.batch()
    images = batch.images.numpy()
    images[0, 0, 0, 0] = np.inf
    return batch._replace(images=tf.constant(images))


def _scale(trainer: tiny.Trainer) -> tuple[float, int, int]:
    found = trainer.state.loss_scale
    assert found is not None
    return float(found.value), int(found.good_steps), int(found.overflowed)


def test_the_scale_by_hand() -> None:
    scale = loss_scale.LossScale(16.0, 3, 4.0)
    steps = tf.Variable(0, dtype=tf.int64)
    seen = []
    for is_finite in (1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0):
        is_overflow, after = scale.move(tf.constant(bool(is_finite)), steps)
        seen.append(
            (
                float(after),
                int(scale.good_steps),
                int(scale.overflowed),
                bool(is_overflow),
            )
        )
    assert seen == [
        (16, 1, 0, False),
        (16, 2, 0, False),
        (8, 0, 1, True),
        (8, 1, 1, False),
        (8, 2, 1, False),
        (16, 0, 1, False),  # the third in a row
        (16, 1, 1, False),
        (8, 0, 2, True),
        (4, 0, 3, True),
        (4, 0, 3, False),  # at the floor: refused
        (4, 1, 3, False),
        (4, 2, 3, False),
        (4, 0, 3, False),
    ]
    assert int(steps) == 3  # the overflows; a finite step counts itself


def test_the_scale_stays_finite_and_at_its_floor() -> None:
    scale = loss_scale.LossScale(2.0**127, 1, 1.0)
    steps = tf.Variable(0, dtype=tf.int64)
    _, after = scale.move(tf.constant(True), steps)
    assert float(after) == 2.0**127
    scale = loss_scale.LossScale(6.0, 1, 4.0)
    _, after = scale.move(tf.constant(False), steps)
    assert float(after) == 4.0


def test_an_overflow_changes_nothing_to_the_bit(trainer: tiny.Trainer) -> None:
    counts = (checkpoint.STEP, "loss_scale", "good_steps", "overflowed_steps")
    trainer.step(tiny.batch())
    before = trainer.values()
    result = trainer.step(_bad_batch())
    assert (bool(result.is_finite), bool(result.is_overflow)) == (False, True)
    after = trainer.values()
    assert int(after[checkpoint.STEP]) == 2
    assert int(after[checkpoint.SKIPPED]) == 0
    assert _scale(trainer) == (8.0, 0, 1)
    for name in counts:
        del before[name], after[name]
    assert tiny.same(before, after)


def test_a_gradient_beyond_float16_is_an_overflow(
    trainer: tiny.Trainer,
) -> None:
    scale = trainer.state.loss_scale
    assert scale is not None
    scale.value.assign(2.0**40)
    result = trainer.step(tiny.batch())
    assert math.isfinite(float(result.total_loss))
    assert bool(result.is_overflow)
    assert _scale(trainer) == (2.0**39, 0, 1)
    scale.value.assign(16.0)
    assert bool(trainer.step(tiny.batch()).is_finite)


def test_at_the_floor_the_step_is_refused(trainer: tiny.Trainer) -> None:
    bad = _bad_batch()
    assert [bool(trainer.step(bad).is_overflow) for _ in range(2)] == [True] * 2
    assert _scale(trainer) == (4.0, 0, 2)
    before = trainer.values()
    result = trainer.step(bad)
    assert (bool(result.is_finite), bool(result.is_overflow)) == (False, False)
    assert tiny.same(before, trainer.values())  # the step not even counted


def test_resume_between_two_overflows_is_equal_to_the_bit(
    trainer: tiny.Trainer,
    first: dict[str, np.ndarray],
    tmp_path: Any,
) -> None:
    good, bad = tiny.batch(), _bad_batch()
    line = [good, bad, good, good, bad]
    for batch in line[:3]:
        trainer.step(batch)
    checkpoint.save(
        str(tmp_path),
        3,
        trainer.state.variables(),
        checkpoint.Meta(trainer.config, ("a",), "", ""),
        1,
    )
    for batch in line[3:]:
        trainer.step(batch)
    whole = trainer.values()
    assert _scale(trainer) == (4.0, 0, 2)
    _set(trainer, first)
    newest, _ = checkpoint.latest(str(tmp_path))
    assert newest is not None
    trainer.state.assign(newest.values_for(trainer.state.variables()))
    assert _scale(trainer) == (8.0, 1, 1)
    for batch in line[3:]:
        trainer.step(batch)
    assert tiny.same(whole, trainer.values())
    # What evaluate and predict load has the weights alone.
    assert not {"loss_scale", "good_steps"} & newest.weights().keys()


def test_gradients_do_not_depend_on_the_scale(
    trainer: tiny.Trainer,
    first: dict[str, np.ndarray],
    plain: list[step.StepResult],
) -> None:
    """But for what float16 rounds, 5 % of the norm in this small network."""
    scale = trainer.state.loss_scale
    assert scale is not None
    for value in (4.0, 16.0):
        _set(trainer, first)
        scale.value.assign(value)
        norm = float(trainer.step(tiny.batch()).gradient_norm)
        assert norm == pytest.approx(float(plain[0].gradient_norm), rel=0.1)


def test_variables_and_outputs_are_float32(trainer: tiny.Trainer) -> None:
    detector = trainer.state.detector
    assert {v.dtype for v in detector.all_variables} == {tf.float32}
    assert trainer.state.average is not None
    assert trainer.state.average.whole.dtype == tf.float32


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float32", tf.float32),
        ("float16", tf.float16),
        ("bfloat16", tf.bfloat16),
    ],
)
def test_type_of_every_convolution(name: str, dtype: tf.DType) -> None:
    _check_types(name, dtype, training=True)


def test_only_training_computes_in_16_bits() -> None:
    _check_types("float16", tf.float32, training=False)


def _check_types(name: str, dtype: tf.DType, training: bool) -> None:
    trainer_state = tiny.Trainer(f"precision={name}").state
    found: dict[str, Any] = {}

    def forward(images: tf.Tensor) -> Any:
        run = layers.ForwardPass(training, tf.zeros([2], tf.int32))
        found["outputs"] = trainer_state.detector.forward(images, run)
        found["updates"] = run.updates
        return found["outputs"]

    graph = (
        tf.function(forward, autograph=False)
        .get_concrete_function(tf.TensorSpec([1, 64, 64, 3]))
        .graph
    )
    convolutions = [
        op
        for op in graph.get_operations()
        if op.type in ("Conv2D", "DepthwiseConv2dNative")
    ]
    assert len(convolutions) > 40
    assert {t.dtype for op in convolutions for t in op.inputs} == {dtype}
    assert {t.dtype for t in found["outputs"]} == {tf.float32}
    assert {u.value.dtype for u in found["updates"]} <= {tf.float32}


def _mean_of_last(results: list[step.StepResult]) -> float:
    return float(np.mean([float(r.total_loss) for r in results[-10:]]))


def test_losses_after_50_steps_are_those_of_float32(
    plain: list[step.StepResult],
    trainer: tiny.Trainer,
) -> None:
    expected = _mean_of_last(plain)
    found = [trainer.step(tiny.batch()) for _ in range(50)]
    assert all(bool(result.is_finite) for result in found)
    assert _scale(trainer) == (32.0, 10, 0)
    assert _mean_of_last(found) == pytest.approx(expected, rel=0.03)
    found = _take_50("bfloat16")
    assert _mean_of_last(found) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("given", "begun", "gpus", "expected", "words"),
    [
        ("auto", None, [], "float32", "auto: there is no GPU"),
        ("auto", None, [(7, 0), (8, 6)], "float16", "capability 7.0 or more"),
        ("auto", None, [(6, 1), (8, 6)], "float32", "capability 6.1, below"),
        ("auto", "float16", [], "float16", "auto would be float32 here"),
        ("auto", "float32", [(9, 0)], "float32", "auto would be float16"),
        ("auto", "float32", [], "float32", "--model_dir began"),
        ("bfloat16", "float32", [(9, 0)], "bfloat16", "as given"),
    ],
)
def test_what_auto_chooses(
    given: str,
    begun: str | None,
    gpus: list[tuple[int, int]],
    expected: str,
    words: str,
) -> None:
    config = tiny.config(f"precision={given}")
    made, why = precision.resolve(config, begun, gpus)
    assert made.train.precision == expected
    assert words in why


def test_the_log_names_every_change() -> None:
    said: list[str] = []
    reporter = loss_scale.Reporter(None, said.append)
    reporter.note(3, {"loss_scale": 16.0, "is_overflow": 0.0})
    said.clear()
    results = [
        {"loss_scale": 8.0, "is_overflow": 1.0, "rest": 2.0},
        {"loss_scale": 8.0, "is_overflow": 0.0},
        {"loss_scale": 16.0, "is_overflow": 0.0},
    ]
    assert [reporter.note(4 + i, r) for i, r in enumerate(results)] == [
        True,
        False,
        False,
    ]
    assert results[0] == {"loss_scale": 8.0, "rest": 2.0}
    assert said == [
        "Step 4 overflowed under float16: nothing was changed, the loss scale"
        " is 8 (was 16).",
        "Loss scale 16 from step 7 on (was 8).",
    ]
