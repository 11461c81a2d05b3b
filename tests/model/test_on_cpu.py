"""The detours of a CPU against TensorFlow's own gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import efficientnet, on_cpu, own_gradient


def _draw(*shape: int) -> tf.Tensor:
    rng = np.random.default_rng(sum(shape))
    return tf.constant(rng.normal(size=shape), tf.float32)


def _check_same(
    ours: Callable[..., tf.Tensor],
    theirs: Callable[..., tf.Tensor],
    inputs: Sequence[tf.Tensor],
) -> None:
    """Compares outputs and all gradients, inside of a graph and outside."""
    assert on_cpu.is_large(inputs[0])

    def differentiate(function: Callable[..., tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(*inputs)
            total = tf.reduce_sum(tf.sin(outputs))
        return [outputs, *tape.gradient(total, inputs)]

    expected = differentiate(theirs)
    compiled = tf.function(lambda: differentiate(ours), autograph=False)
    for found in (differentiate(ours), compiled()):
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            scale = np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=0, atol=3e-6 * scale)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 40), (40, 33)])
def test_depthwise_kernel_of_five_columns(
    height: int, width: int, strides: int
) -> None:
    _check_same(
        lambda x, kernel: on_cpu.depthwise_conv2d(x, kernel, strides),
        lambda x, kernel: tf.nn.depthwise_conv2d(
            x, kernel, [1, strides, strides, 1], "SAME"
        ),
        [_draw(2, height, width, 48), _draw(5, 5, 48, 1)],
    )


def test_pointwise_kernel_with_and_without_bias() -> None:
    inputs = [_draw(2, 32, 31, 40), _draw(1, 1, 40, 24), _draw(24)]
    _check_same(
        on_cpu.pointwise_conv2d,
        lambda x, kernel, bias: tf.nn.conv2d(x, kernel, 1, "SAME") + bias,
        inputs,
    )
    _check_same(
        lambda x, kernel: on_cpu.pointwise_conv2d(x, kernel, None),
        lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"),
        inputs[:2],
    )


def test_gate_and_kernel_together() -> None:
    _check_same(
        on_cpu.gated_conv2d,
        lambda x, gate, kernel: tf.nn.conv2d(x * gate, kernel, 1, "SAME"),
        [_draw(3, 32, 31, 40), _draw(3, 1, 1, 40), _draw(1, 1, 40, 24)],
    )


def test_means_and_features_share_a_gradient() -> None:
    def squeezed(split: Callable[..., Sequence[tf.Tensor]]) -> Callable:
        def function(x: tf.Tensor) -> tf.Tensor:
            means, features = split(x)
            return features * tf.sigmoid(means)

        return function

    _check_same(
        squeezed(efficientnet._means_beside),
        squeezed(lambda x: (tf.reduce_mean(x, [1, 2], keepdims=True), x)),
        [_draw(2, 32, 31, 40)],
    )


def test_small_features_and_16_bits_take_no_detour() -> None:
    small, large = _draw(1, 8, 8, 8), _draw(2, 32, 32, 48)
    assert not on_cpu.is_large(small)
    kernels = {8: _draw(5, 5, 8, 1), 48: _draw(5, 5, 48, 1)}

    def names(x: tf.Tensor) -> list[str]:
        """Returns the kinds of operations of the kernel's gradient."""
        kernel = tf.cast(kernels[x.shape[-1]], x.dtype)

        def differentiate(kernel: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                y = on_cpu.depthwise_conv2d(x, kernel, 1)
            return tape.gradient(y, kernel)

        graph = tf.function(differentiate).get_concrete_function(kernel).graph
        return [op.type for op in graph.get_operations()]

    wanted = "DepthwiseConv2dNativeBackpropFilter"
    assert names(large).count(wanted) == 2
    assert names(small).count(wanted) == 1
    assert names(tf.cast(large, tf.bfloat16)).count(wanted) == 1


def test_own_gradient_is_asked_and_nothing_else() -> None:
    variable = tf.Variable([2.0, 3.0])

    def function(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return x * x, lambda upstream: [upstream * 7.0]

    with tf.GradientTape() as tape:
        outputs = own_gradient.compute(function, variable)
    np.testing.assert_array_equal(outputs, [4.0, 9.0])
    np.testing.assert_array_equal(
        tape.gradient(outputs, variable, tf.constant([1.0, 2.0])), [7.0, 14.0]
    )
