"""The estimate of memory, against real states and graphs worked out by hand."""

from __future__ import annotations

import pytest
import tensorflow as tf

from efficientdet_aimmo import memory
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import profile
from efficientdet_aimmo.training import state
from tests.training import tiny


def _estimate(text: str = "") -> memory.Estimate:
    config = tiny.config(text)
    detector = detector_lib.Detector(config)
    graph = profile.trace_inference(detector, config.data.image_size)
    return memory.estimate(detector, config, graph)


@pytest.fixture(scope="module")
def usual() -> memory.Estimate:
    return _estimate()


def _num_bytes(variables: list[tf.Variable]) -> int:
    """Returns the size of all variables that are arrays, not settings."""
    return sum(4 * v.shape.num_elements() for v in variables)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "momentum=0,moving_average_decay=0",
        "optimizer=adam",
        "optimizer=lamb,momentum=0",
    ],
)
def test_variables_are_those_of_a_real_state(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The graphs do not depend on it.
    monkeypatch.setattr(
        memory, "_trace_training", lambda *_: (tf.Graph(), set())
    )
    monkeypatch.setattr(memory, "_most_bytes", lambda *_, **__: 0)
    config = tiny.config(text)
    real = state.TrainState(config)
    found = memory.estimate(real.detector, config, tf.Graph())
    slots = [
        variable
        for name, variable in real.variables().items()
        if name.startswith("optimizer/") and variable.shape.rank
    ]
    scalars = [v for v in real.trainable if v.shape.rank == 0]
    assert not scalars  # lite networks have no fusion weights
    assert found.weights == _num_bytes(real.detector.all_variables)
    assert found.gradients == _num_bytes(real.trainable)
    assert found.optimizer_slots == _num_bytes(slots)
    averages = [] if real.average is None else [real.average.whole]
    assert found.moving_average == _num_bytes(averages)


def test_totals(usual: memory.Estimate) -> None:
    state_bytes = sum(usual[:4])
    assert usual.training(3) == state_bytes + 3 * usual.training_per_image
    assert usual.inference(2) == usual.weights + 2 * usual.inference_per_image
    assert usual.inference_per_image < usual.kept_per_image
    assert usual.kept_per_image < usual.training_per_image


def test_activations_grow_with_the_image(usual: memory.Estimate) -> None:
    large = _estimate("image_size=128")
    assert large[:4] == usual[:4]
    for small, great in zip(usual[4:], large[4:], strict=True):
        assert great == pytest.approx(4 * small, rel=0.1)


def _graph(function: object) -> tf.Graph:
    spec = tf.TensorSpec([10], tf.float32)
    return (
        tf.function(function, autograph=False).get_concrete_function(spec).graph
    )


def test_tensors_that_overlap() -> None:
    def chain(x: tf.Tensor) -> tf.Tensor:
        first = tf.sin(x)  # x and first
        second = tf.cos(first)  # first and second: x is given back
        both = tf.concat([first, second], 0)  # 10 + 10 + 20
        return tf.identity(tf.reshape(both, [5, 4]))  # the same memory

    # The axis of concat and the shape of reshape are int32 constants, both
    # still or already there: 4 bytes, and 8 once concat has run.
    graph = _graph(chain)
    assert memory._most_bytes(graph, has_results=True) == 4 * 40 + 4
    assert memory._most_bytes(graph, has_results=False) == 4 * 20 + 4


def test_what_the_backward_pass_reads() -> None:
    forward: set[str] = set()

    def both_passes(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            # The gradient of sin reads x, that of exp its own result, and that
            # of the sum neither.
            y = tf.exp(tf.sin(x) + 1.0)
        graph = tf.compat.v1.get_default_graph()
        forward.update(op.name for op in graph.get_operations())
        return tape.gradient(y, x)

    graph = _graph(both_passes)
    assert memory._kept_bytes(graph, forward) == 2 * 4 * 10
