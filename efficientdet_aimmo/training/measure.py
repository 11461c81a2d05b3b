"""Evaluations in the course of a run."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import pictures
from efficientdet_aimmo.data import decode, exam, pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import progress, report
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import monitor as monitor_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib


class Measurer:
    """Measures the moving average with a detector of its own.

    The detector in training is not touched, so an evaluation, finished or
    not, leaves no trace in the run.

    Attributes:
      last: the report of the newest evaluation, None before the first.
    """

    def __init__(
        self,
        config: config_lib.Config,
        val: source_lib.Source,
        ground_truth: ground_truth_lib.GroundTruth,
        model_dir: str,
        spread: replicas.Distribution,
    ) -> None:
        self._config = config
        self._spread = spread
        self._val = val
        self._ground_truth = ground_truth
        self._folder = os.path.join(model_dir, report.FOLDER)
        with spread.strategy.scope():
            self._detector = detector_lib.Detector(config)
            self._evaluator = evaluator_lib.Evaluator(
                self._detector, config, val.classes
            )
        # Once: a data set's functions are graphs, and those of each evaluation
        # would stay until Python looks for what is unreachable.
        size = config.eval.eval_batch_size
        self._dataset = pipeline.build_eval_dataset(
            val.files, config, size, spread.share_of(size)
        )
        self._batches = spread.share_out(self._dataset)
        self._records = pipeline.read_records(val.files, len(val.files)).take(
            config.eval.num_pictures
        )
        self.last: report.Report | None = None

    def time_batches(
        self,
        state: state_lib.TrainState,
        num_batches: int,
        clock: Callable[[], float],
        after_batch: Callable[[], None],
    ) -> tuple[float, ...]:
        """Detects in a few batches, over again where there are no more.

        Args:
          state: what is measured.
          num_batches: how many.
          clock: returns a time in seconds.
          after_batch: as in measure.

        Returns:
          The seconds of each; the first traces and compiles.
        """
        state.copy_weights_to(self._detector)
        batches = exam.whole(
            self._spread.share_out(self._dataset.repeat()),
            self._val.files,
            self._spread.has_lost,
        )
        seconds = []
        for _ in range(num_batches):
            start = clock()
            batch = next(batches)
            self._evaluator.detect(batch.images, batch.scales, batch.sizes)
            seconds.append(clock() - start)
            after_batch()
        return tuple(seconds)

    def measure(
        self,
        state: state_lib.TrainState,
        step: int,
        monitor: monitor_lib.Monitor,
        after_batch: Callable[[], None],
    ) -> None:
        """Evaluates the state after `step` steps; the chief reports.

        The replicas of all workers share the images.

        Args:
          state: what is measured.
          step: steps done.
          monitor: shows the figures.
          after_batch: called after each batch; what it raises ends the
            evaluation without a trace.
        """
        state.copy_weights_to(self._detector)
        shown = progress.Progress("evaluating")

        def after(done: int, total: int) -> None:
            if self._spread.is_chief:
                shown(done, total)
            after_batch()

        found = self._evaluator.run(
            exam.whole(self._batches, self._val.files, self._spread.has_lost),
            self._ground_truth,
            after,
        )
        self.last = report.Report(
            step=step,
            ground_truth=os.path.basename(self._ground_truth.source),
            metrics=found.metrics,
            alarms=found.alarms,
        )
        if not self._spread.is_chief:
            return
        monitor.write(report.text(self.last))
        report.write(self.last, self._folder)
        monitor.show_evaluation(step, found.metrics, self._pictures(found))

    def _pictures(
        self, found: evaluator_lib.Evaluation
    ) -> list[tuple[str, np.ndarray]]:
        """Returns ground truth beside detections of the first images."""
        threshold = found.metrics.overall.threshold
        if threshold is None:  # nothing was found: show the best there is
            threshold = self._config.nms.score_thresh
        objects = self._ground_truth.objects()
        drawn = []
        for record in self._records:
            encoded, source_id = pipeline.parse_image(record)
            image_id = int(tf.strings.to_number(source_id, tf.int64))
            picture = pictures.draw_comparison(
                decode.decode_image(encoded).numpy(),
                objects[image_id],
                found.detections[image_id],
                self._val.classes,
                threshold,
            )
            drawn.append((str(image_id), np.asarray(picture)))
        return drawn
