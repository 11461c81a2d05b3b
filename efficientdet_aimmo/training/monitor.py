"""What a run shows while it goes on: a progress line and TensorBoard."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import events

FOLDER = "train"  # in the model_dir: events of training


class Monitor:
    """Progress of the training loop.

    On a terminal one line that is drawn anew; elsewhere a plain line every
    log_steps steps. TensorBoard gets a point every log_steps steps.

    What gives TensorBoard something raises UserError where the disk is full.
    """

    def __init__(
        self,
        model_dir: str | None,
        *,
        num_steps: int,
        start_step: int,
        batch_size: int,
        log_steps: int,
    ) -> None:
        self._num_steps = num_steps
        self._batch_size = batch_size
        self._log_steps = log_steps
        """Begins to show a run.

        Args:
          model_dir: the run's folder; None shows nothing and writes nothing.
          num_steps: steps of the run.
          start_step: those done.
          batch_size: images of a step.
          log_steps: steps between two lines.
        """
        self._is_silent = model_dir is None
        train, evaluated = (
            None if model_dir is None else os.path.join(model_dir, name)
            for name in (FOLDER, report.FOLDER)
        )
        self._train = events.Events(train)
        self._eval = events.Events(evaluated)
        self._seconds = 0.0  # since the last point, evaluations left out
        self._waited = 0.0  # of these, for input
        self._count = 0  # steps since the last point
        self._started = time.perf_counter()
        self._bar: tqdm.tqdm | None = None
        if sys.stderr.isatty() and not self._is_silent:
            self._bar = tqdm.tqdm(
                total=num_steps,
                initial=start_step,
                desc="training",
                unit="step",
                bar_format="{desc} {n_fmt}/{total_fmt} |{bar:20}| {postfix}",
            )

    def begin_step(self) -> None:
        """Starts the clock of a step, its wait for input included."""
        self._started = time.perf_counter()

    def end_wait(self) -> None:
        """Marks that the step has its input."""
        self._waited += time.perf_counter() - self._started

    def end_step(self, step: int, scalars: Mapping[str, float]) -> None:
        """Takes what step number `step` (from 1) reported."""
        self._seconds += time.perf_counter() - self._started
        self._count += 1
        if self._bar is not None:
            self._bar.update()
        if step % self._log_steps and step != self._num_steps:
            return
        rate = self._count * self._batch_size / self._seconds
        left = (self._num_steps - step) * self._batch_size / rate
        share = self._waited / self._seconds
        line = (
            f"loss {scalars['total_loss']:.4f}, {rate:.1f} images/s,"
            f" {share:.0%} waiting for input, {duration(left)} left"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(line)
        elif not self._is_silent:
            print(f"step {step}/{self._num_steps}: {line}", flush=True)
        with self._train.at(step):
            for name, value in scalars.items():
                self._train.scalar(name, value)
            self._train.scalar("images_per_second", rate)
            self._train.scalar("input_wait_share", share)
        self._seconds = self._waited = 0.0
        self._count = 0

    def show_evaluation(
        self,
        step: int,
        metrics: metrics_lib.Metrics,
        pictures: Sequence[tuple[str, np.ndarray]],
    ) -> None:
        """Gives TensorBoard an evaluation's figures and pictures.

        Args:
          step: steps done.
          metrics: the accuracy.
          pictures: names and [h, w, 3] uint8 images.
        """
        overall = {
            "AP": metrics.ap,
            "AP50": metrics.ap50,
            "AP75": metrics.ap75,
            "F1": metrics.overall.f1,
        }
        per_class = {
            f"{figure}_per_class/{item.name}": value
            for item in metrics.classes
            for figure, value in (("AP", item.ap), ("AP50", item.ap50))
        }
        with self._eval.at(step):
            for name, value in {**overall, **per_class}.items():
                if value is not None:
                    self._eval.scalar(name, value)
            for name, picture in pictures:
                self._eval.image(f"pictures/{name}", picture)

    def write(self, text: str) -> None:
        """Prints text without breaking the progress line."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
            sys.stdout.flush()
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Ends the progress line and flushes TensorBoard's files."""
        if self._bar is not None:
            self._bar.close()
        self._train.close()
        self._eval.close()


def duration(seconds: float) -> str:
    """Returns seconds as 1 h 05 min, 5 min 03 s or 3 s."""
    whole = math.ceil(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole} s"
