"""Operations whose gradients TensorFlow computes slowly on a CPU.

What they return is the same; the gradients are sums of the same products in
another order. Small features, and all where there is a GPU, get TensorFlow's
own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_aimmo.model import own_gradient

# Elements from which a detour is worth the operations that it adds.
_LARGE = 1 << 16
# oneDNN has a fast kernel for depthwise gradients up to three columns.
_WIDE, _NARROW = 5, 3


def is_large(features: tf.Tensor) -> bool:
    """Returns whether a detour pays: large features, and on a CPU."""
    if tf.config.list_logical_devices("GPU"):
        return False
    size = features.shape.num_elements()
    return size is None or size >= _LARGE


def _sizes(features: tf.Tensor) -> tf.Tensor | tf.TensorShape:
    """Returns a shape for an operation: a constant where it is known."""
    if features.shape.is_fully_defined():
        return features.shape
    return tf.shape(features)


def _padding(size: int, strides: int) -> tuple[int, int]:
    """Returns what 'SAME' pads before and after for a wide kernel."""
    last = (size - 1) // strides * strides
    total = max(last + _WIDE - size, 0)
    return total // 2, total - total // 2


def _wide_kernel_gradient(
    features: tf.Tensor, upstream: tf.Tensor, strides: int
) -> tf.Tensor:
    """Returns the gradient of a depthwise kernel of 5x5, [5, 5, C, 1].

    Its first three columns and its last three are computed as a kernel each.
    """
    height, width, channels = features.shape[1:]
    padded = tf.pad(
        features,
        [(0, 0), _padding(height, strides), _padding(width, strides), (0, 0)],
    )
    count = (padded.shape[2] - _NARROW) // strides + 1
    # The last columns begin two further on: the gradient that comes in is
    # moved by as much, in strides, in place of the features.
    columns = []
    for first in (0, (_WIDE - _NARROW) // strides):
        after = count - first - upstream.shape[2]
        columns.append(
            tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=padded,
                filter_sizes=[_WIDE, _NARROW, channels, 1],
                out_backprop=tf.pad(
                    upstream, [(0, 0), (0, 0), (first, after), (0, 0)]
                ),
                strides=[1, strides, strides, 1],
                padding="VALID",
            )
        )
    return tf.concat([columns[0], columns[1][:, 1:]], axis=1)


def depthwise_conv2d(
    features: tf.Tensor, kernel: tf.Tensor, strides: int
) -> tf.Tensor:
    """Returns [B, h, w, C], padded as 'SAME' says; kernel is [k, k, C, 1]."""
    steps = [1, strides, strides, 1]

    def forward(features: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(features, kernel, steps, "SAME")

    if (
        kernel.shape[0] != _WIDE
        or strides not in (1, 2)
        or features.dtype != tf.float32
        or not is_large(features)
    ):
        return forward(features, kernel)

    def compute(
        features: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], Sequence[tf.Tensor]]]:
        def gradient(upstream: tf.Tensor) -> Sequence[tf.Tensor]:
            inward = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=_sizes(features),
                filter=kernel,
                out_backprop=upstream,
                strides=steps,
                padding="SAME",
            )
            return inward, _wide_kernel_gradient(features, upstream, strides)

        return forward(features, kernel), gradient

    return own_gradient.compute(compute, features, kernel)


def pointwise_conv2d(
    features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None
) -> tf.Tensor:
    """Returns [B, h, w, D]; kernel is [1, 1, C, D], bias [D].

    oneDNN's gradients of such a kernel are slower than a product of matrices,
    with a bias twice as slow.
    """

    def forward(*of: tf.Tensor) -> tf.Tensor:
        outputs = tf.nn.conv2d(of[0], of[1], 1, "SAME")
        return outputs if bias is None else tf.nn.bias_add(outputs, of[2])

    inputs = (features, kernel) if bias is None else (features, kernel, bias)
    if features.dtype != tf.float32 or not is_large(features):
        return forward(*inputs)

    def compute(
        *of: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], Sequence[tf.Tensor]]]:
        def gradient(upstream: tf.Tensor) -> Sequence[tf.Tensor]:
            inward = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=_sizes(of[0]),
                filter=of[1],
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
            rows = tf.reshape(upstream, [-1, upstream.shape[-1]])
            cells = tf.reshape(of[0], [-1, of[0].shape[-1]])
            found = tf.matmul(cells, rows, transpose_a=True)
            found = [inward, tf.reshape(found, kernel.shape)]
            if bias is not None:
                found.append(tf.raw_ops.BiasAddGrad(out_backprop=upstream))
            return found

        return forward(*of), gradient

    return own_gradient.compute(compute, *inputs)


def _gated_products(
    cells: tf.Tensor, gate: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], Sequence[tf.Tensor]]]:
    """Returns (cells * gate) @ kernel, [B, N, D].

    Args:
      cells: [B, N, C].
      gate: [B, C, 1].
      kernel: [C, D].
    """
    scaled = kernel * gate

    def gradient(upstream: tf.Tensor) -> Sequence[tf.Tensor]:
        # Of every image's own kernel, [B, C, D]: both others follow from it.
        found = tf.matmul(cells, upstream, transpose_a=True)
        return (
            tf.matmul(upstream, scaled, transpose_b=True),
            tf.reduce_sum(found * kernel, axis=2, keepdims=True),
            tf.reduce_sum(found * gate, axis=0),
        )

    return tf.matmul(cells, scaled), gradient


def gated_conv2d(
    features: tf.Tensor, gate: tf.Tensor, kernel: tf.Tensor
) -> tf.Tensor:
    """Returns the pointwise convolution of features * gate, [B, h, w, D].

    Every image has its kernel scaled in place of its features: neither their
    product nor its gradient is ever made.

    Args:
      features: [B, h, w, C].
      gate: [B, 1, 1, C].
      kernel: [1, 1, C, D].
    """
    if features.dtype != tf.float32 or not is_large(features):
        return tf.nn.conv2d(features * gate, kernel, 1, "SAME")
    batch, height, width, channels = features.shape
    found = own_gradient.compute(
        _gated_products,
        tf.reshape(features, [batch, height * width, channels]),
        tf.reshape(gate, [batch, channels, 1]),
        tf.reshape(kernel, kernel.shape[2:]),
    )
    return tf.reshape(found, [batch, height, width, kernel.shape[-1]])
