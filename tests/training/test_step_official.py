"""Gradient clipping and the moving average by the official rules, and by ours.

data/train_rules.npz holds numbers of training steps of D0 by the official
EfficientDet (google/automl, commit 6a54c874, unpatched): the norm of every
variable's gradient and of all of them, before and after clipping; and of three
steps with a moving average of decay .9998, for six variables: first gradient,
value and average after the third. SGD with momentum .9, weights as in
reference_weights. The official rules are written out here in NumPy.
"""

from __future__ import annotations

import functools
import pathlib
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.training import averages, step
from efficientdet_aimmo.training import gradients as gradients_lib
from tests.model import reference_weights
from tests.training import tiny

REFERENCE = pathlib.Path(__file__).parents[1] / "data" / "train_rules.npz"
CLIP_NORM = 0.5


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def trainer() -> tiny.Trainer:
    return tiny.Trainer(
        f"clip_gradients_norm={CLIP_NORM},moving_average_decay=0.9998"
    )


def _norm(values: Any) -> float:
    return float(np.sqrt(np.sum(np.square(np.asarray(values, np.float64)))))


def _own_factors(norms: np.ndarray, limit: float) -> np.ndarray:
    """Returns the factor of each gradient that brings its norm to limit."""
    return np.minimum(1.0, limit / np.maximum(norms, 1e-30))


def _official_factors(norms: np.ndarray, limit: float) -> np.ndarray:
    """Returns what becomes of each gradient: by its own norm, then by all."""
    own = _own_factors(norms, limit)
    return own * min(1.0, limit / _norm(own * norms))


@pytest.mark.parametrize(("case", "limit"), [("sgd", 10.0), ("sgd_clip1", 1.0)])
def test_official_clipping_gives_the_official_norms(
    case: str, limit: float
) -> None:
    norms = _arrays()["grad_norms"].astype(np.float64)
    assert len(norms) == 493
    own = _own_factors(norms, limit) * norms
    for found, name in (
        (_norm(norms), "raw_global_norm"),
        (_norm(own), "per_var_clipped_global_norm"),
        (_norm(_official_factors(norms, limit) * norms), "gradient_norm"),
    ):
        np.testing.assert_allclose(
            found, _arrays()[f"{case}/{name}"], rtol=1e-5, err_msg=name
        )
    # It turns the direction: the cosine to the gradient is no longer 1.
    assert (norms * own).sum() / _norm(norms) / _norm(own) < 0.97


def test_ours_clips_by_the_global_norm_alone(trainer: tiny.Trainer) -> None:
    found = gradients_lib.compute_gradients(
        trainer.state,
        tiny.batch(),
        trainer.anchors,
        trainer.config,
        frozenset(),
    )
    gradients = [tf.convert_to_tensor(g).numpy() for g in found.values]
    before = [v.numpy() for v in trainer.state.trainable]
    assert int(trainer.state.step) == 0, "no momentum yet"
    trainer.step(tiny.batch())
    norms = np.array([_norm(g) for g in gradients])
    official = _official_factors(norms, CLIP_NORM)
    ours = CLIP_NORM / _norm(norms)
    assert (norms > CLIP_NORM).sum() >= 2, "the case must tell them apart"
    assert np.abs(official / ours - 1.0).max() > 0.5
    for variable, value, gradient in zip(
        trainer.state.trainable, before, gradients, strict=True
    ):
        np.testing.assert_allclose(
            value - variable.numpy(),
            0.01 * ours * gradient,
            rtol=1e-3,
            atol=3e-7,
            err_msg=variable.name,
        )


def _names() -> list[str]:
    return [
        name.removeprefix("after/")
        for name in _arrays()
        if name.startswith("after/")
    ]


