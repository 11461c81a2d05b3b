"""Segments that are computed again, against a network that keeps everything."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import drawing, layers, recompute
from tests.training import tiny

# Residual branches in the heads, so that stochastic depth has something to do.
SETTINGS = "box_class_repeats=2,survival_prob=0.5"


@pytest.fixture(scope="module")
def detectors() -> list[detector_lib.Detector]:
    return [
        detector_lib.Detector(tiny.config(SETTINGS + more))
        for more in ("", ",grad_checkpoint=true")
    ]


def _gradients(
    detector: detector_lib.Detector, is_frozen: Callable[[str], bool]
) -> dict[str, list[np.ndarray]]:
    """Returns outputs, gradients, and updates in their order, of one batch."""
    variables = detector.all_variables
    run = layers.ForwardPass(
        True,
        tf.constant([1, 2]),
        frozenset(v.name for v in variables if is_frozen(v.name)),
    )
    trained = [v for v in variables if v.trainable and v.name not in run.frozen]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(trained)
        outputs = detector.forward(tiny.batch().images, run)
        total = tf.add_n([tf.reduce_sum(tf.sin(o)) for o in outputs])
    return {
        "outputs": [o.numpy() for o in outputs],
        "gradients": [g.numpy() for g in tape.gradient(total, trained)],
        "updates": [u.value.numpy() for u in run.updates],
        "names": [u.variable.name for u in run.updates],
    }


@pytest.mark.parametrize("part", ["", "blocks_3/", "efficientnet-lite0/"])
def test_same_bits(detectors: list[detector_lib.Detector], part: str) -> None:
    kept, again = (
        _gradients(d, lambda name: bool(part) and part in name)
        for d in detectors
    )
    assert len(again["gradients"]) > 10
    for what in kept:
        assert len(kept[what]) == len(again[what])
        for one, other in zip(kept[what], again[what], strict=True):
            np.testing.assert_array_equal(one, other, what)


def _block(
    conv: layers.DepthwiseConv2D,
    norm: layers.BatchNorm,
    features: tf.Tensor,
    run: layers.ForwardPass,
) -> tf.Tensor:
    return tf.sin(norm(conv(features), run))


def _compiled(recomputed: list[tf.Tensor] | None) -> list[np.ndarray]:
    """Returns gradients and updates of three small blocks in one graph."""
    make = drawing.VariableMaker(0)
    make.start_group()
    blocks = [
        (
            layers.DepthwiseConv2D(
                make, f"{i}", 3, 4, drawing.he_fan_out, strides=1
            ),
            layers.BatchNorm(make, f"{i}", 4, momentum=0.9, epsilon=0.1),
        )
        for i in range(3)
    ]

    @tf.function(autograph=False)
    def both(x: tf.Tensor) -> list[tf.Tensor]:
        run = layers.ForwardPass(True, recomputed=recomputed)
        with tf.GradientTape() as tape:
            for conv, norm in blocks:
                block = functools.partial(_block, conv, norm)
                x = recompute.segment(block, x, run)
            total = tf.reduce_sum(x**2)
        trained = [v for v in make.groups[0] if v.trainable]
        return [
            *tape.gradient(total, trained),
            *(update.value for update in run.updates),
        ]

    images = np.random.default_rng(0).normal(size=(2, 5, 6, 4))
    return [t.numpy() for t in both(tf.constant(images, tf.float32))]


def test_same_bits_in_a_graph() -> None:
    kept, again = _compiled(None), _compiled([])
    assert len(kept) == len(again) == 3 * (3 + 2)
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one, other)


def _trace(passes: layers.ForwardPass) -> tf.Graph:
    """Returns the graph of both passes of three segments in a row.

    Each takes the sine of the sine.
    """

    def twice(x: tf.Tensor, run: layers.ForwardPass) -> tf.Tensor:
        assert run.training
        return tf.sin(tf.sin(x))

    def both(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(3):
                y = recompute.segment(twice, y, passes)
            total = tf.exp(y)
        return tape.gradient(total, x)

    spec = tf.TensorSpec([4], tf.float32)
    traced = tf.function(both, autograph=False)
    return traced.get_concrete_function(spec).graph


def _before(op: tf.Operation) -> set[tf.Operation]:
    """Returns all operations that end before this one starts."""
    found: set[tf.Operation] = set()
    todo = [op]
    while todo:
        op = todo.pop()
        for other in (*op.control_inputs, *(t.op for t in op.inputs)):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def test_a_segment_waits_for_its_turn() -> None:
    kept = _trace(layers.ForwardPass(True))
    assert sum(op.type == "Sin" for op in kept.get_operations()) == 6
    graph = _trace(layers.ForwardPass(True, recomputed=[]))
    sines = [op for op in graph.get_operations() if op.type == "Sin"]
    products = [op for op in graph.get_operations() if op.type == "Mul"]
    assert len(sines) == 12
    assert len(products) == 1 + 6  # the first is the exponential's
    for place, sine in enumerate(sines[6:]):
        # All of the forward pass is over, and the segments behind this one
        # have given their gradients, two products for each.
        before = _before(sine)
        assert set(sines[:6]) <= before
        assert set(products) & before == set(products[: 1 + place // 2 * 2])


def test_without_training_nothing_is_recomputed() -> None:
    calls = []

    def function(x: tf.Tensor, run: layers.ForwardPass) -> tf.Tensor:
        calls.append(run)
        return x * x

    run = layers.ForwardPass(False, recomputed=[])
    with tf.GradientTape() as tape:
        x = tf.constant(3.0)
        tape.watch(x)
        y = recompute.segment(function, x, run)
    assert float(tape.gradient(y, x)) == 6.0
    assert calls == [run]
