"""Learning rates against formulas written out in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.training import schedule
from hparams import config as config_lib

COURSE = schedule.Course(num_images=100, batch_size=8, num_epochs=10)


def _rates(steps: list[int], **values: object) -> list[float]:
    optimizer = config_lib.Optimizer(**values)  # type: ignore[arg-type]
    curve = schedule.Schedule(optimizer, COURSE)
    return [float(curve(tf.constant(step, tf.int64))) for step in steps]


def test_course_counts_steps_across_epochs() -> None:
    assert COURSE.steps_per_epoch == 12.5
    assert COURSE.end_of_epoch(1) == 13  # 104 images: 4 are of epoch 2
    assert COURSE.end_of_epoch(2) == 25
    assert COURSE.num_steps == 125


def test_warm_up_is_linear_and_scaled_like_the_rate() -> None:
    rates = _rates(
        [0, 5, 25],
        learning_rate=0.64,
        lr_warmup_init=0.064,
        lr_warmup_epoch=2.0,
    )
    # batch 8 of 64: an eighth of everything
    assert rates == pytest.approx([0.008, 0.008 + 0.072 * 5 / 25, 0.08])


@pytest.mark.parametrize(("per", "factor"), [(64, 0.125), (8, 1.0), (0, 1.0)])
def test_learning_rate_batch_is_the_rule(per: int, factor: float) -> None:
    curve = schedule.Schedule(
        config_lib.Optimizer(learning_rate=0.5, learning_rate_batch=per), COURSE
    )
    assert curve.factor == factor
    assert curve.peak == 0.5 * factor


def test_cosine_starts_at_the_peak_and_never_rises() -> None:
    steps = list(range(126))
    rates = np.array(
        _rates(
            steps,
            learning_rate=1.0,
            learning_rate_batch=0,
            lr_warmup_init=0.0,
            lr_warmup_epoch=1.0,
        )
    )
    after = np.arange(13, 126)
    wanted = 0.5 * (1 + np.cos(math.pi * (after - 12.5) / 112.5))
    np.testing.assert_allclose(rates[13:], wanted, atol=1e-6)
    assert (np.diff(rates[13:]) < 0).all()
    assert rates[12] < 1.0 < rates[12] + 0.1
    assert rates[125] == pytest.approx(0.0, abs=1e-6)


def test_stepwise_falls_to_a_tenth_twice() -> None:
    rates = _rates(
        [40, 74, 75, 99, 100, 124],
        learning_rate=1.0,
        learning_rate_batch=0,
        lr_decay_method="stepwise",
        first_lr_drop_epoch=6.0,
        second_lr_drop_epoch=8.0,
    )
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_polynomial_ends_at_zero_and_stays_a_number() -> None:
    rates = _rates(
        [69, 125, 126],
        learning_rate=1.0,
        learning_rate_batch=0,
        lr_decay_method="polynomial",
        poly_lr_power=2.0,
    )
    assert rates == pytest.approx([(1 - 56.5 / 112.5) ** 2, 0.0, 0.0])


def test_constant_stays_and_no_warm_up_starts_at_the_peak() -> None:
    rates = _rates(
        [0, 60, 125],
        learning_rate=0.3,
        learning_rate_batch=0,
        lr_warmup_epoch=0.0,
        lr_decay_method="constant",
    )
    assert rates == pytest.approx([0.3, 0.3, 0.3])