def _first_two_weights(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns a variable before the first step and after it, float64."""
    gradient = _arrays()[f"grad/{name}"].astype(np.float64)
    start = reference_weights.value(f"{name}:0", gradient.shape, 11)
    factor = min(1.0, 10.0 / max(_norm(gradient), 1e-30))
    factor *= 10.0 / float(_arrays()["average/per_var_clipped_global_norm"])
    rate = float(_arrays()["rates"][0])
    return start.astype(np.float64), start - rate * factor * gradient


def _implied_second(name: str, decays: tuple[float, ...]) -> np.ndarray:
    """Returns the weights after step 2 that explain the official average."""
    start, first = _first_two_weights(name)
    average = _arrays()[f"average/{name}"].astype(np.float64)
    last = _arrays()[f"after/{name}"].astype(np.float64)
    average = (average - (1 - decays[2]) * last) / decays[2]
    earlier = decays[0] * start + (1 - decays[0]) * first
    return (average - decays[1] * earlier) / (1 - decays[1])


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((first * second).sum()) / _norm(first) / _norm(second)


def _agreement(name: str, decays: tuple[float, ...]) -> float:
    """Returns the least cosine of the gradients of steps 1, 2 and 3.

    Those of steps 2 and 3 are what the weights moved by, less the momentum.
    """
    start, first = _first_two_weights(name)
    second = _implied_second(name, decays)
    third = _arrays()[f"after/{name}"].astype(np.float64)
    moves = [first - start, second - first, third - second]
    rates = _arrays()["rates"]
    gradients = [
        -moves[0] / rates[0],
        (0.9 * moves[0] - moves[1]) / rates[1],
        (0.9 * moves[1] - moves[2]) / rates[2],
    ]
    return min(_cosine(gradients[0], g) for g in gradients[1:])


def _decays(first_step: int) -> tuple[float, ...]:
    steps = range(first_step, first_step + 3)
    return tuple(min(0.9998, (1 + n) / (10 + n)) for n in steps)


@pytest.mark.parametrize("layer", ["class_net/class", "box_net/box"])
def test_official_average_starts_low_and_counts_from_0(layer: str) -> None:
    # The weights after step 2 are not known. Under the right decays they follow
    # from the average, and the same batch then has much the same gradient in
    # all three steps; under others it turns about.
    name = f"{layer}-predict/bias"
    assert _decays(0) == (1 / 10, 2 / 11, 3 / 12)
    assert _agreement(name, _decays(0)) > 0.95
    assert _agreement(name, _decays(1)) < 0.0
    assert _agreement(name, (0.9998, 0.9998, 0.9998)) < 0.0


@pytest.mark.parametrize("name", _names())
def test_ours_gives_the_official_average(name: str) -> None:
    start, first = _first_two_weights(name)
    last = _arrays()[f"after/{name}"]
    variable = tf.Variable(start, dtype=tf.float32)
    state: Any = types.SimpleNamespace(
        average=averages.Average([variable], ["average"]),
        step=tf.Variable(0, dtype=tf.int64),
    )
    for value in (first, _implied_second(name, _decays(0)), last):
        variable.assign(value.astype(np.float32))
        step._average(state, 0.9998)
        state.step.assign_add(1)
    average = state.average.parts[0].numpy()
    np.testing.assert_allclose(
        average, _arrays()[f"average/{name}"], rtol=1e-5, atol=1e-6
    )
    assert np.abs(average - last).max() > 1e-5 or "WSM_1" in name


def test_ours_averages_statistics_too(trainer: tiny.Trainer) -> None:
    # Officially there is an average of every trained variable and no other;
    # a network restored from it has the last step's statistics.
    average = trainer.state.average
    assert average is not None
    befores = [part.numpy() for part in average.parts]
    done = int(trainer.state.step)
    trainer.step(tiny.batch())
    decay = (1 + done) / (10 + done)
    variables = trainer.state.detector.all_variables
    assert len(variables) > len(trainer.state.trainable)
    for variable, before, after in zip(
        variables, befores, average.parts, strict=True
    ):
        expected = decay * before + (1 - decay) * variable.numpy()
        np.testing.assert_allclose(
            after.numpy(), expected, rtol=1e-4, atol=1e-6
        )
        if not variable.trainable:
            assert (after.numpy() != variable.numpy()).any()
