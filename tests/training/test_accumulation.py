"""A batch that is taken in parts teaches what the whole one does."""

from __future__ import annotations

import numpy as np
import pytest

from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.training import accumulation
from efficientdet_aimmo.training import gradients as gradients_lib
from tests.training import test_distribution, tiny

# Batch norm stands still: it sees other images in a part than in the whole.
SETTINGS = test_distribution.SETTINGS + (
    ",var_freeze_expr=.*(batch_normalization|bn)"
)


@pytest.fixture(scope="module")
def trainer() -> tiny.Trainer:
    return tiny.Trainer(SETTINGS)


def _found(
    trainer: tiny.Trainer, batch: pipeline.TrainBatch, parts: int
) -> gradients_lib.Gradients:
    config = tiny.config(f"{SETTINGS},accumulate_steps={parts}")
    return accumulation.compute_gradients(
        trainer.state, batch, trainer.anchors, config, trainer.state.frozen
    )


def test_four_parts_give_the_gradient_of_the_whole(
    trainer: tiny.Trainer,
) -> None:
    batch = test_distribution.street_batch()
    whole, parts = (_found(trainer, batch, number) for number in (1, 4))
    assert float(whole.num_positives) == float(parts.num_positives) > 8
    for name in ("class_loss", "box_loss", "l2_loss", "total_loss"):
        np.testing.assert_allclose(
            float(getattr(parts, name)),
            float(getattr(whole, name)),
            rtol=1e-5,
            err_msg=name,
        )
    values, others = (
        np.concatenate([v.numpy().ravel() for v in found.values])
        for found in (whole, parts)
    )
    assert np.linalg.norm(values) > 0.1
    difference = np.linalg.norm(values - others) / np.linalg.norm(values)
    assert difference < 1e-5
