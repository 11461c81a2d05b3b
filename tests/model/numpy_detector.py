"""D0 and lite0 in inference, in NumPy: an answer for any size of input.

Written from the papers (Tan and Le 2019; Tan, Pang and Le 2020) and from what
TensorFlow documents of 'SAME' padding and of nearest-neighbour resizing.
Weights come by their official names.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

_HALVING = (1, 3, 5, 11)  # blocks of B0 that halve the sides
_LEVEL_ENDS = (4, 10, 15)  # last blocks before levels 4, 5 and of level 5
_EPSILON = 1e-3
# Figure 2d of the second paper: level of a node, and what it fuses. 0 to 4 are
# the inputs of levels 3 to 7, 5 to 12 the nodes.
_NODES = (
    (3, (3, 4)),
    (2, (2, 5)),
    (1, (1, 6)),
    (0, (0, 7)),
    (1, (1, 7, 8)),
    (2, (2, 6, 9)),
    (3, (3, 5, 10)),
    (4, (4, 11)),
)


def _pad(x: np.ndarray, kernel: int, stride: int, fill: float) -> np.ndarray:
    """Returns x with room for ceil(side / stride) steps, more at the end."""
    widths = [(0, 0)]
    for side in x.shape[1:3]:
        steps = math.ceil(side / stride)
        total = max((steps - 1) * stride + kernel - side, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, [*widths, (0, 0)], constant_values=fill)


def _shifted(x: np.ndarray, kernel: int, stride: int) -> list[np.ndarray]:
    """Returns what each kernel position sees, [B, h, w, C] each."""
    height = (x.shape[1] - kernel) // stride + 1
    width = (x.shape[2] - kernel) // stride + 1
    return [
        x[:, i : i + height * stride : stride, j : j + width * stride : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]


def _pool(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Returns the maxima of 3x3 around every second pixel."""
    assert tuple(size) == tuple(math.ceil(side / 2) for side in x.shape[1:3])
    return np.max(_shifted(_pad(x, 3, 2, -np.inf), 3, 2), axis=0)


