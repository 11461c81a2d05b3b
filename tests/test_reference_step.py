"""Three training steps of D0 against the official ones.

data/train_step.npz holds what the official EfficientDet (google/automl, commit
6a54c874, unpatched) reported with SGD, from the weights of reference_weights,
on the same two images three times: case noclip without clipping, case freeze
with backbone and BiFPN frozen.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import losses
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import gradients as gradients_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from hparams import override, presets
from tests.model import reference_weights

DATA = pathlib.Path(__file__).parent / "data"
FROZEN = "(efficientnet|fpn_cells|resample_p6)"
SETTINGS = (
    "num_classes=4,image_size=256,learning_rate_batch=0,lr_warmup_epoch=0,"
    "lr_decay_method=constant,moving_average_decay=0,train_batch_size=2,"
)


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    with np.load(DATA / "train_step.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def official_huber(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out a code that should be exactly 0, as the official loss does."""
    huber = losses.huber_loss

    def without_zeros(
        codes: tf.Tensor, targets: tf.Tensor, delta: float
    ) -> tf.Tensor:
        return tf.where(targets == 0.0, 0.0, huber(codes, targets, delta))

    monkeypatch.setattr(losses, "huber_loss", without_zeros)


def _config(text: str) -> config_lib.Config:
    base = presets.get_config("efficientdet-d0")
    return override.override(base, SETTINGS + text)


def _start(state: state_lib.TrainState) -> None:
    """Gives the network the weights that the official one started from."""
    with np.load(DATA / "d0_statistics.npz") as arrays:
        moving = arrays["moving"]
    reference_weights.restore(state.detector.all_variables, 11, moving)


def _batch() -> pipeline.TrainBatch:
    boxes = np.zeros((2, 4, 4), np.float32)
    boxes[0] = [
        [20, 30, 84, 110],
        [100, 100, 228, 228],
        [150, 20, 170, 36],
        [60, 180, 75, 250],
    ]
    boxes[1, :2] = [[10, 10, 120, 60], [130, 120, 250, 200]]
    return pipeline.TrainBatch(
        images=tf.constant(reference_weights.images(1011)),
        boxes=tf.constant(boxes),
        classes=tf.constant([[0, 1, 2, 3], [3, 0, 0, 0]]),
        num_boxes=tf.constant([4, 2]),
        source_ids=tf.constant(["1", "2"]),
        bad=tf.constant(["", ""]),
    )


def _anchors(config: config_lib.Config) -> tf.Tensor:
    return tf.constant(
        anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    )


def _check(
    result: step_lib.StepResult | gradients_lib.Gradients,
    official: dict[str, np.ndarray],
    case: str,
) -> None:
    """Compares the terms of the loss with those of one official step."""
    rtol = 1e-4 if case.endswith("step0") else 2e-3
    for ours, theirs in (
        ("class_loss", "cls_loss"),
        ("box_loss", "box_loss"),
        ("l2_loss", "reg_l2_loss"),
        ("total_loss", "loss"),
    ):
        np.testing.assert_allclose(
            getattr(result, ours),
            official[f"{case}/{theirs}"],
            rtol=rtol,
            err_msg=f"{case} {ours}",
        )


@pytest.mark.usefixtures("official_huber")
def test_three_steps_equal_the_official_ones(
    official: dict[str, np.ndarray],
) -> None:
    config = _config("learning_rate=0.0005,clip_gradients_norm=0")
    state = state_lib.TrainState(config)
    _start(state)
    # Eager: tracing takes longer than three steps.
    tf.config.run_functions_eagerly(True)
    try:
        train_step = step_lib.make_train_step(
            state,
            _anchors(config),
            schedule_lib.Schedule(
                config.optimizer, schedule_lib.Course(2, 2, 3)
            ),
            config,
        )
        results = [train_step(_batch()) for _ in range(3)]
    finally:
        tf.config.run_functions_eagerly(False)
    assert int(results[0].num_positives) == official["num_positives"].sum()
    np.testing.assert_allclose(
        results[0].gradient_norm, official["noclip/raw_global_norm"], rtol=1e-4
    )
    for i, result in enumerate(results):
        _check(result, official, f"noclip/step{i}")
    by_name = {v.name: v for v in state.detector.all_variables}
    for name in official:
        if name.startswith("noclip/after/"):
            np.testing.assert_allclose(
                by_name[name.removeprefix("noclip/after/")],
                official[name],
                rtol=2e-3,
                atol=1e-5,
                err_msg=name,
            )


def _clip_as_officially(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Clips each gradient to a norm of 10, then all of them together."""
    each = [tf.clip_by_norm(tf.convert_to_tensor(g), 10.0) for g in gradients]
    return tf.clip_by_global_norm(each, 10.0)[0]


@pytest.mark.usefixtures("official_huber")
def test_three_steps_of_frozen_layers_equal_the_official_ones(
    official: dict[str, np.ndarray],
) -> None:
    config = _config(f"learning_rate=0.01,var_freeze_expr={FROZEN}")
    state = state_lib.TrainState(config)
    _start(state)
    # Officially the statistics of frozen layers move, and normalise the batch.
    weights = frozenset(n for n in state.frozen if "/moving_" not in n)
    before = {v.name: v.numpy() for v in state.detector.all_variables}
    for i in range(3):
        found = gradients_lib.compute_gradients(
            state, _batch(), _anchors(config), config, weights
        )
        _check(found, official, f"freeze/step{i}")
        state.apply_gradients(
            _clip_as_officially(found.values), state.trainable, 0.01
        )
        for update in found.updates:
            update.store()
    moved = {
        v.name
        for v in state.detector.all_variables
        if not np.array_equal(v, before[v.name])
    }
    assert not moved & weights
    assert {v.name for v in state.trainable if "kernel" in v.name} <= moved


def test_frozen_layers_stand_still_with_their_statistics() -> None:
    config = _config(f"learning_rate=0.01,var_freeze_expr={FROZEN}")
    state = state_lib.TrainState(config)
    _start(state)
    found = gradients_lib.compute_gradients(
        state, _batch(), _anchors(config), config, state.frozen
    )
    moved = {update.variable.name for update in found.updates}
    assert moved == {
        v.name
        for v in state.detector.all_variables
        if v.name.endswith(("moving_mean:0", "moving_variance:0"))
        and v.name.startswith(("class_net", "box_net"))
    }
    # What the heads get is what they get in evaluation.
    images = _batch().images
    training = layers.ForwardPass(training=True, frozen=state.frozen)
    evaluation = layers.ForwardPass(training=False)
    for ours, theirs in zip(
        state.detector.features(images, training).pyramid,
        state.detector.features(images, evaluation).pyramid,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
