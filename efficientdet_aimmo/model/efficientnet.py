"""EfficientNet and EfficientNet-lite backbones (Tan and Le 2019).

Names, shapes and order of the variables are those of the official network, so
that its checkpoints load variable by variable.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import tensorflow as tf

from efficientdet_aimmo.model import drawing, layers, normed, recompute


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Blocks of one kind, table 1 of the paper."""

    repeats: int
    kernel_size: int
    strides: int
    expand_ratio: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_SQUEEZE_RATIO = 0.25

# Width and depth multipliers of the compound scaling.
_SCALING = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}


def _round_channels(channels: int, width: float) -> int:
    """Returns scaled channels as a multiple of 8, at most 10 % fewer."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


@tf.custom_gradient
def _means_beside(
    features: tf.Tensor,
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
    """Returns the means of all channels, [B, 1, 1, C], and the features.

    The two gradients that come back are added in one pass over memory; apart
    that of the means would first be spread over all cells.
    """
    height, width = features.shape[1:3]

    def gradient(of_means: tf.Tensor, of_features: tf.Tensor) -> tf.Tensor:
        return of_features + of_means / (height * width)

    means = tf.reduce_mean(features, [1, 2], keepdims=True)
    return (means, tf.identity(features)), gradient


class _SqueezeExcite(tf.Module):
    """Computes a gate for the channels from their means."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        channels: int,
        reduced: int,
        activation: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        conv = functools.partial(
            layers.Conv2D, draw=drawing.he_fan_out, strides=1, use_bias=True
        )
        self._activation = activation
        self._reduce = conv(make, f"{name}/conv2d", 1, channels, reduced)
        self._expand = conv(make, f"{name}/conv2d_1", 1, reduced, channels)

    def __call__(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns features, and the gate to scale them by, [B, 1, 1, C]."""
        means, features = _means_beside(features)
        gate = self._expand(self._activation(self._reduce(means)))
        return features, tf.sigmoid(gate)


class _Block(tf.Module):
    """Mobile inverted bottleneck."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        stage: _Stage,
        channels_in: int,
        norm: functools.partial[layers.BatchNorm],
        activation: Callable[[tf.Tensor], tf.Tensor],
        has_squeeze: bool,
    ) -> None:
        super().__init__()
        conv = functools.partial(
            layers.Conv2D, draw=drawing.he_fan_out, strides=1, use_bias=False
        )
        inner = channels_in * stage.expand_ratio
        suffixes = iter(["", "_1", "_2"])
        norm_name = f"{name}/tpu_batch_normalization"
        project_name = f"{name}/conv2d"
        self._activation = activation
        self._has_skip = stage.strides == 1 and channels_in == stage.channels
        self._expand = None
        if stage.expand_ratio != 1:
            self._expand = conv(make, f"{name}/conv2d", 1, channels_in, inner)
            self._expand_norm = norm(make, norm_name + next(suffixes), inner)
            project_name = f"{name}/conv2d_1"
        self._depthwise = layers.DepthwiseConv2D(
            make,
            f"{name}/depthwise_conv2d",
            stage.kernel_size,
            inner,
            drawing.he_fan_out,
            strides=stage.strides,
        )
        self._depthwise_norm = norm(make, norm_name + next(suffixes), inner)
        self._squeeze = None
        if has_squeeze:
            reduced = max(1, int(channels_in * _SQUEEZE_RATIO))
            self._squeeze = _SqueezeExcite(
                make, f"{name}/se", inner, reduced, activation
            )
        self._project = conv(make, project_name, 1, inner, stage.channels)
        self._project_norm = norm(
            make, norm_name + next(suffixes), stage.channels
        )

    def __call__(
        self, features: tf.Tensor, run: layers.ForwardPass
    ) -> tf.Tensor:
        x = features
        if self._expand is not None:
            x = normed.activated(
                self._expand_norm, self._expand(x), run, self._activation
            )
        x = normed.activated(
            self._depthwise_norm, self._depthwise(x), run, self._activation
        )
        if self._squeeze is None:
            x = self._project(x)
        else:
            x, gate = self._squeeze(x)
            x = self._project.gated(x, gate, run)
        x = self._project_norm(x, run)
        return x + features if self._has_skip else x


class EfficientNet(tf.Module):
    """The backbone without its classifier.

    Attributes:
      channels: channels of the features at levels 1 to 5.
    """

    def __init__(
        self,
        make: drawing.VariableMaker,
        backbone_name: str,
        norm: functools.partial[layers.BatchNorm],
        activation: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        variant = backbone_name.removeprefix("efficientnet-")
        width, depth = _SCALING[variant]
        is_lite = variant.startswith("lite")
        stem_channels = _STEM_CHANNELS
        if not is_lite:  # lite keeps stem and depth of the outer stages
            stem_channels = _round_channels(_STEM_CHANNELS, width)
        self._activation = activation
        self._blocks: list[_Block] = []
        self._ends: list[int] = []  # last block of each resolution
        self.channels: list[int] = []

        make.start_group()
        channels = stem_channels
        for stage in _scaled_stages(width, depth, is_lite):
            if stage.strides == 2:
                self._ends.append(len(self._blocks) - 1)
                self.channels.append(channels)
            for i in range(stage.repeats):
                block = dataclasses.replace(
                    stage, strides=stage.strides if i == 0 else 1
                )
                name = f"{backbone_name}/blocks_{len(self._blocks)}"
                self._blocks.append(
                    _Block(
                        make, name, block, channels, norm, activation,
                        not is_lite,
                    )
                )  # fmt: skip
                channels = stage.channels
        self._ends.append(len(self._blocks) - 1)
        self.channels.append(channels)

        make.start_group()
        stem = f"{backbone_name}/stem"
        self._stem = layers.Conv2D(
            make,
            f"{stem}/conv2d",
            3,
            3,
            stem_channels,
            drawing.he_fan_out,
            strides=2,
            use_bias=False,
        )
        self._stem_norm = norm(
            make, f"{stem}/tpu_batch_normalization", stem_channels
        )

    def __call__(
        self, images: tf.Tensor, run: layers.ForwardPass
    ) -> list[tf.Tensor]:
        """Returns the features of levels 1 to 5, each [B, h, w, channels]."""
        x = recompute.segment(self._start, images, run)
        features = []
        for i, block in enumerate(self._blocks):
            x = recompute.segment(block, x, run)
            if i in self._ends:
                features.append(x)
        return features

    def _start(self, images: tf.Tensor, run: layers.ForwardPass) -> tf.Tensor:
        return normed.activated(
            self._stem_norm, self._stem(images), run, self._activation
        )


def _scaled_stages(width: float, depth: float, is_lite: bool) -> list[_Stage]:
    """Returns the stages of one variant."""
    stages = []
    for i, stage in enumerate(_STAGES):
        repeats = math.ceil(depth * stage.repeats)
        if is_lite and i in (0, len(_STAGES) - 1):
            repeats = stage.repeats
        channels = _round_channels(stage.channels, width)
        stages.append(
            dataclasses.replace(stage, repeats=repeats, channels=channels)
        )
    return stages
