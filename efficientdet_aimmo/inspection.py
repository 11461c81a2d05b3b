"""What a network holds, computes and needs, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import NamedTuple

from efficientdet_aimmo import anchors, memory, precision
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import profile
from hparams import config as config_lib

_MIB = 1 << 20


class Level(NamedTuple):
    """A feature level; sizes and strides are (height, width)."""

    level: int
    feature_size: tuple[int, int]
    stride: tuple[float, float]  # pixels of the network input
    num_anchors: int


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What there is to say of a network.

    Attributes:
      model_name: the preset it began as.
      config: its configuration.
      classes_from: where the number of classes comes from, for the reader.
      parameters: by part.
      multiply_adds: by part, for one image.
      levels: finest first.
      memory: an estimate.
    """

    model_name: str
    config: config_lib.Config
    classes_from: str
    parameters: dict[str, profile.Parameters]
    multiply_adds: dict[str, float]
    levels: list[Level]
    memory: memory.Estimate

    @property
    def num_anchors(self) -> int:
        """The anchors of all levels."""
        return sum(level.num_anchors for level in self.levels)


def inspect(
    model_name: str, config: config_lib.Config, classes_from: str
) -> Inspection:
    """Makes the network and returns what there is to say of it.

    Args:
      model_name: the preset it began as.
      config: its configuration.
      classes_from: where the number of classes comes from, for the reader.
    """
    config, _ = precision.resolve(config, None, precision.capabilities())
    detector = detector_lib.Detector(config)
    graph = profile.trace_inference(detector, config.data.image_size)
    return Inspection(
        model_name,
        config,
        classes_from,
        profile.count_parameters(detector),
        profile.count_multiply_adds(detector, graph),
        levels_of(config),
        memory.estimate(detector, config, graph),
    )


def levels_of(config: config_lib.Config) -> list[Level]:
    """Returns the feature levels of a network."""
    height, width = config.data.image_size
    first, last = config.anchors.min_level, config.anchors.max_level
    per_cell = anchors.anchors_per_cell(config.anchors)
    sizes = anchors.feature_sizes((height, width), last)
    return [
        Level(level, (h, w), (height / h, width / w), h * w * per_cell)
        for level, (h, w) in enumerate(sizes[first:], start=first)
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns lines with the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _by_part(found: Inspection) -> list[str]:
    rows = [["", "parameters", "trainable", "moving", "multiply-adds"]]
    counts = [
        (part, *found.parameters[part], found.multiply_adds[part])
        for part in profile.PARTS
    ]
    totals = [sum(column) for column in list(zip(*counts, strict=True))[1:]]
    for part, trainable, moving, products in [*counts, ("total", *totals)]:
        rows.append(
            [
                part,
                f"{trainable + moving:,}",
                f"{trainable:,}",
                f"{moving:,}",
                f"{products / 1e9:,.3f} G",
            ]
        )
    return [
        *_table(rows),
        "BiFPN: with the resampling layers. Moving: batch norm's means and"
        " variances.",
        "Multiply-adds: of one image, counted like the published figures, which"
        " take in",
        "half the additions, products, means and poolings outside the"
        " convolutions.",
    ]


def _size(size: tuple[float, float]) -> str:
    """Returns 'WIDTHxHEIGHT' of (height, width)."""
    return f"{size[1]:.5g}x{size[0]:.5g}"


def _by_level(found: Inspection) -> list[str]:
    rows = [["level", "feature", "stride", "anchors"]]
    rows += [
        [
            f"P{level.level}",
            _size(level.feature_size),
            _size(level.stride),
            f"{level.num_anchors:,}",
        ]
        for level in found.levels
    ]
    rows.append(["all", "", "", f"{found.num_anchors:,}"])
    num_classes = found.config.model.num_classes
    return [
        *_table(rows),
        f"Outputs for B images, float32: logits [B, {found.num_anchors},"
        f" {num_classes}], codes [B, {found.num_anchors}, 4].",
    ]


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / _MIB:,.1f} MiB"


def _memory(found: Inspection) -> list[str]:
    estimate, config = found.memory, found.config
    train_batch = config.train.train_batch_size
    eval_batch = config.eval.eval_batch_size
    optimizer = config.optimizer.optimizer
    recomputed = ", recomputed" if config.runtime.grad_checkpoint else ""
    rows = [
        ("weights", estimate.weights),
        ("gradients", estimate.gradients),
        (f"optimizer ({optimizer})", estimate.optimizer_slots),
        ("moving average", estimate.moving_average),
        (
            f"training, activations per image{recomputed}",
            estimate.training_per_image,
        ),
        (
            "  of these kept for the backward pass",
            estimate.kept_per_image,
        ),
        ("inference, activations per image", estimate.inference_per_image),
        (
            f"training, {train_batch} images a step",
            estimate.training(train_batch),
        ),
        (
            f"inference, {eval_batch} images at once",
            estimate.inference(eval_batch),
        ),
    ]
    return [
        *_table([("memory, estimated", ""), *((n, _mib(b)) for n, b in rows)]),
        "Estimated from the graph, float32; no work space of the device's"
        " libraries, nothing",
        "of TensorFlow itself, no input pipeline, no post-processing. A"
        " training step of D0",
        "on a CPU took a fifth more for an image, and 500 MiB once.",
    ]


def text(found: Inspection) -> str:
    """Returns the report to be read."""
    config = found.config
    head = (
        f"{found.model_name}, input {_size(config.data.image_size)} pixels"
        f" (sizes are WIDTHxHEIGHT), {config.model.num_classes} classes"
        f" ({found.classes_from})"
    )
    parts = [[head], _by_part(found), _by_level(found), _memory(found)]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _named(size: tuple[float, float]) -> dict[str, float]:
    return {"height": size[0], "width": size[1]}


def to_json(found: Inspection) -> str:
    """Returns the report for programs; memory is in bytes."""
    config = found.config
    train_batch = config.train.train_batch_size
    eval_batch = config.eval.eval_batch_size
    content = {
        "model_name": found.model_name,
        "image_size": _named(config.data.image_size),
        "num_classes": config.model.num_classes,
        "num_classes_from": found.classes_from,
        "parameters": {
            part: count._asdict() for part, count in found.parameters.items()
        },
        "total_parameters": sum(map(sum, found.parameters.values())),
        "multiply_adds": found.multiply_adds,
        "total_multiply_adds": sum(found.multiply_adds.values()),
        "levels": [
            {
                "level": level.level,
                "feature_size": _named(level.feature_size),
                "stride": _named(level.stride),
                "num_anchors": level.num_anchors,
            }
            for level in found.levels
        ],
        "output_shapes": {
            "logits": [None, found.num_anchors, config.model.num_classes],
            "codes": [None, found.num_anchors, 4],
        },
        "estimated_bytes": {
            **found.memory._asdict(),
            "training": found.memory.training(train_batch),
            "inference": found.memory.inference(eval_batch),
        },
        "grad_checkpoint": config.runtime.grad_checkpoint,
        "train_batch_size": train_batch,
        "eval_batch_size": eval_batch,
    }
    return json.dumps(content, indent=1)
