"""Outputs and statistics of D0 and lite0 against the official networks.

Reference (google/automl, commit 6a54c874, unpatched), of reference_weights and
thinned to every 101st number of levels 3 and 4 and every 7th of the others:
d0_4cls.npz in inference and training, with every 17th number of the moving
statistics that one training call left; lite0_4cls.npz in inference, with the
moving statistics it was run with. Its levels 6 and 7 are 5x5 and 3x3: one is no
multiple of the other.
"""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import losses
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from hparams import config as config_lib
from hparams import override, presets
from tests.model import numpy_detector, reference_weights

DATA = pathlib.Path(__file__).parents[1] / "data"
LEVELS = range(3, 8)


def _arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / name) as arrays:
        return dict(arrays)


def _detector(
    model_name: str, seed: int, moving: np.ndarray
) -> detector_lib.Detector:
    """Returns a network of four classes with the reference's weights."""
    base = presets.get_config(model_name)
    detector = detector_lib.Detector(
        override.override(base, {"num_classes": 4})
    )
    for variable in detector.all_variables:
        if variable.trainable:
            shape = tuple(variable.shape)
            value = reference_weights.value(variable.name, shape, seed)
            variable.assign(value)
    _assign_moving(detector, moving)
    return detector


def _moving(detector: detector_lib.Detector) -> list[tf.Variable]:
    return [v for v in detector.all_variables if not v.trainable]


def _assign_moving(detector: detector_lib.Detector, values: np.ndarray) -> None:
    start = 0
    for variable in _moving(detector):
        end = start + variable.shape.num_elements()
        variable.assign(values[start:end])
        start = end
    assert start == len(values)


@pytest.fixture(scope="module")
def d0() -> detector_lib.Detector:
    moving = _arrays("d0_statistics.npz")["moving"]
    return _detector("efficientdet-d0", 11, moving)


@pytest.fixture(scope="module")
def lite0() -> detector_lib.Detector:
    moving = _arrays("lite0_4cls.npz")["moving"]
    return _detector("efficientdet-lite0", 44, moving)


def _by_level(outputs: tf.Tensor, side: int) -> list[np.ndarray]:
    """Splits [2, A, n] of square images into the five levels."""
    sizes = [9 * math.ceil(side / 2**level) ** 2 for level in LEVELS]
    return [part.numpy() for part in tf.split(outputs, sizes, axis=1)]


def _compare(
    expected: dict[str, np.ndarray],
    mode: str,
    found: dict[str, list[np.ndarray]],
    atol: float,
) -> None:
    for part, levels in found.items():
        for level, values in zip(LEVELS, levels, strict=True):
            name = f"{mode}/{part}_{level}"
            thinned = values.reshape(-1)[:: 101 if level < 5 else 7]
            np.testing.assert_allclose(
                thinned, expected[name], rtol=0.0, atol=atol, err_msg=name
            )


def _all_parts(
    detector: detector_lib.Detector, images: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Returns every level of what goes into and comes out of each part."""
    run = layers.ForwardPass(training=False)
    inputs = tf.constant(images)
    outputs = detector.forward(inputs, run)
    features = detector.features(inputs, run)
    assert run.updates == []
    side = images.shape[1]
    return {
        "feat": [level.numpy() for level in features.backbone],
        "fpn": [level.numpy() for level in features.pyramid],
        "cls": _by_level(outputs.logits, side),
        "box": _by_level(outputs.codes, side),
    }


def test_d0_in_inference(d0: detector_lib.Detector) -> None:
    found = _all_parts(d0, reference_weights.images(1011))
    _compare(_arrays("d0_4cls.npz"), "eval", found, 1e-3)


def test_lite0_in_inference(lite0: detector_lib.Detector) -> None:
    found = _all_parts(lite0, reference_weights.images(1044, (320, 320)))
    assert [level.shape[1] for level in found["fpn"]] == [40, 20, 10, 5, 3]
    # Its eager and its compiled official run differ by up to 2.4e-4.
    _compare(_arrays("lite0_4cls.npz"), "eval", found, 3e-3)


def test_d0_in_training(d0: detector_lib.Detector) -> None:
    before = [v.numpy() for v in _moving(d0)]
    images = tf.constant(reference_weights.images(1011))
    outputs = d0(images, training=True)
    after = np.concatenate([v.numpy().reshape(-1) for v in _moving(d0)])
    for variable, value in zip(_moving(d0), before, strict=True):
        variable.assign(value)
    expected = _arrays("d0_4cls.npz")
    found = {
        "cls": _by_level(outputs.logits, 256),
        "box": _by_level(outputs.codes, 256),
    }
    _compare(expected, "train", found, 1e-3)
    np.testing.assert_allclose(
        after[::17], expected["after"], atol=1e-4, rtol=1e-4
    )


def test_l2_loss_counts_the_official_kernels(
    d0: detector_lib.Detector,
) -> None:
    names = json.loads((DATA / "l2_variables_d0.json").read_text())
    assert len(names) == 150
    by_name = {v.name.removesuffix(":0"): v for v in d0.all_variables}
    squares = [np.sum(by_name[n].numpy().astype(float) ** 2) for n in names]
    found = losses.l2_loss(d0.trainable_variables, 4e-5)
    np.testing.assert_allclose(found, 4e-5 * sum(squares) / 2, rtol=1e-5)


@pytest.mark.parametrize("model_name", ["d0", "lite0"])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (128, 192),  # divisible at every level
        (72, 100),  # 9x13, 5x7, 3x4, 2x2, 1x1
        (97, 161),  # odd already at the first layer
        (65, 256),  # 9x32, 5x16, 3x8, 2x4, 1x2
        (40, 24),  # level 7 a single cell, level 6 as well
    ],
)
def test_any_size_equals_numpy(
    request: pytest.FixtureRequest, model_name: str, height: int, width: int
) -> None:
    detector: detector_lib.Detector = request.getfixturevalue(model_name)
    weights = {
        v.name.removesuffix(":0"): v.numpy() for v in detector.all_variables
    }
    network = numpy_detector.Network(weights, model_name == "lite0", 4)
    images = reference_weights.images(3, (height, width))
    expected = network(images)
    run = layers.ForwardPass(training=False)
    features = detector.features(tf.constant(images), run)
    outputs = detector.forward(tf.constant(images), run)
    pairs = [
        *zip(features.backbone, expected.backbone, strict=True),
        *zip(features.pyramid, expected.pyramid, strict=True),
        (outputs.logits, expected.logits),
        (outputs.codes, expected.codes),
    ]
    for found, wanted in pairs:
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-3)
    anchors = anchors_lib.anchor_boxes(config_lib.Anchors(), (height, width))
    assert len(anchors) == expected.codes.shape[1]
