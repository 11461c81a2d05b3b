"""A whole run, top to bottom."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import types

import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.pretrained import warm_start as warm_start_lib
from efficientdet_aimmo.training import (
    beginning,
    best,
    lock,
    measure,
    nonfinite,
)
from efficientdet_aimmo.training import monitor as monitor_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tfrecord_tools import command

RESULT_NAME = "result.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run works on, beside its configuration.

    Attributes:
      model_dir: where it writes; the caller holds its lock.
      train: the training records, checked.
      val: the validation records, checked; None trains without measuring.
      ground_truth: of the validation records.
      warm_start: weights to begin with; None begins from the seed.
      threads: CPU threads and oneDNN setting.
    """

    model_dir: str
    train: source_lib.Source
    val: source_lib.Source | None
    ground_truth: ground_truth_lib.GroundTruth | None
    warm_start: warm_start_lib.WarmStart | None
    threads: str


class _StopRequest:
    """Remembers that the system asked the run to stop."""

    def __init__(self) -> None:
        self.is_set = False
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, _signal: int, _frame: types.FrameType | None) -> None:
        self.is_set = True


def train(config: config_lib.Config, run: Run) -> None:
    """Trains to the last epoch, from the newest checkpoint if there is one.

    Writes checkpoints, TensorBoard's events, eval/<step>.json and at the end
    result.json to run.model_dir.

    Raises:
      UserError: the run diverged, was asked to stop, or the disk is full.
    """
    # What is trained, on what, and how long.
    stop = _StopRequest()
    counts = run.train.counts
    course = schedule_lib.Course(
        counts.images, config.train.train_batch_size, config.train.num_epochs
    )
    schedule = schedule_lib.Schedule(config.optimizer, course)
    state = beginning.make_state(config, course)
    anchors = tf.constant(
        anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    )
    train_step = step_lib.make_train_step(state, anchors, schedule, config)

    # Go on where the last run ended, or begin.
    start = _begin(config, run, state)
    measurer = _make_measurer(config, run)
    monitor = monitor_lib.Monitor(
        run.model_dir,
        num_steps=course.num_steps,
        start_step=start,
        batch_size=course.batch_size,
        log_steps=config.runtime.log_steps,
    )
    batches = iter(
        pipeline.build_train_dataset(
            run.train.files,
            config,
            num_images=counts.images,
            max_boxes=counts.max_boxes_per_image,
            start_step=start,
        )
    )
    save_steps, eval_steps = _milestones(config, course)

    # Step by step. A step's checkpoint comes before its evaluation, so that a
    # run killed in the evaluation does it again and loses nothing.
    for step in range(start, course.num_steps + 1):
        if measurer is not None and step in eval_steps:
            _measure(run.model_dir, state, step, measurer, monitor)
        if step == course.num_steps:
            break
        if stop.is_set:
            monitor.close()
            _save(config, run, state, step)
            raise _stopped(step)
        monitor.begin_step()
        batch = next(batches)
        result = _numbers(train_step(batch), config.loss)
        if not result.pop("is_finite"):
            _refuse(config, run, state, batch, course, monitor)
        monitor.end_step(step + 1, result)
        if step + 1 in save_steps:
            _save(config, run, state, step + 1)

    monitor.close()
    _write_result(run.model_dir, state, measurer)


def _begin(
    config: config_lib.Config, run: Run, state: state_lib.TrainState
) -> int:
    """Returns the steps done in this folder, which is the run's from now on."""
    threads, manifest = run.threads, run.train.manifest
    start = beginning.resume(
        state, run.model_dir, run.warm_start, run.train.classes, threads
    )
    beginning.claim(run.model_dir, config, manifest, threads, state, start)
    return start


def _make_measurer(
    config: config_lib.Config, run: Run
) -> measure.Measurer | None:
    if run.val is None or run.ground_truth is None:
        return None
    return measure.Measurer(config, run.val, run.ground_truth, run.model_dir)


