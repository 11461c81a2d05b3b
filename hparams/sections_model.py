"""Sections that say what is trained: network, anchors, input, loss.

A leaf's help, range and choices stand beside its default and nowhere else.
Sizes are (height, width).
"""

from __future__ import annotations

import dataclasses

from hparams import leaf

BACKBONES = tuple(
    [f"efficientnet-b{i}" for i in range(8)]
    + [f"efficientnet-lite{i}" for i in range(5)]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(leaf.Section):
    """The network."""

    backbone_name: str = leaf.leaf(
        "efficientnet-b0", "EfficientNet variant.", choices=BACKBONES
    )
    num_classes: int = leaf.leaf(
        0,
        "Number of classes, background not counted; 0 takes it from the data"
        " set.",
        at_least=0,
    )
    act_type: str = leaf.leaf(
        "swish",
        "Activation everywhere.",
        choices=("swish", "relu", "relu6", "hswish"),
    )
    fpn_num_filters: int = leaf.leaf(
        64, "Channels of BiFPN and heads.", at_least=1
    )
    fpn_cell_repeats: int = leaf.leaf(3, "BiFPN cells.", at_least=1)
    fpn_weight_method: str = leaf.leaf(
        "fastattn",
        "BiFPN fusion: fast normalised weights, or a plain sum.",
        choices=("fastattn", "sum"),
    )
    box_class_repeats: int = leaf.leaf(
        3, "Convolutions before each head's last one.", at_least=1
    )
    survival_prob: float = leaf.leaf(
        0.0,
        "Stochastic depth of the heads' residual branches; 0: no residual"
        " branch.",
        at_least=0.0,
        at_most=1.0,
    )
    batch_norm_momentum: float = leaf.leaf(
        0.99,
        "Share of the old moving statistic kept at a step.",
        at_least=0.0,
        at_most=1.0,
    )
    batch_norm_epsilon: float = leaf.leaf(
        1e-3, "Added to the variance in batch norm.", above=0.0
    )
    sync_batch_norm_below: int = leaf.leaf(
        16,
        "Images of a replica at once below which batch norm takes its"
        " statistics over all replicas; 0: each takes its own.",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anchors(leaf.Section):
    """Anchor boxes and how objects are matched to them."""

    min_level: int = leaf.leaf(
        3, "First feature level (stride 2^level).", at_least=3, at_most=5
    )
    max_level: int = leaf.leaf(7, "Last feature level.", at_least=5, at_most=9)
    num_scales: int = leaf.leaf(
        3, "Octave scales per level: 2^(i/num_scales).", at_least=1
    )
    aspect_ratios: tuple[float | tuple[float, float], ...] = leaf.leaf(
        (1.0, 2.0, 0.5),
        "Shapes of the anchors: width over height at equal area, or a pair of"
        " factors on the side, [width, height].",
        above=0.0,
    )
    anchor_scale: float | tuple[float, ...] = leaf.leaf(
        4.0,
        "Anchor side over stride at the first octave; a list has one for each"
        " level.",
        above=0.0,
    )
    match_iou: float = leaf.leaf(
        0.5,
        "Least overlap that makes an anchor positive.",
        above=0.0,
        at_most=1.0,
    )

    def _check(self) -> None:
        leaf.check_order(self, "min_level", "max_level")
        if not self.aspect_ratios:
            raise leaf.HParamError("Hyper-parameter 'aspect_ratios' is empty.")
        levels = self.max_level - self.min_level + 1
        scales = self.anchor_scale
        if isinstance(scales, tuple) and len(scales) != levels:
            raise leaf.HParamError(
                f"Hyper-parameter 'anchor_scale' has {len(scales)} numbers,"
                f" expected one number for all levels, or {levels}: one for"
                f" each of the levels {self.min_level} to {self.max_level}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(leaf.Section):
    """How records become network inputs."""

    image_size: tuple[int, int] = leaf.leaf(
        (512, 512), "Network input, (height, width).", at_least=32
    )
    mean_rgb: tuple[float, float, float] = leaf.leaf(
        (123.675, 116.28, 103.53), "Subtracted from each channel, 0 to 255."
    )
    stddev_rgb: tuple[float, float, float] = leaf.leaf(
        (58.395, 57.12, 57.375), "Each channel is divided by this.", above=0.0
    )
    max_instances_per_image: int = leaf.leaf(
        0,
        "Most boxes in an image; 0 takes it from the data set, another value"
        " must equal it.",
        at_least=0,
    )
    skip_crowd_during_training: bool = leaf.leaf(
        True, "Leave crowd regions and difficult objects out of the targets."
    )
    shuffle_buffer: int = leaf.leaf(
        1024, "Records held while shuffling; 1 keeps their order.", at_least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment(leaf.Section):
    """What is changed at random in training."""

    input_rand_hflip: bool = leaf.leaf(True, "Mirror half of the images.")
    jitter_min: float = leaf.leaf(0.1, "Least zoom of scale jitter.", above=0.0)
    jitter_max: float = leaf.leaf(
        2.0, "Greatest zoom of scale jitter.", above=0.0
    )
    colour_jitter: float = leaf.leaf(
        0.0,
        "Saturation, brightness and sharpness change by up to this share.",
        at_least=0.0,
        at_most=0.99,
    )

    def _check(self) -> None:
        leaf.check_order(self, "jitter_min", "jitter_max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(leaf.Section):
    """What is minimised."""

    alpha: float = leaf.leaf(
        0.25, "Focal loss: weight of positives.", at_least=0.0, at_most=1.0
    )
    gamma: float = leaf.leaf(
        1.5, "Focal loss: focusing exponent.", at_least=0.0
    )
    label_smoothing: float = leaf.leaf(
        0.0, "Pulls class targets towards 0.5.", at_least=0.0, at_most=1.0
    )
    delta: float = leaf.leaf(
        0.1, "Huber loss: end of the quadratic part.", above=0.0
    )
    box_loss_weight: float = leaf.leaf(
        50.0, "Weight of the box loss.", at_least=0.0
    )
    iou_loss_type: str = leaf.leaf(
        "none",
        "Loss on the overlap of boxes, beside the Huber loss.",
        choices=("none", "iou", "giou", "diou", "ciou"),
    )
    iou_loss_weight: float = leaf.leaf(
        1.0, "Weight of the overlap loss.", at_least=0.0
    )
    weight_decay: float = leaf.leaf(
        4e-5, "Weight of the L2 term over kernels.", at_least=0.0
    )
