"""Measures inference of D0 beside its bare backbone, on one image of 512x512.

    python -m benchmarks.inference

The network alone is held against Keras' EfficientNetB0 without its classifier,
a whole image (1920x1024 bytes to boxes) against the network alone, and NMS
against a time. Everything is measured in turn, with two threads. Statistics of
batch norm come from passes over the image, so that no activation is denormal.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags

from tfrecord_tools import command

if TYPE_CHECKING:
    import tensorflow as tf

    from efficientdet_aimmo.model import detector as detector_lib

THREADS = 2
WARM_UP = 5  # runs of each
STORED = (1024, 1920, 3)
MOST_WHOLE = 1.15  # of the network alone
MOST_NMS_MS = 5.0

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "rounds", 60, "times everything is measured", flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_classes", 4, "classes of the detector", flag_values=FLAGS
)
flags.DEFINE_string(
    "json", None, "file that the figures are written to", flag_values=FLAGS
)


class Cost(NamedTuple):
    """Milliseconds: on the clock, and of all processors."""

    wall_ms: float
    cpu_ms: float


def in_turn(
    functions: dict[str, Callable[[], object]], rounds: int
) -> dict[str, list[Cost]]:
    """Returns what each function cost in every round."""
    costs: dict[str, list[Cost]] = {name: [] for name in functions}
    for count in range(-WARM_UP, rounds):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if count >= 0:
                costs[name].append(Cost(*(1e3 * value for value in spent)))
    return costs


def make_detector(num_classes: int) -> tuple[detector_lib.Detector, Any]:
    """Returns a detector whose batch norm knows an image, and its Config."""
    import tensorflow as tf

    from efficientdet_aimmo.model import detector as detector_lib
    from efficientdet_aimmo.model import layers
    from hparams import config as config_lib
    from hparams import override

    config = override.override(
        config_lib.Config(), {"num_classes": num_classes}
    )
    detector = detector_lib.Detector(config)
    images = _images(config.data.image_size)

    @tf.function(autograph=False)
    def learn() -> None:
        run = layers.ForwardPass(training=True)
        detector.forward(images, run)
        for update in run.updates:
            update.variable.assign(update.value)

    learn()
    return detector, config


def _images(size: tuple[int, int]) -> tf.Tensor:
    import tensorflow as tf

    draw = np.random.default_rng(0)
    return tf.constant(draw.normal(size=(1, *size, 3)), tf.float32)


def _make_backbone(images: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns Keras' backbone; its batch norm knows the images."""
    import tensorflow as tf

    model = tf.keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=images.shape[1:]
    )
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    return lambda x: model(x, training=False)


def _compiled(
    function: Callable[[tf.Tensor], Any], images: tf.Tensor, frozen: bool
) -> Callable[[], object]:
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    traced = tf.function(function, autograph=False).get_concrete_function(
        tf.TensorSpec(images.shape, tf.float32)
    )
    if frozen:
        traced = convert_to_constants.convert_variables_to_constants_v2(traced)
    return lambda: traced(images)


def _functions(num_classes: int) -> dict[str, Callable[[], object]]:
    """Returns what is measured, by name."""
    import tensorflow as tf

    from efficientdet_aimmo import anchors, postprocess, weights
    from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
    from efficientdet_aimmo.evaluation import prediction

    detector, config = make_detector(num_classes)
    size = config.data.image_size
    images = _images(size)
    backbone = _make_backbone(images)
    names = [str(number) for number in range(num_classes)]
    frozen = weights.frozen(detector, size)
    evaluator = evaluator_lib.Evaluator(frozen, config, names)
    stored = np.random.default_rng(0).integers(0, 256, STORED, np.uint8)
    boxes = tf.constant(anchors.anchor_boxes(config.anchors, size))
    scales, sizes = tf.constant([3.75]), tf.constant([STORED[:2]])

    @tf.function(autograph=False)
    def nms(logits: tf.Tensor, codes: tf.Tensor) -> postprocess.Detections:
        return postprocess.detect(
            logits, codes, boxes, scales, sizes, config.nms
        )

    outputs = detector(images, False)
    # What a trained detector says: all but a few anchors are background.
    confident = outputs.logits * 2.0 - 6.0
    network = tf.function(lambda x: tuple(frozen(x, False)), autograph=False)

    def ours(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tuple(detector(x, False))

    return {
        "backbone": _compiled(backbone, images, False),
        "backbone, frozen": _compiled(backbone, images, True),
        "network, variables": _compiled(ours, images, False),
        "network": lambda: network(images),
        "whole": lambda: prediction.detect(evaluator, stored, config.data),
        "NMS, every score above the threshold": lambda: nms(*outputs),
        "NMS, few scores above it": lambda: nms(confident, outputs.codes),
    }


def make_inference(num_classes: int) -> Callable[[], object]:
    """Returns a function that detects in a prepared image, as evaluation."""
    import tensorflow as tf

    from efficientdet_aimmo.evaluation import evaluator as evaluator_lib

    detector, config = make_detector(num_classes)
    evaluator = evaluator_lib.Evaluator(
        detector, config, [str(number) for number in range(num_classes)]
    )
    images = _images(config.data.image_size)
    scales, sizes = tf.constant([3.75]), tf.constant([STORED[:2]])
    return lambda: evaluator.detect(images, scales, sizes)


def _ratio(over: list[Cost], under: list[Cost]) -> tuple[float, float]:
    pairs = list(zip(over, under, strict=True))
    return (
        statistics.median(a.wall_ms / b.wall_ms for a, b in pairs),
        statistics.median(a.cpu_ms / b.cpu_ms for a, b in pairs),
    )


def main(values: flags.FlagValues) -> None:
    """Measures, prints a table, and writes the figures if asked to."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    costs = in_turn(_functions(values.num_classes), values.rounds)
    figures: dict[str, Any] = {"ms": {}, "ratios": {}}
    print(f"{'milliseconds':40} {'median':>8} {'least':>8} {'processors':>10}")
    for name, spent in costs.items():
        walls = [cost.wall_ms for cost in spent]
        row = (
            statistics.median(walls),
            min(walls),
            statistics.median(cost.cpu_ms for cost in spent),
        )
        figures["ms"][name] = row
        print(f"{name:40} {row[0]:8.1f} {row[1]:8.1f} {row[2]:10.1f}")
    print(f"NMS: at most {MOST_NMS_MS} ms\n")
    print(f"{'ratio':40} {'target':>8} {'clock':>8} {'processors':>10}")
    for over, under, target in (
        ("network, variables", "backbone", ""),
        ("network", "backbone", ""),
        ("network", "backbone, frozen", ""),
        ("network", "network, variables", ""),
        ("whole", "network", f"<= {MOST_WHOLE}"),
    ):
        wall, cpu = _ratio(costs[over], costs[under])
        name = f"{over} / {under}"
        figures["ratios"][name] = (wall, cpu)
        print(f"{name:40} {target:>8} {wall:8.2f} {cpu:10.2f}")
    if values.json:
        pathlib.Path(values.json).write_text(json.dumps(figures, indent=1))


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
