"""The bidirectional feature pyramid (Tan, Pang and Le 2020, section 3)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_aimmo.model import drawing, layers, resizing

_FUSION_EPSILON = 1e-4  # section 3.3, fast normalised fusion


class Resample(tf.Module):
    """Brings features to a level's channels and size.

    The 1x1 convolution comes before pooling, as in the official network, and
    exists only where the number of channels differs.
    """

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        channels_in: int,
        channels_out: int,
        norm: functools.partial[layers.BatchNorm],
    ) -> None:
        super().__init__()
        self._conv = None
        if channels_in != channels_out:
            self._conv = layers.Conv2D(
                make,
                f"{name}/conv2d",
                1,
                channels_in,
                channels_out,
                drawing.glorot,
                strides=1,
                use_bias=True,
            )
            self._norm = norm(make, f"{name}/bn", channels_out)

    def __call__(
        self,
        features: tf.Tensor,
        size: tuple[int, int],
        run: layers.ForwardPass,
    ) -> tf.Tensor:
        """Returns [B, *size, channels_out]."""
        if self._conv is not None:
            features = self._norm(self._conv(features), run)
        height, width = features.shape[1:3]
        if (height, width) == size:
            return features
        if height >= size[0] and width >= size[1]:
            strides = [(height - 1) // size[0] + 1, (width - 1) // size[1] + 1]
            return tf.nn.max_pool2d(
                features, [strides[0] + 1, strides[1] + 1], strides, "SAME"
            )
        return resizing.enlarge(features, size, run.is_compiled)


class _Node(tf.Module):
    """Fuses two or three features of one level."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        inputs: Sequence[int],
        num_before: int,
        channels: Sequence[int],
        filters: int,
        weight_method: str,
        norm: functools.partial[layers.BatchNorm],
        activation: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self._activation = activation
        self._weights = []
        if weight_method == "fastattn":
            for i in range(len(inputs)):
                suffix = f"_{i}" if i else ""
                self._weights.append(
                    make.add(f"{name}/WSM{suffix}", (), drawing.ones)
                )
        self._resamples = [
            Resample(
                make,
                f"{name}/resample_{i}_{source}_{num_before}",
                channels[source],
                filters,
                norm,
            )
            for i, source in enumerate(inputs)
        ]
        combine = f"{name}/op_after_combine{num_before}"
        self._conv = layers.SeparableConv2D(
            make, f"{combine}/conv", filters, filters, drawing.glorot, 0.0
        )
        self._norm = norm(make, f"{combine}/bn", filters)

    def __call__(
        self,
        features: Sequence[tf.Tensor],
        size: tuple[int, int],
        run: layers.ForwardPass,
    ) -> tf.Tensor:
        """Returns the fused feature [B, *size, filters]."""
        parts = [
            resample(features[source], size, run)
            for source, resample in zip(
                self.inputs, self._resamples, strict=True
            )
        ]
        if self._weights:
            edges = tf.nn.relu(tf.stack(self._weights))
            shares = edges / (tf.reduce_sum(edges) + _FUSION_EPSILON)
            shares = tf.unstack(tf.cast(shares, parts[0].dtype))
            parts = [
                part * share for part, share in zip(parts, shares, strict=True)
            ]
        fused = self._activation(tf.add_n(parts))
        return self._norm(self._conv(fused), run)


def node_inputs(num_levels: int) -> list[tuple[int, list[int]]]:
    """Returns (level index, inputs) of each node of a cell, in order.

    Inputs number the cell's features: first its num_levels inputs, then the
    nodes as they come. Top-down nodes take their level's input and the last
    feature of the level above; bottom-up nodes take all features of their
    level and the last one of the level below (figure 2d of the paper).
    """
    by_level = [[i] for i in range(num_levels)]
    nodes = []
    for level in reversed(range(num_levels - 1)):
        nodes.append((level, [by_level[level][-1], by_level[level + 1][-1]]))
        by_level[level].append(num_levels - 1 + len(nodes))
    for level in range(1, num_levels):
        nodes.append((level, [*by_level[level], by_level[level - 1][-1]]))
        by_level[level].append(num_levels - 1 + len(nodes))
    return nodes


class Cell(tf.Module):
    """One BiFPN layer."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        channels: Sequence[int],
        filters: int,
        weight_method: str,
        norm: functools.partial[layers.BatchNorm],
        activation: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        known = list(channels)
        self._levels: list[int] = []
        self._nodes: list[_Node] = []
        for level, inputs in node_inputs(len(channels)):
            self._levels.append(level)
            self._nodes.append(
                _Node(
                    make,
                    f"{name}/fnode{len(self._nodes)}",
                    inputs,
                    len(known),
                    known,
                    filters,
                    weight_method,
                    norm,
                    activation,
                )
            )
            known.append(filters)

    def __call__(
        self, features: Sequence[tf.Tensor], run: layers.ForwardPass
    ) -> list[tf.Tensor]:
        """Returns the new feature of every level."""
        known = list(features)
        newest: dict[int, tf.Tensor] = {}
        for level, node in zip(self._levels, self._nodes, strict=True):
            height, width = features[level].shape[1:3]
            newest[level] = node(known, (height, width), run)
            known.append(newest[level])
        return [newest[level] for level in range(len(features))]
