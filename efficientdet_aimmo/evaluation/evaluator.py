"""Runs a detector over a data set and measures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import postprocess
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import coco
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.model import detector as detector_lib
from hparams import config as config_lib
from tfrecord_tools import command

_NAMED = 5  # image ids that a message lists


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one pass over a split found.

    detections: of every image of the split, by image id.
    alarms: a sentence for each class that has objects and finds none.
    """

    metrics: metrics_lib.Metrics
    alarms: tuple[str, ...]
    detections: dict[int, coco.ImageDetections]


class Evaluator:
    """A detector with its post-processing, compiled once.

    The detector's variables are read at every call, so one evaluator serves a
    whole training run. Made in the scope of a strategy it takes a batch for
    each of its replicas, and gives all workers all detections.
    """

    def __init__(
        self,
        detector: Callable[[tf.Tensor, bool], detector_lib.Outputs],
        config: config_lib.Config,
        class_names: Sequence[str],
    ) -> None:
        """Prepares the detector's function; it is traced at the first batch.

        Args:
          detector: (images, training) -> Outputs.
          config: anchors, input size and nms of the detector.
          class_names: class 0 first.
        """
        self._class_names = tuple(class_names)
        self._strategy = tf.distribute.get_strategy()
        anchors = anchors_lib.anchor_boxes(
            config.anchors, config.data.image_size
        )

        def detect(
            images: tf.Tensor, scales: tf.Tensor, sizes: tf.Tensor
        ) -> postprocess.Detections:
            outputs = detector(images, False)
            return postprocess.detect(
                outputs.logits,
                outputs.codes,
                tf.constant(anchors),
                scales,
                sizes,
                config.nms,
            )

        def marks(ids: tf.Tensor, is_real: tf.Tensor) -> list[tf.Tensor]:
            return [ids, tf.cast(is_real, tf.int64)]

        self._detect = self._shared(detect)
        self._marks = self._shared(marks)

    def _shared(
        self, function: Callable[..., Sequence[tf.Tensor]]
    ) -> Callable[..., list[np.ndarray]]:
        """Returns what a function gives for the rows of all replicas."""
        strategy = self._strategy

        @tf.function(autograph=False)
        def on_all(*batch: tf.Tensor) -> list[tf.Tensor]:
            found = strategy.run(
                lambda *rows: replicas.to_all(function(*rows)), args=batch
            )
            return [
                strategy.experimental_local_results(part)[0] for part in found
            ]

        return lambda *batch: [part.numpy() for part in on_all(*batch)]

    def detect(
        self, images: tf.Tensor, scales: tf.Tensor, sizes: tf.Tensor
    ) -> list[coco.ImageDetections]:
        """Returns the detections of each image of a batch.

        Args:
          images: [B, H, W, 3] float32, normalised and padded.
          scales: [B] float32, pixels as stored per pixel of the input.
          sizes: [B, 2] int32 (height, width) as stored.
        """
        boxes, scores, classes, counts = self._detect(images, scales, sizes)
        return [
            coco.ImageDetections(boxes[i, :n], scores[i, :n], classes[i, :n])
            for i, n in enumerate(counts)
        ]

    def run(
        self,
        dataset: Iterable[pipeline.EvalBatch],
        ground_truth: ground_truth_lib.GroundTruth,
        progress: Callable[[int, int], None],
    ) -> Evaluation:
        """Returns the accuracy over a split, each image seen exactly once.

        The detections are complete before the ground truth's boxes are read.

        Args:
          dataset: the split's batches, in turn for this worker's replicas.
          ground_truth: the split's objects.
          progress: called after each batch with the images done and the total.

        Raises:
          UserError: the classes, or the images of records and ground truth,
            are not the same.
        """
        check_classes(self._class_names, ground_truth)
        total = len(ground_truth.file_names)
        detections: dict[int, coco.ImageDetections] = {}
        num_seen = 0
        for batch in dataset:
            found = self.detect(batch.images, batch.scales, batch.sizes)
            ids, is_real = self._marks(batch.image_ids, batch.is_real)
            for row in np.flatnonzero(is_real):
                detections[int(ids[row])] = found[row]
            num_seen += int(is_real.sum())
            progress(num_seen, total)
        _check_images(detections.keys(), num_seen, ground_truth)
        metrics = coco.evaluate(ground_truth, detections)
        alarms = tuple(metrics_lib.alarms(metrics))
        return Evaluation(metrics, alarms, detections)


def check_classes(
    class_names: Sequence[str], ground_truth: ground_truth_lib.GroundTruth
) -> None:
    """Raises UserError if detector and ground truth have other classes."""
    if tuple(class_names) != ground_truth.class_names:
        raise command.UserError(
            command.ExitCode.DATA,
            f"The detector's classes are {', '.join(class_names)}; those of"
            f" {ground_truth.source} are {', '.join(ground_truth.class_names)}."
            " Names and order must be the same. Evaluate on the data set that"
            " the detector was trained on, or convert with the same --classes.",
        )


def _check_images(
    seen: Collection[int],
    num_seen: int,
    ground_truth: ground_truth_lib.GroundTruth,
) -> None:
    expected = ground_truth.file_names.keys()
    unknown = sorted(set(seen) - expected)
    missing = sorted(expected - set(seen))
    if not unknown and not missing and num_seen == len(expected):
        return
    faults = []
    if missing:
        faults.append(f"missing from the records: {_some(missing)}")
    if unknown:
        faults.append(f"only in the records: {_some(unknown)}")
    if num_seen > len(seen):
        faults.append(f"{num_seen - len(seen)} records repeat an image id")
    raise command.UserError(
        command.ExitCode.DATA,
        f"The records hold {num_seen} images, {ground_truth.source} holds"
        f" {len(expected)}, and they are not the same ({'; '.join(faults)})."
        " Give the records and the COCO JSON of one split of one conversion.",
    )


def _some(image_ids: list[int]) -> str:
    rest = len(image_ids) - _NAMED
    named = ", ".join(str(number) for number in image_ids[:_NAMED])
    ids = f"image ids {named}" if len(image_ids) > 1 else f"image id {named}"
    return f"{ids} and {rest} more" if rest > 0 else ids
