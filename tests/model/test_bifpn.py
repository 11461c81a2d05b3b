"""The feature pyramid against NumPy."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import bifpn, drawing, layers

INFERENCE = layers.ForwardPass(training=False)
NORM = functools.partial(layers.BatchNorm, momentum=0.9, epsilon=1e-3)


def _maker() -> drawing.VariableMaker:
    make = drawing.VariableMaker(0)
    make.start_group()
    return make


def _double(features: np.ndarray) -> np.ndarray:
    return features.repeat(2, axis=1).repeat(2, axis=2)


def _pool(features: np.ndarray) -> np.ndarray:
    """Returns the largest of 3x3, every second, the border at the far end."""
    batch, height, width, channels = features.shape
    padded = np.full((batch, height + 1, width + 1, channels), -np.inf)
    padded[:, :height, :width] = features
    return np.stack(
        [
            np.stack(
                [
                    padded[:, y : y + 3, x : x + 3].max(axis=(1, 2))
                    for x in range(0, width, 2)
                ],
                axis=1,
            )
            for y in range(0, height, 2)
        ],
        axis=1,
    )


def _make_plain(variables: list[tf.Variable]) -> None:
    """Makes the convolutions after the fusion hand on what they get."""
    for variable in variables:
        if "depthwise_kernel" in variable.name:
            kernel = np.zeros(variable.shape, np.float32)
            kernel[1, 1] = 1.0
            variable.assign(kernel)
        elif "pointwise_kernel" in variable.name:
            variable.assign(np.eye(variable.shape[-1])[None, None])


@pytest.mark.parametrize("weight_method", ["fastattn", "sum"])
def test_cell_of_two_levels_equals_numpy(weight_method: str) -> None:
    make = _maker()
    cell = bifpn.Cell(make, "cell", [2, 2], 2, weight_method, NORM, tf.nn.relu)
    variables = make.ordered()
    _make_plain(variables)
    edges = [v for v in variables if "WSM" in v.name]
    weights = [0.5, 2.0, 1.5, -0.7]  # one below 0: it counts as 0
    if weight_method == "fastattn":
        assert [v.name for v in edges] == [
            "cell/fnode0/WSM:0",
            "cell/fnode0/WSM_1:0",
            "cell/fnode1/WSM:0",
            "cell/fnode1/WSM_1:0",
        ]
        for variable, weight in zip(edges, weights, strict=True):
            variable.assign(weight)
    else:
        assert edges == []

    def fuse(first: np.ndarray, second: np.ndarray, node: int) -> np.ndarray:
        a, b = np.maximum(weights[2 * node : 2 * node + 2], 0.0)
        total = a + b + 1e-4
        if weight_method == "sum":
            a, b, total = 1.0, 1.0, 1.0
        fused = (a * first + b * second) / total
        return np.maximum(fused, 0.0) / np.sqrt(1.0 + 1e-3)

    rng = np.random.default_rng(0)
    fine = rng.normal(size=(1, 4, 6, 2)).astype(np.float32)
    coarse = rng.normal(size=(1, 2, 3, 2)).astype(np.float32)
    new_fine = fuse(fine, _double(coarse), 0)
    new_coarse = fuse(coarse, _pool(new_fine), 1)
    found = cell([tf.constant(fine), tf.constant(coarse)], INFERENCE)
    np.testing.assert_allclose(found[0], new_fine, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], new_coarse, rtol=1e-5, atol=1e-6)


def test_nodes_of_five_levels() -> None:
    # Figure 2d of the paper: down from level 3 to 0, then up again. Numbers 0
    # to 4 are the inputs, 5 to 12 the nodes.
    assert bifpn.node_inputs(5) == [
        (3, [3, 4]),
        (2, [2, 5]),
        (1, [1, 6]),
        (0, [0, 7]),
        (1, [1, 7, 8]),
        (2, [2, 6, 9]),
        (3, [3, 5, 10]),
        (4, [4, 11]),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [((5, 7), (3, 4)), ((3, 4), (5, 7)), ((4, 6), (4, 6)), ((1, 5), (1, 3))],
)
def test_resample_brings_odd_sizes_to_the_neighbours(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    resample = bifpn.Resample(_maker(), "resample", 3, 3, NORM)
    features = np.random.default_rng(1).normal(size=(1, *before, 3))
    found = resample(tf.constant(features, tf.float32), after, INFERENCE)
    assert found.shape == (1, *after, 3)
    assert np.isfinite(found).all()
    assert set(found.numpy().ravel()) <= set(
        features.astype(np.float32).ravel()
    )


def test_resample_has_a_convolution_only_between_other_channels() -> None:
    same, other = _maker(), _maker()
    bifpn.Resample(same, "r", 3, 3, NORM)
    bifpn.Resample(other, "r", 3, 4, NORM)
    assert same.ordered() == []
    assert [v.name for v in other.ordered()] == [
        "r/conv2d/kernel:0",
        "r/conv2d/bias:0",
        "r/bn/gamma:0",
        "r/bn/beta:0",
        "r/bn/moving_mean:0",
        "r/bn/moving_variance:0",
    ]
