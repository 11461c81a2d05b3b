"""Learning rates against the official ones, and where they differ.

data/lr.npz holds rates of the official EfficientDet (google/automl, commit
6a54c874, unpatched) at chosen steps: rate .08 and warm-up from .008 as given,
10 epochs of 100 steps, polynomial power .9, batches of 64, 8 and 4; warm-up of
one epoch, or as the name says. Its rules are written out here in NumPy.
"""

from __future__ import annotations

import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.training import schedule
from hparams import config as config_lib

REFERENCE = pathlib.Path(__file__).parents[1] / "data" / "lr.npz"
NUM_STEPS = 1000
# Name in the reference, method, epochs of warm-up, epochs of the two drops.
CURVES = {
    "cosine": ("cosine", 1.0, (200.0, 250.0)),
    "cosine_nowarm": ("cosine", 0.0, (200.0, 250.0)),
    "cosine_warm2.5": ("cosine", 2.5, (200.0, 250.0)),
    "stepwise": ("stepwise", 1.0, (200.0, 250.0)),
    "stepwise68": ("stepwise", 1.0, (6.0, 8.0)),
    "polynomial": ("polynomial", 1.0, (200.0, 250.0)),
}
BATCHES = (64, 8, 4)


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def _steps() -> np.ndarray:
    return _arrays()["steps"]


def _official(curve: str, batch: int) -> np.ndarray:
    """Returns the rates at _steps(), by the official rules."""
    method, warmup_epochs, drops = CURVES[curve]
    step, warmup = _steps().astype(np.float64), 100 * warmup_epochs
    peak = 0.08 * batch / 64
    if method == "cosine":
        # Of the steps without warm-up, but counted from the first step.
        rate = peak / 2 * (1 + np.cos(np.pi * step / (NUM_STEPS - warmup)))
    elif method == "polynomial":
        with np.errstate(invalid="ignore"):
            rate = peak * np.power(1 - step / NUM_STEPS, 0.9)
    else:
        first, second = (100 * drop for drop in drops)
        rate = np.where(step < first, peak, peak / 10)
        rate = np.where(step < second, rate, peak / 100)
    if warmup == 0:
        return rate
    climb = 0.008 + (peak - 0.008) * step / warmup
    return np.where(step < warmup, climb, rate)


def _ours(
    curve: str, batch: int, *, start: float = 0.008, learning_rate_batch: int
) -> np.ndarray:
    method, warmup_epochs, drops = CURVES[curve]
    rate = 0.08 if learning_rate_batch else 0.08 * batch / 64
    made = schedule.Schedule(
        config_lib.Optimizer(
            learning_rate=rate,
            learning_rate_batch=learning_rate_batch,
            lr_warmup_init=start,
            lr_warmup_epoch=warmup_epochs,
            lr_decay_method=method,
            first_lr_drop_epoch=drops[0],
            second_lr_drop_epoch=drops[1],
            poly_lr_power=0.9,
        ),
        schedule.Course(
            num_images=100 * batch, batch_size=batch, num_epochs=10
        ),
    )
    assert made.course.num_steps == NUM_STEPS
    return np.array([float(made(tf.constant(step))) for step in _steps()])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("curve", CURVES)
def test_official_rule_gives_the_official_rates(curve: str, batch: int) -> None:
    np.testing.assert_allclose(
        _official(curve, batch),
        _arrays()[f"{curve}_bs{batch}"],
        rtol=1e-5,
        atol=1e-8,
    )


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("curve", CURVES)
def test_rates_given_as_they_are_equal_the_official_ones(
    curve: str, batch: int
) -> None:
    """Warm-up always; all of it without warm-up or with steps."""
    found = _ours(curve, batch, learning_rate_batch=0)
    method, warmup_epochs, _ = CURVES[curve]
    agree = _steps() < 100 * warmup_epochs
    if method == "stepwise" or warmup_epochs == 0:
        agree = _steps() <= NUM_STEPS
    assert agree.sum() >= 4
    np.testing.assert_allclose(
        found[agree],
        _arrays()[f"{curve}_bs{batch}"][agree],
        rtol=1e-5,
        atol=1e-8,
    )


@pytest.mark.parametrize("curve", ["cosine", "cosine_warm2.5", "polynomial"])
def test_ours_is_one_curve_from_the_peak_to_the_last_step(curve: str) -> None:
    official, found = (
        _arrays()[f"{curve}_bs64"],
        _ours(curve, 64, learning_rate_batch=64),
    )
    warmup = 100 * CURVES[curve][1]
    step = _steps().astype(np.float64)
    after = step >= warmup
    progress = np.minimum((step - warmup) / (NUM_STEPS - warmup), 1)[after]
    expected = {
        "cosine": 0.04 * (1 + np.cos(np.pi * progress)),
        "polynomial": 0.08 * (1 - progress) ** 0.9,
    }[CURVES[curve][0]]
    np.testing.assert_allclose(found[after], expected, rtol=1e-4, atol=1e-8)
    # Officially the first rate after warm-up is below the peak, and cosine is
    # at 0 a warm-up's length before the end; beyond the end polynomial is no
    # number. Ours is at the peak, falls all the way and stays at 0.
    first = np.flatnonzero(after)[0]
    assert official[first] < 0.975 * 0.08
    np.testing.assert_allclose(found[first], 0.08, rtol=1e-6)
    assert (np.diff(found[after & (step <= NUM_STEPS)]) < 0).all()
    np.testing.assert_allclose(found[step >= NUM_STEPS], 0.0, atol=1e-9)
    if CURVES[curve][0] == "cosine":
        at = [int(np.flatnonzero(step == s)[0]) for s in (1000 - warmup, 1000)]
        assert official[at[0]] < 1e-6 < 2e-3 < official[at[1]]
    else:
        assert np.isnan(official[step > NUM_STEPS]).all()


def test_start_of_the_warm_up_is_scaled_with_the_rate() -> None:
    warmup = _steps() < 100
    official = _arrays()["cosine_bs4"][warmup]
    # From .008 as given down to .005, a sixteenth of .08.
    assert (np.diff(official) < 0).all()
    found = _ours("cosine", 4, learning_rate_batch=64)[warmup]
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(
        found, _arrays()["cosine_bs64"][warmup] / 16, rtol=1e-5
    )
    # The official curve is the one that starts 16 times as high.
    np.testing.assert_allclose(
        _ours("cosine", 4, start=0.008 * 16, learning_rate_batch=64)[warmup],
        official,
        rtol=1e-5,
    )
