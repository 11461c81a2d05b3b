"""Measures what scoring costs beside the inference that it follows.

    python -m benchmarks.evaluation

2,000 images with 100 detections each are scored in full, against the time that
EfficientDet-D0 takes for them at 512x512: the median of some images, NMS
included, times 2,000. The detections lie around objects, so many match. Beside
it stands pycocotools' own matching, whose results must be the same.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np
from absl import flags

from benchmarks import inference
from tfrecord_tools import command

if TYPE_CHECKING:
    from efficientdet_aimmo.evaluation import coco
    from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib

DETECTIONS = 100  # of an image
OBJECTS = 10
MOST = 0.10

FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "num_images", 2000, "images that are scored", flag_values=FLAGS
)
flags.DEFINE_integer("num_classes", 4, "classes", flag_values=FLAGS)
flags.DEFINE_integer("rounds", 3, "times all is measured", flag_values=FLAGS)
flags.DEFINE_integer(
    "num_inferences", 30, "images detected in a round", flag_values=FLAGS
)
flags.DEFINE_string(
    "json", None, "file that the figures are written to", flag_values=FLAGS
)


class Split(NamedTuple):
    """Ground truth, and detections by image id."""

    truth: ground_truth_lib.GroundTruth
    detections: dict[int, coco.ImageDetections]


def _make_split(num_images: int, num_classes: int) -> Split:
    """Returns objects with ten detections around each, most of its class."""
    from efficientdet_aimmo.evaluation import coco
    from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib

    draw = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    detections = {}
    around = np.arange(DETECTIONS) % OBJECTS
    for image in range(1, num_images + 1):
        corners = draw.uniform(0, 900, (OBJECTS, 2))
        sides = draw.uniform(10, 300, (OBJECTS, 2))
        classes = draw.integers(0, num_classes, OBJECTS)
        for (y, x), (height, width), label in zip(
            corners.tolist(), sides.tolist(), classes.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label + 1,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
        boxes = np.concatenate([corners, corners + sides], 1)[around]
        boxes += draw.normal(0, 8, (DETECTIONS, 4))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        is_right = draw.random(DETECTIONS) < 0.7
        others = draw.integers(0, num_classes, DETECTIONS)
        detections[image] = coco.ImageDetections(
            boxes.astype(np.float32),
            np.sort(draw.random(DETECTIONS, np.float32))[::-1],
            np.where(is_right, classes[around], others).astype(np.int32),
        )
    truth = ground_truth_lib.GroundTruth(
        source="made",
        class_names=tuple(f"class {i}" for i in range(num_classes)),
        file_names={image: f"{image}.jpg" for image in detections},
        annotations=tuple(annotations),
    )
    return Split(truth, detections)


def _score(split: Split) -> tuple[inference.Cost, Any]:
    from efficientdet_aimmo.evaluation import coco

    wall, cpu = time.perf_counter(), time.process_time()
    metrics = coco.evaluate(*split)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return inference.Cost(*(1e3 * value for value in spent)), metrics


def main(values: flags.FlagValues) -> None:
    """Measures, prints the figures, and writes them if asked to."""
    import tensorflow as tf
    from pycocotools import cocoeval

    tf.config.threading.set_intra_op_parallelism_threads(inference.THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(inference.THREADS)
    from efficientdet_aimmo.evaluation import matching

    split = _make_split(values.num_images, values.num_classes)
    detect = inference.make_inference(values.num_classes)
    ratios, rows = [], []
    for _ in range(values.rounds):
        found = inference.in_turn({"image": detect}, values.num_inferences)
        inferred = [
            values.num_images
            * statistics.median(cost[i] for cost in found["image"])
            for i in range(2)
        ]
        scored, metrics = _score(split)
        with mock.patch.object(matching, "Evaluation", cocoeval.COCOeval):
            plain, expected = _score(split)
        if metrics != expected:
            raise command.UserError(
                command.ExitCode.DATA,
                "pycocotools' own matching gives other figures.",
            )
        ratios.append([scored[i] / inferred[i] for i in range(2)])
        rows.append([inferred, scored, plain])
    print(f"{'seconds':28} {'clock':>8} {'processors':>10}")
    names = ("inference", "scoring", "scoring as pycocotools")
    for place, name in enumerate(names):
        wall, cpu = (
            statistics.median(row[place][i] for row in rows) / 1e3
            for i in range(2)
        )
        print(f"{name:28} {wall:8.1f} {cpu:10.1f}")
    wall, cpu = (statistics.median(r[i] for r in ratios) for i in range(2))
    print(f"{f'scoring / inference (<= {MOST})':28} {wall:8.3f} {cpu:10.3f}")
    if values.json:
        pathlib.Path(values.json).write_text(json.dumps(rows, indent=1))


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
