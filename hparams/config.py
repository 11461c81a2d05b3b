"""What can be set: frozen, typed sections whose values are checked when made.

Every leaf name is unique over all sections, so the flat names of the official
EfficientDet work. A leaf's help, range and choices stand beside its default and
nowhere else. Sizes are (height, width).
"""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any, ClassVar


class HParamError(ValueError):
    """A hyper-parameter that is unknown, ill-typed or out of range."""


BACKBONES = tuple(
    [f"efficientnet-b{i}" for i in range(8)]
    + [f"efficientnet-lite{i}" for i in range(5)]
)


def _leaf(
    default: Any,
    text: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    limits = {
        "help": text,
        "at_least": at_least,
        "at_most": at_most,
        "above": above,
        "choices": choices,
    }
    return dataclasses.field(default=default, metadata=limits)


def type_name(hint: Any) -> str:
    """Returns how a leaf's type is called in messages."""
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if items[-1] is Ellipsis:
            return f"a list of {type_name(items[0])} values"
        return f"a list of {len(items)} {type_name(items[0])} values"
    names = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return names[hint]


def _typed(value: Any, hint: Any) -> Any:
    """Returns value in the declared type; raises TypeError if it is not one."""
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if not isinstance(value, (tuple, list)):
            raise TypeError
        if items[-1] is Ellipsis:
            items = (items[0],) * len(value)
        if len(items) != len(value):
            raise TypeError
        return tuple(_typed(v, t) for v, t in zip(value, items, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError
    return value


def _range_fault(value: Any, limits: typing.Mapping[str, Any]) -> str:
    """Returns what a value should have been, or '' if it is in range."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            return "a finite number"
        if limits["at_least"] is not None and item < limits["at_least"]:
            return f"at least {limits['at_least']}"
        if limits["at_most"] is not None and item > limits["at_most"]:
            return f"at most {limits['at_most']}"
        if limits["above"] is not None and item <= limits["above"]:
            return f"above {limits['above']}"
        if limits["choices"] is not None and item not in limits["choices"]:
            return "one of " + ", ".join(repr(c) for c in limits["choices"])
    return ""


class Section:
    """Base of all sections: checks every leaf's type and range when made."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            try:
                value = _typed(value, hints[field.name])
            except TypeError:
                raise HParamError(
                    f"Hyper-parameter {field.name!r} is {value!r}, expected"
                    f" {type_name(hints[field.name])}."
                ) from None
            fault = _range_fault(value, field.metadata)
            if fault:
                raise HParamError(
                    f"Hyper-parameter {field.name!r} is {value!r}, expected {fault}."
                )
            object.__setattr__(self, field.name, value)
        self._check()

    def _check(self) -> None:
        """Raises HParamError if leaves do not fit one another."""


def _ordered(section: Section, low: str, high: str) -> None:
    if getattr(section, low) > getattr(section, high):
        raise HParamError(
            f"Hyper-parameter {low!r} ({getattr(section, low)}) must not exceed"
            f" {high!r} ({getattr(section, high)})."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Section):
    """The network."""

    backbone_name: str = _leaf(
        "efficientnet-b0", "EfficientNet variant.", choices=BACKBONES
    )
    num_classes: int = _leaf(
        0,
        "Number of classes, background not counted; 0 takes it from the data set.",
        at_least=0,
    )
    act_type: str = _leaf(
        "swish",
        "Activation everywhere.",
        choices=("swish", "relu", "relu6", "hswish"),
    )
    fpn_num_filters: int = _leaf(64, "Channels of BiFPN and heads.", at_least=1)
    fpn_cell_repeats: int = _leaf(3, "BiFPN cells.", at_least=1)
    fpn_weight_method: str = _leaf(
        "fastattn",
        "BiFPN fusion: fast normalised weights, or a plain sum.",
        choices=("fastattn", "sum"),
    )
    box_class_repeats: int = _leaf(
        3, "Convolutions before each head's last one.", at_least=1
    )
    survival_prob: float = _leaf(
        0.0,
        "Stochastic depth of the heads' residual branches; 0: no residual branch.",
        at_least=0.0,
        at_most=1.0,
    )
    batch_norm_momentum: float = _leaf(
        0.99, "Share of the old moving statistic kept at a step.",
        at_least=0.0, at_most=1.0,
    )
    batch_norm_epsilon: float = _leaf(
        1e-3, "Added to the variance in batch norm.", above=0.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anchors(Section):
    """Anchor boxes and how objects are matched to them."""

    min_level: int = _leaf(
        3, "First feature level (stride 2^level).", at_least=3, at_most=5
    )
    max_level: int = _leaf(7, "Last feature level.", at_least=5, at_most=9)
    num_scales: int = _leaf(3, "Octave scales per level: 2^(i/num_scales).", at_least=1)
    aspect_ratios: tuple[float, ...] = _leaf(
        (1.0, 2.0, 0.5), "Width over height of the anchors.", above=0.0
    )
    anchor_scale: float = _leaf(
        4.0, "Anchor side over stride at the first octave.", above=0.0
    )
    match_iou: float = _leaf(
        0.5, "Least overlap that makes an anchor positive.", above=0.0, at_most=1.0
    )

    def _check(self) -> None:
        _ordered(self, "min_level", "max_level")
        if not self.aspect_ratios:
            raise HParamError("Hyper-parameter 'aspect_ratios' is empty.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(Section):
    """How records become network inputs."""

    image_size: tuple[int, int] = _leaf(
        (512, 512), "Network input, (height, width).", at_least=32
    )
    mean_rgb: tuple[float, float, float] = _leaf(
        (123.675, 116.28, 103.53), "Subtracted from each channel, 0 to 255."
    )
    stddev_rgb: tuple[float, float, float] = _leaf(
        (58.395, 57.12, 57.375), "Each channel is divided by this.", above=0.0
    )
    max_instances_per_image: int = _leaf(
        0,
        "Most boxes in an image; 0 takes it from the data set, another value must"
        " equal it.",
        at_least=0,
    )
    skip_crowd_during_training: bool = _leaf(
        True, "Leave crowd regions out of the targets."
    )
    shuffle_buffer: int = _leaf(
        1024, "Records held while shuffling; 1 keeps their order.", at_least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment(Section):
    """What is changed at random in training."""

    input_rand_hflip: bool = _leaf(True, "Mirror half of the images.")
    jitter_min: float = _leaf(0.1, "Least zoom of scale jitter.", above=0.0)
    jitter_max: float = _leaf(2.0, "Greatest zoom of scale jitter.", above=0.0)

    def _check(self) -> None:
        _ordered(self, "jitter_min", "jitter_max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(Section):
    """What is minimised."""

    alpha: float = _leaf(
        0.25, "Focal loss: weight of positives.", at_least=0.0, at_most=1.0
    )
    gamma: float = _leaf(1.5, "Focal loss: focusing exponent.", at_least=0.0)
    label_smoothing: float = _leaf(
        0.0, "Pulls class targets towards 0.5.", at_least=0.0, at_most=1.0
    )
    delta: float = _leaf(0.1, "Huber loss: end of the quadratic part.", above=0.0)
    box_loss_weight: float = _leaf(50.0, "Weight of the box loss.", at_least=0.0)
    weight_decay: float = _leaf(
        4e-5, "Weight of the L2 term over kernels and biases.", at_least=0.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(Section):
    """How weights move."""

    optimizer: str = _leaf("sgd", "Update rule.", choices=("sgd", "adam"))
    momentum: float = _leaf(
        0.9, "Momentum of sgd.", at_least=0.0, at_most=1.0
    )
    adam_beta_1: float = _leaf(
        0.9, "Decay of adam's first moment.", at_least=0.0, at_most=1.0
    )
    adam_beta_2: float = _leaf(
        0.999, "Decay of adam's second moment.", at_least=0.0, at_most=1.0
    )
    adam_epsilon: float = _leaf(1e-7, "Added to adam's denominator.", above=0.0)
    learning_rate: float = _leaf(
        0.08, "Rate per learning_rate_batch images.", at_least=0.0
    )
    learning_rate_batch: int = _leaf(
        64,
        "The rates are multiplied by batch / this; 0 takes them as given.",
        at_least=0,
    )
    lr_warmup_init: float = _leaf(0.008, "Rate at step 0, same rule.", at_least=0.0)
    lr_warmup_epoch: float = _leaf(1.0, "Epochs of linear warm-up.", at_least=0.0)
    lr_decay_method: str = _leaf(
        "cosine",
        "How the rate falls after warm-up.",
        choices=("cosine", "stepwise", "polynomial", "constant"),
    )
    first_lr_drop_epoch: float = _leaf(
        200.0, "stepwise: epoch of the first fall to a tenth.", at_least=0.0
    )
    second_lr_drop_epoch: float = _leaf(
        250.0, "stepwise: epoch of the second fall to a tenth.", at_least=0.0
    )
    poly_lr_power: float = _leaf(0.9, "polynomial: exponent.", above=0.0)
    clip_gradients_norm: float = _leaf(
        10.0, "Greatest global gradient norm; 0 does not clip.", at_least=0.0
    )
    moving_average_decay: float = _leaf(
        0.9998,
        "Decay of the moving average of weights and batch-norm statistics; 0: none.",
        at_least=0.0,
        at_most=1.0,
    )

    def _check(self) -> None:
        if self.lr_decay_method == "stepwise":
            _ordered(self, "first_lr_drop_epoch", "second_lr_drop_epoch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Section):
    """The course of a training run."""

    train_batch_size: int = _leaf(64, "Images per step.", at_least=1)
    num_epochs: int = _leaf(300, "Passes over the training images.", at_least=1)
    seed: int = _leaf(0, "Start of everything random.", at_least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nms(Section):
    """From network outputs to detections."""

    method: str = _leaf(
        "gaussian",
        "gaussian: soft-NMS, scores decay; hard: overlapping boxes go.",
        choices=("gaussian", "hard"),
    )
    iou_thresh: float = _leaf(
        0.5, "hard: overlap from which a box goes.", above=0.0, at_most=1.0
    )
    sigma: float = _leaf(0.5, "gaussian: width of the decay.", above=0.0)
    score_thresh: float = _leaf(
        0.001, "Detections below this score are dropped.", at_least=0.0, at_most=1.0
    )
    max_nms_inputs: int = _leaf(
        5000, "Best-scored candidates that enter NMS; 0: all.", at_least=0
    )
    max_output_size: int = _leaf(100, "Most detections per image.", at_least=1)
    per_class: bool = _leaf(
        True,
        "true: every class of an anchor is a candidate and NMS runs within a class;"
        " false: an anchor's best class only, NMS over all classes together.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(Section):
    """When and how the model is measured."""

    eval_batch_size: int = _leaf(1, "Images per evaluation step.", at_least=1)
    map_freq: int = _leaf(
        5, "Epochs between evaluations; the last epoch always has one.", at_least=1
    )
    num_pictures: int = _leaf(
        8, "Pictures of ground truth beside detections per evaluation.", at_least=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime(Section):
    """What changes how a run goes, not what it computes."""

    save_checkpoints_steps: int = _leaf(
        1000, "Steps between checkpoints; epochs' ends have one too.", at_least=1
    )
    keep_checkpoints: int = _leaf(3, "Checkpoints kept.", at_least=1)
    log_steps: int = _leaf(20, "Steps between lines of the log.", at_least=1)
    num_threads: int = _leaf(
        0, "CPU threads of one operation; 0: all cores.", at_least=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All sections. Made by get_config and override, never by hand in commands."""

    model: Model = dataclasses.field(default_factory=Model)
    anchors: Anchors = dataclasses.field(default_factory=Anchors)
    data: Data = dataclasses.field(default_factory=Data)
    augment: Augment = dataclasses.field(default_factory=Augment)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    train: Train = dataclasses.field(default_factory=Train)
    nms: Nms = dataclasses.field(default_factory=Nms)
    eval: Eval = dataclasses.field(default_factory=Eval)
    runtime: Runtime = dataclasses.field(default_factory=Runtime)

    SECTIONS: ClassVar[dict[str, type[Section]]] = {
        "model": Model,
        "anchors": Anchors,
        "data": Data,
        "augment": Augment,
        "loss": Loss,
        "optimizer": Optimizer,
        "train": Train,
        "nms": Nms,
        "eval": Eval,
        "runtime": Runtime,
    }

    def __post_init__(self) -> None:
        for name, kind in self.SECTIONS.items():
            if type(getattr(self, name)) is not kind:
                raise HParamError(
                    f"Section {name!r} is {getattr(self, name)!r}, expected"
                    f" {kind.__name__}."
                )
