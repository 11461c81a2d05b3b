"""One training step against NumPy, and a step that is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.training import gradients as gradients_lib
from tests.training import tiny


@pytest.fixture(scope="module")
def trainer() -> tiny.Trainer:
    """Returns a trainer with sgd, clipping and a moving average."""
    return tiny.Trainer("clip_gradients_norm=0.5,moving_average_decay=0.9")


def test_sgd_clips_by_the_global_norm_once(trainer: tiny.Trainer) -> None:
    before = trainer.values()
    found = gradients_lib.compute_gradients(
        trainer.state,
        tiny.batch(),
        trainer.anchors,
        trainer.config,
        frozenset(),
    )
    gradients = [tf.convert_to_tensor(g).numpy() for g in found.values]
    norm = np.sqrt(
        sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients)
    )
    assert norm > 0.5, "the case must clip"
    momenta = {
        name.split("/", 2)[2].removesuffix("/momentum"): value
        for name, value in before.items()
        if name.endswith("/momentum")
    }
    result = trainer.step(tiny.batch())
    after = trainer.values()
    assert float(result.gradient_norm) == pytest.approx(norm, rel=1e-4)
    assert len(momenta) == len(trainer.state.trainable)
    for variable, gradient in zip(
        trainer.state.trainable, gradients, strict=True
    ):
        name = variable.name.removesuffix(":0")
        moved = 0.9 * momenta[name] - 0.01 * gradient * (0.5 / norm)
        np.testing.assert_allclose(
            after[name], before[name] + moved, rtol=1e-4, atol=1e-6
        )


def test_average_holds_weights_and_batch_norm_statistics(
    trainer: tiny.Trainer,
) -> None:
    before = trainer.values()
    done = int(before["step"])
    trainer.step(tiny.batch())
    after = trainer.values()
    suffix = "/ExponentialMovingAverage"
    names = [n.removesuffix(suffix) for n in after if n.endswith(suffix)]
    assert len(names) == len(trainer.state.detector.all_variables)
    assert any(name.endswith("moving_variance") for name in names)
    decay = min(0.9, (1 + done) / (10 + done))
    for name in names:
        wanted = decay * before[name + suffix] + (1 - decay) * after[name]
        np.testing.assert_allclose(
            after[name + suffix], wanted, rtol=1e-4, atol=1e-6
        )
    assert after["step"] == done + 1


def test_step_that_is_not_finite_changes_nothing(trainer: tiny.Trainer) -> None:
    before = trainer.values()
    result = trainer.step(tiny.batch(fill=float("nan")))
    assert not bool(result.is_finite)
    assert tiny.same(before, trainer.values())
    assert bool(trainer.step(tiny.batch()).is_finite), "and training goes on"
    assert not tiny.same(before, trainer.values())


def test_loss_falls_on_one_batch(trainer: tiny.Trainer) -> None:
    losses = [float(trainer.step(tiny.batch()).total_loss) for _ in range(12)]
    assert losses[-1] < 0.95 * losses[0]


def test_result_adds_up(trainer: tiny.Trainer) -> None:
    result = trainer.step(tiny.batch())
    weight = trainer.config.loss.box_loss_weight
    total = result.class_loss + weight * result.box_loss + result.l2_loss
    assert float(result.total_loss) == pytest.approx(float(total), rel=1e-6)
    assert int(result.num_positives) >= 3  # an anchor for each object
