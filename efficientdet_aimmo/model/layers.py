"""Layers of the network: variables with given names, and one forward pass.

A forward pass changes nothing. In training, batch norm hands the statistics it
would store to the pass, and whoever runs the step stores them, or does not: a
refused step leaves no trace, and a recomputed segment counts once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from efficientdet_aimmo.model import (
    drawing,
    fused_norm,
    on_cpu,
    synchronised_norm,
)


class Update(NamedTuple):
    """A moving statistic and what a batch says of it."""

    variable: tf.Variable
    value: tf.Tensor
    share: float  # of the way to the value that the statistic goes

    def store(self) -> None:
        """Moves the statistic: one kernel, as for a gradient."""
        tf.raw_ops.ResourceApplyGradientDescent(
            var=self.variable.handle,
            alpha=self.share,
            delta=self.variable - self.value,
        )


class Rows(NamedTuple):
    """The rows of a batch that a pass sees, of all that a step has."""

    first: int | tf.Tensor
    total: int


@dataclasses.dataclass
class ForwardPass:
    """What a forward pass is told, and the statistics it hands back.

    Attributes:
      training: batch statistics and stochastic depth, or neither.
      seed: [2] int32, read where stochastic depth is on.
      frozen: names of moving statistics that stand still; their layer
        normalises by them in training too.
      rows: of the batch, where the pass sees a part of it.
      synchronise: the replicas over which batch norm takes its statistics;
        None takes them over the pass's own images.
      updates: for every moving statistic, in order.
      recomputed: None keeps all activations. Otherwise segments of the network
        (model/recompute.py) are computed again in the backward pass, and this
        holds the gradients of the one that was last.
      is_compiled: XLA compiles both passes, and must have every operation.
      outside: of what XLA compiles; a scope in which the pass draws at random,
        because XLA gives other numbers for the same seed.
    """

    training: bool
    seed: tf.Tensor | None = None
    frozen: frozenset[str] = frozenset()
    rows: Rows | None = None
    synchronise: synchronised_norm.Replicas | None = None
    updates: list[Update] = dataclasses.field(default_factory=list)
    recomputed: list[tf.Tensor] | None = None
    is_compiled: bool = False
    outside: Callable[[], contextlib.AbstractContextManager] = (
        contextlib.nullcontext
    )

    def uniform(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Returns numbers from 0 to 1 that follow from seed, [2] int32, alone.

        The seed is of the pass's own, or follows from it by operations outside.
        """
        with self.outside():
            return tf.random.stateless_uniform(shape, seed)

    def drop_branch(
        self, branch: tf.Tensor, survival_prob: float, name: str
    ) -> tf.Tensor:
        """Returns branch [B, ...], zero for the images that lose it.

        What survives is divided by survival_prob (Huang et al. 2016, section
        3). The draw depends on the seed, the branch's name and the place in
        the batch alone.
        """
        if not self.training or survival_prob == 1.0:
            return branch
        if self.seed is None:
            raise ValueError("Stochastic depth needs a seed in training.")
        rows = self.rows or Rows(0, branch.shape[0])
        with self.outside():
            fold = tf.constant(
                [0, zlib.crc32(name.encode()) & 0x7FFFFFFF], tf.int32
            )
            seed = tf.bitwise.bitwise_xor(self.seed, fold)
        draws = self.uniform([rows.total, 1, 1, 1], seed)
        if self.rows is not None:
            draws = tf.slice(
                draws, [rows.first, 0, 0, 0], [branch.shape[0], 1, 1, 1]
            )
        kept = tf.cast(draws < survival_prob, branch.dtype)
        return branch / survival_prob * kept


def _cast(variable: tf.Variable, features: tf.Tensor) -> tf.Tensor:
    return tf.cast(variable, features.dtype)