def _enlarge(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Returns x at size, each pixel from place floor(i * before / after)."""
    rows, columns = (
        [i * before // after for i in range(after)]
        for before, after in zip(x.shape[1:3], size, strict=True)
    )
    return x[:, rows][:, :, columns]


def _relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0.0, 6.0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _swish(x: np.ndarray) -> np.ndarray:
    return x * _sigmoid(x)


@dataclasses.dataclass(frozen=True)
class Features:
    """Features by level, and the heads' outputs per anchor."""

    backbone: list[np.ndarray]
    pyramid: list[np.ndarray]
    logits: np.ndarray  # [B, A, K]
    codes: np.ndarray  # [B, A, 4]


class Network:
    """D0 or lite0 with given weights.

    Args:
      weights: values by official name, without ':0'.
      is_lite: relu6, sums and no squeeze-and-excite.
      num_classes: background not counted.
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        is_lite: bool,
        num_classes: int,
    ) -> None:
        self._weights = weights
        self._is_lite = is_lite
        self._num_classes = num_classes
        self._act = _relu6 if is_lite else _swish

    def __call__(self, images: np.ndarray) -> Features:
        """Returns everything about images [B, H, W, 3]."""
        levels = self._backbone(images)
        coarser = self._norm(
            self._conv(levels[-1], "resample_p6/conv2d"), "resample_p6/bn"
        )
        for _ in range(2):
            halves = [math.ceil(s / 2) for s in levels[-1].shape[1:3]]
            coarser = _pool(coarser, halves)
            levels.append(coarser)
        pyramid = levels
        for i in range(3):
            pyramid = self._cell(pyramid, f"fpn_cells/cell_{i}")
        return Features(
            levels,
            pyramid,
            self._head(pyramid, "class", self._num_classes),
            self._head(pyramid, "box", 4),
        )

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = (
            self._weights[f"{name}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        return x * scale + (beta - mean * scale)

    def _conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        kernel = self._weights[f"{name}/kernel"]
        side = kernel.shape[0]
        seen = _shifted(_pad(x, side, stride, 0.0), side, stride)
        flat = kernel.reshape(side * side, *kernel.shape[2:])
        total = sum(s @ k for s, k in zip(seen, flat, strict=True))
        return np.asarray(total + self._weights.get(f"{name}/bias", 0.0))

    def _depthwise(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        kernel = self._weights[f"{name}/depthwise_kernel"]
        side = kernel.shape[0]
        seen = _shifted(_pad(x, side, stride, 0.0), side, stride)
        flat = kernel.reshape(side * side, -1)
        return np.asarray(sum(s * k for s, k in zip(seen, flat, strict=True)))

    def _separable(self, x: np.ndarray, name: str) -> np.ndarray:
        kernel = self._weights[f"{name}/pointwise_kernel"][0, 0]
        return (
            self._depthwise(x, name, 1) @ kernel + self._weights[f"{name}/bias"]
        )

    def _backbone(self, images: np.ndarray) -> list[np.ndarray]:
        root = "efficientnet-lite0" if self._is_lite else "efficientnet-b0"
        x = self._conv(images, f"{root}/stem/conv2d", 2)
        x = self._act(self._norm(x, f"{root}/stem/tpu_batch_normalization"))
        levels = []
        for number in range(16):
            x = self._block(
                x, f"{root}/blocks_{number}", 2 if number in _HALVING else 1
            )
            if number in _LEVEL_ENDS:
                levels.append(x)
        return levels

    def _block(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        """Expand, depthwise, squeeze and excite, project, add the input."""
        before = x
        convs = iter(("conv2d", "conv2d_1"))
        norms = iter(
            f"{name}/tpu_batch_normalization{end}" for end in ("", "_1", "_2")
        )
        if f"{name}/conv2d_1/kernel" in self._weights:
            x = self._conv(x, f"{name}/{next(convs)}")
            x = self._act(self._norm(x, next(norms)))
        x = self._depthwise(x, f"{name}/depthwise_conv2d", stride)
        x = self._act(self._norm(x, next(norms)))
        if not self._is_lite:
            gate = x.mean(axis=(1, 2), keepdims=True)
            gate = self._act(self._conv(gate, f"{name}/se/conv2d"))
            x = x * _sigmoid(self._conv(gate, f"{name}/se/conv2d_1"))
        x = self._norm(self._conv(x, f"{name}/{next(convs)}"), next(norms))
        return x + before if stride == 1 and x.shape == before.shape else x

    def _cell(self, levels: list[np.ndarray], name: str) -> list[np.ndarray]:
        known, newest = list(levels), dict(enumerate(levels))
        for number, (level, inputs) in enumerate(_NODES):
            node = f"{name}/fnode{number}"
            size = levels[level].shape[1:3]
            parts = [
                self._resample(
                    known[i], size, f"{node}/resample_{at}_{i}_{len(known)}"
                )
                for at, i in enumerate(inputs)
            ]
            fused = self._act(self._fuse(parts, node))
            combine = f"{node}/op_after_combine{len(known)}"
            fused = self._separable(fused, f"{combine}/conv")
            newest[level] = self._norm(fused, f"{combine}/bn")
            known.append(newest[level])
        return [newest[level] for level in range(5)]

    def _fuse(self, parts: list[np.ndarray], node: str) -> np.ndarray:
        if self._is_lite:
            return np.sum(parts, axis=0)
        names = [f"{node}/WSM", f"{node}/WSM_1", f"{node}/WSM_2"]
        edges = [max(float(self._weights[n]), 0.0) for n in names[: len(parts)]]
        weighted = sum(e * p for e, p in zip(edges, parts, strict=True))
        return np.asarray(weighted / (sum(edges) + 1e-4))

    def _resample(
        self, x: np.ndarray, size: Sequence[int], name: str
    ) -> np.ndarray:
        if f"{name}/conv2d/kernel" in self._weights:
            x = self._norm(self._conv(x, f"{name}/conv2d"), f"{name}/bn")
        if x.shape[1] > size[0] or x.shape[2] > size[1]:
            return _pool(x, size)
        return _enlarge(x, size)

    def _head(
        self, levels: list[np.ndarray], kind: str, depth: int
    ) -> np.ndarray:
        net, outputs = f"{kind}_net/{kind}", []
        for number, x in enumerate(levels, start=3):
            for i in range(3):
                y = self._separable(x, f"{net}-{i}")
                x = self._act(self._norm(y, f"{net}-{i}-bn-{number}"))
            y = self._separable(x, f"{net}-predict")
            outputs.append(y.reshape(len(y), -1, depth))
        return np.concatenate(outputs, axis=1)