def _numbers(
    result: step_lib.StepResult, loss: config_lib.Loss
) -> dict[str, float]:
    numbers = {name: float(value) for name, value in result._asdict().items()}
    if loss.iou_loss_type == "none":
        del numbers["iou_loss"]  # no curve of zeros
    return numbers


def _milestones(
    config: config_lib.Config, course: schedule_lib.Course
) -> tuple[set[int], set[int]]:
    """Returns the steps after which to save, and to measure."""
    ends = {
        epoch: course.end_of_epoch(epoch)
        for epoch in range(1, course.num_epochs + 1)
    }
    every = config.runtime.save_checkpoints_steps
    saved = set(range(every, course.num_steps, every))
    measured = {
        step
        for epoch, step in ends.items()
        if epoch % config.eval.map_freq == 0 or epoch == course.num_epochs
    }
    return saved | measured, measured


def _save(
    config: config_lib.Config, run: Run, state: state_lib.TrainState, step: int
) -> None:
    lock.check(run.model_dir)
    try:
        checkpoint.save(
            run.model_dir,
            step,
            state.variables(),
            checkpoint.Meta(
                config,
                run.train.classes,
                run.train.manifest.identity,
                run.threads,
            ),
            config.runtime.keep_checkpoints,
        )
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"The checkpoint of step {step} cannot be written ({error}). The"
            " last whole one is intact: make room and give the same command.",
        ) from error


def _measure(
    model_dir: str,
    state: state_lib.TrainState,
    step: int,
    measurer: measure.Measurer,
    monitor: monitor_lib.Monitor,
) -> None:
    """Measures, and keeps the checkpoint apart if it is the best so far."""
    measurer.measure(state, step, monitor)
    ap = None if measurer.last is None else measurer.last.metrics.ap
    try:
        is_best = best.keep(model_dir, step, ap)
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"The best checkpoint cannot be kept in {model_dir}/{best.FOLDER}"
            f" ({error}). Make room and give the same command.",
        ) from error
    if is_best:
        monitor.write(f"The best AP so far, kept in {model_dir}/{best.FOLDER}.")


def _stopped(step: int) -> command.UserError:
    return command.UserError(
        command.ExitCode.STOPPED,
        f"Stopped on request after step {step}, which is saved. The same"
        " command goes on.",
    )


def _refuse(
    config: config_lib.Config,
    run: Run,
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    course: schedule_lib.Course,
    monitor: monitor_lib.Monitor,
) -> None:
    """Keeps a step that is not finite, and skips it or ends the run.

    Raises:
      UserError: the run ends.
    """
    thaw_step = course.steps_of(config.train.freeze_epochs)
    folder = nonfinite.folder_of(run.model_dir, int(state.step))
    found = nonfinite.keep(
        run.model_dir, config, state, batch, run.train.classes, thaw_step
    )
    num_skipped, most = int(state.skipped), config.runtime.max_skipped_steps
    if config.runtime.on_nan == "stop" or num_skipped >= most:
        monitor.close()
        raise nonfinite.diverged(found, folder, num_skipped)
    state.skip_step()
    line = f"Skipped, {num_skipped + 1} of at most {most}"
    monitor.write(f"warning: {nonfinite.describe(found, folder)}. {line}.")


def _write_result(
    model_dir: str,
    state: state_lib.TrainState,
    measurer: measure.Measurer | None,
) -> None:
    last = None if measurer is None else measurer.last
    kept = best.find(model_dir)
    content = {
        "step": int(state.step),
        "skipped_steps": int(state.skipped),
        "best_step": None if kept is None else kept.step,
        "metrics": None if last is None else dataclasses.asdict(last.metrics),
        "alarms": [] if last is None else list(last.alarms),
    }
    report.write_whole(
        os.path.join(model_dir, RESULT_NAME),
        json.dumps(content, indent=1) + "\n",
    )