class Conv2D(tf.Module):
    """Convolution with 'SAME' padding."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        kernel_size: int,
        channels_in: int,
        channels_out: int,
        draw: Callable[..., np.ndarray],
        *,
        strides: int,
        use_bias: bool,
    ) -> None:
        super().__init__()
        shape = (kernel_size, kernel_size, channels_in, channels_out)
        self._strides = strides
        self.kernel = make.add(f"{name}/kernel", shape, draw)
        self.bias = (
            make.add(f"{name}/bias", (channels_out,), drawing.zeros)
            if use_bias
            else None
        )

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Returns [B, h, w, channels_out]."""
        kernel = _cast(self.kernel, features)
        bias = None if self.bias is None else _cast(self.bias, features)
        if self._strides == 1 and kernel.shape[:2] == (1, 1):
            return on_cpu.pointwise_conv2d(features, kernel, bias)
        outputs = tf.nn.conv2d(features, kernel, self._strides, "SAME")
        return outputs if bias is None else tf.nn.bias_add(outputs, bias)

    def gated(
        self, features: tf.Tensor, gate: tf.Tensor, run: ForwardPass
    ) -> tf.Tensor:
        """Returns the same of features * gate; gate is [B, 1, 1, C].

        A kernel of 1x1 without strides and bias.
        """
        if not run.training:
            return self(features * gate)
        kernel = _cast(self.kernel, features)
        return on_cpu.gated_conv2d(features, gate, kernel)


class DepthwiseConv2D(tf.Module):
    """One filter per channel, 'SAME' padding, no bias."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        kernel_size: int,
        channels: int,
        draw: Callable[..., np.ndarray],
        *,
        strides: int,
    ) -> None:
        super().__init__()
        shape = (kernel_size, kernel_size, channels, 1)
        self._strides = strides
        self.kernel = make.add(f"{name}/depthwise_kernel", shape, draw)

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Returns [B, h, w, channels]."""
        return on_cpu.depthwise_conv2d(
            features, _cast(self.kernel, features), self._strides
        )


class SeparableConv2D(tf.Module):
    """3x3 depthwise, then 1x1 convolution with bias."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        channels_in: int,
        channels_out: int,
        draw: Callable[..., np.ndarray],
        bias: float,
    ) -> None:
        super().__init__()
        self._depthwise = DepthwiseConv2D(
            make, name, 3, channels_in, draw, strides=1
        )
        self.pointwise = make.add(
            f"{name}/pointwise_kernel", (1, 1, channels_in, channels_out), draw
        )
        self.bias = make.add(
            f"{name}/bias", (channels_out,), drawing.constant(bias)
        )

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Returns [B, h, w, channels_out]."""
        return on_cpu.pointwise_conv2d(
            self._depthwise(features),
            _cast(self.pointwise, features),
            _cast(self.bias, features),
        )


class BatchNorm(tf.Module):
    """Batch normalisation over all axes but the last."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        channels: int,
        *,
        momentum: float,
        epsilon: float,
    ) -> None:
        super().__init__()
        shape = (channels,)
        self._momentum = momentum
        self.epsilon = epsilon
        self.gamma = make.add(f"{name}/gamma", shape, drawing.ones)
        self.beta = make.add(f"{name}/beta", shape, drawing.zeros)
        self.mean = make.add(f"{name}/moving_mean", shape, drawing.zeros, False)
        self.variance = make.add(
            f"{name}/moving_variance", shape, drawing.ones, False
        )

    def __call__(self, features: tf.Tensor, run: ForwardPass) -> tf.Tensor:
        """Returns normalised features, in training by the batch's own."""
        # Officially the statistics of frozen layers go on moving.
        is_frozen = self.mean.name in run.frozen
        if not run.training or is_frozen:
            return tf.compat.v1.nn.fused_batch_norm(
                features,
                self.gamma,
                self.beta,
                self.mean,
                self.variance,
                self.epsilon,
                is_training=False,
            )[0]
        # The variance handed back is the unbiased one, n / (n - 1) times the
        # batch's: what the official network stores too.
        if run.synchronise is None:
            outputs, mean, variance = fused_norm.normalise(
                features, self.gamma, self.beta, self.epsilon
            )
        else:
            outputs, mean, variance = synchronised_norm.normalise(
                features, self.gamma, self.beta, self.epsilon, run.synchronise
            )
        self.hand_back(run, mean, variance)
        return outputs

    def hand_back(
        self, run: ForwardPass, mean: tf.Tensor, variance: tf.Tensor
    ) -> None:
        """Leaves the statistics of a batch in the pass."""
        for variable, value in ((self.mean, mean), (self.variance, variance)):
            run.updates.append(Update(variable, value, 1.0 - self._momentum))
