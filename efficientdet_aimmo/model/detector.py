"""EfficientDet: backbone, BiFPN and heads (Tan, Pang and Le 2020)."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import anchors
from efficientdet_aimmo.model import (
    activations,
    bifpn,
    drawing,
    efficientnet,
    heads,
    layers,
    recompute,
)
from hparams import config as config_lib

# Every anchor starts at this probability (Lin et al. 2017, section 4.1).
_PRIOR = 0.01
_BACKBONE_LEVELS = 5


class Outputs(NamedTuple):
    """What the network says of every anchor, float32."""

    logits: tf.Tensor  # [B, A, K], before the sigmoid
    codes: tf.Tensor  # [B, A, 4], relative to the anchors


class Features(NamedTuple):
    """What the parts hand on, one tensor per level."""

    backbone: list[tf.Tensor]  # before the BiFPN's own 1x1 convolutions
    pyramid: list[tf.Tensor]


class Detector(tf.Module):
    """The network, with the variable names of the official one.

    Attributes:
      num_classes: background not counted.
      all_variables: weights and moving statistics in the official order.
    """

    def __init__(self, config: config_lib.Config) -> None:
        """Makes the variables, drawn from the configuration's seed."""
        super().__init__()
        model, levels = config.model, config.anchors
        if model.num_classes == 0:
            raise config_lib.HParamError(
                "Hyper-parameter 'num_classes' is 0: it follows from the data"
                " set, and no data set was given. Set it."
            )
        self.num_classes = model.num_classes
        self._recomputes = config.runtime.grad_checkpoint
        self._precision = config.train.precision
        self._min_level = levels.min_level
        self._num_levels = levels.max_level - levels.min_level + 1
        make = drawing.VariableMaker(config.train.seed)
        activation = activations.ACTIVATIONS[model.act_type]
        norm = functools.partial(
            layers.BatchNorm,
            momentum=model.batch_norm_momentum,
            epsilon=model.batch_norm_epsilon,
        )
        self._backbone = efficientnet.EfficientNet(
            make, model.backbone_name, norm, activation
        )
        channels = self._backbone.channels[levels.min_level - 1 :]
        self._coarser = _coarser_levels(make, config, channels[-1], norm)
        channels += [model.fpn_num_filters] * len(self._coarser)
        make.start_group()
        self._cells = [
            bifpn.Cell(
                make,
                f"fpn_cells/cell_{i}",
                [model.fpn_num_filters] * self._num_levels if i else channels,
                model.fpn_num_filters,
                model.fpn_weight_method,
                norm,
                activation,
            )
            for i in range(model.fpn_cell_repeats)
        ]
        self._class_head, self._box_head = _make_heads(
            make, config, norm, activation
        )
        self.all_variables = make.ordered()

    def features(self, images: tf.Tensor, run: layers.ForwardPass) -> Features:
        """Returns the features that go into the BiFPN and come out of it."""
        levels = self._backbone(images, run)[self._min_level - 1 :]
        for resample in self._coarser:
            height, width = levels[-1].shape[1:3]
            size = ((height - 1) // 2 + 1, (width - 1) // 2 + 1)
            levels.append(resample(levels[-1], size, run))
        pyramid = levels = levels[: self._num_levels]
        for cell in self._cells:
            pyramid = recompute.segment(cell, pyramid, run)
        return Features(levels, pyramid)

    def forward(self, images: tf.Tensor, run: layers.ForwardPass) -> Outputs:
        """Returns the outputs; statistics to store are left in run.updates.

        Layers compute in the type of what goes in. Training has the one that
        the configuration says; elsewhere it is float32, so that figures and
        detections are the same on every device.

        Args:
          images: [B, H, W, 3] float32, normalised; H and W are static.
          run: the pass.
        """
        if self._recomputes:
            run = dataclasses.replace(run, recomputed=[])
        if run.training:
            images = tf.cast(images, tf.as_dtype(self._precision))
        pyramid = self.features(images, run).pyramid
        batch = images.shape[0] or tf.shape(images)[0]

        def per_anchor(levels: list[tf.Tensor], depth: int) -> tf.Tensor:
            flat = [
                tf.reshape(
                    level,
                    [
                        batch,
                        math.prod(level.shape[1:]) // depth,
                        depth,
                    ],
                )
                for level in levels
            ]
            return tf.cast(tf.concat(flat, axis=1), tf.float32)

        logits = per_anchor(self._class_head(pyramid, run), self.num_classes)
        codes = per_anchor(self._box_head(pyramid, run), 4)
        return Outputs(logits, codes)

    def __call__(self, images: tf.Tensor, training: bool) -> Outputs:
        """Returns the outputs for [B, H, W, 3] float32 normalised images.

        With training=True the moving statistics are stored; a network with
        stochastic depth is trained through `forward`, which takes a seed.
        """
        run = layers.ForwardPass(training=training)
        outputs = self.forward(images, run)
        for update in run.updates:
            update.store()
        return outputs


def _coarser_levels(
    make: drawing.VariableMaker,
    config: config_lib.Config,
    channels: int,
    norm: functools.partial[layers.BatchNorm],
) -> list[bifpn.Resample]:
    """Returns what makes level 6 of the backbone's last, and so on."""
    resamples = []
    filters = config.model.fpn_num_filters
    for level in range(_BACKBONE_LEVELS + 1, config.anchors.max_level + 1):
        make.start_group()
        resamples.append(
            bifpn.Resample(make, f"resample_p{level}", channels, filters, norm)
        )
        channels = filters
    return resamples


def _make_heads(
    make: drawing.VariableMaker,
    config: config_lib.Config,
    norm: functools.partial[layers.BatchNorm],
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[heads.Head, heads.Head]:
    """Returns the class head and the box head."""
    model, levels = config.model, config.anchors
    head = functools.partial(
        heads.Head,
        make,
        filters=model.fpn_num_filters,
        repeats=model.box_class_repeats,
        levels=range(levels.min_level, levels.max_level + 1),
        survival_prob=model.survival_prob,
        norm=norm,
        activation=activation,
    )
    per_cell = anchors.anchors_per_cell(levels)
    make.start_group()
    class_head = head(
        "class",
        num_outputs=per_cell * model.num_classes,
        final_bias=-math.log((1 - _PRIOR) / _PRIOR),
    )
    make.start_group()
    return class_head, head("box", num_outputs=per_cell * 4, final_bias=0.0)
