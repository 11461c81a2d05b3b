"""Class and box heads: convolutions shared by levels, norms that are not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_aimmo.model import drawing, layers, normed, recompute


class Head(tf.Module):
    """Predicts num_outputs values at every cell of every level."""

    def __init__(
        self,
        make: drawing.VariableMaker,
        name: str,
        *,
        filters: int,
        repeats: int,
        levels: Sequence[int],
        num_outputs: int,
        final_bias: float,
        survival_prob: float,
        norm: functools.partial[layers.BatchNorm],
        activation: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__()
        self._name = name
        self._activation = activation
        self._survival_prob = survival_prob
        net = f"{name}_net/{name}"
        conv = functools.partial(
            layers.SeparableConv2D, make, draw=drawing.lecun
        )
        self._convs = [
            conv(
                name=f"{net}-{i}",
                channels_in=filters,
                channels_out=filters,
                bias=0.0,
            )
            for i in range(repeats)
        ]
        self._norms = [
            [norm(make, f"{net}-{i}-bn-{level}", filters) for level in levels]
            for i in range(repeats)
        ]
        self._predict = conv(
            name=f"{net}-predict",
            channels_in=filters,
            channels_out=num_outputs,
            bias=final_bias,
        )

    def __call__(
        self, features: Sequence[tf.Tensor], run: layers.ForwardPass
    ) -> list[tf.Tensor]:
        """Returns [B, h, w, num_outputs] of every level."""
        return [
            recompute.segment(
                functools.partial(self._at_level, place), feature, run
            )
            for place, feature in enumerate(features)
        ]

    def _at_level(
        self, place: int, feature: tf.Tensor, run: layers.ForwardPass
    ) -> tf.Tensor:
        x = feature
        for i, (conv, norms) in enumerate(
            zip(self._convs, self._norms, strict=True)
        ):
            y = normed.activated(norms[place], conv(x), run, self._activation)
            if i > 0 and self._survival_prob > 0.0:
                name = f"{self._name}-{i}-{place}"
                y = x + run.drop_branch(y, self._survival_prob, name)
            x = y
        return self._predict(x)
