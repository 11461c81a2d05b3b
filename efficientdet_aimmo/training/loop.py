"""A whole run, top to bottom."""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.training import (
    bad_records,
    beginning,
    keeping,
    loss_scale,
    measure,
    stopping,
)
from efficientdet_aimmo.training import monitor as monitor_lib
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from hparams import serialize


def train(config: config_lib.Config, run: run_lib.Run) -> None:
    """Trains to the last epoch, from the newest checkpoint if there is one.

    Writes checkpoints, TensorBoard's events, eval/<step>.json and at the end
    result.json to run.model_dir.

    Raises:
      UserError: the run diverged, was asked to stop, a worker is gone, or the
        disk is full.
    """
    with listening(config.runtime, run) as stop:
        _train(config, run, stop)


@contextlib.contextmanager
def listening(
    runtime: config_lib.Runtime, run: run_lib.Run
) -> Iterator[stopping.StopRequest]:
    """Listens for requests to stop, and for the loss of other workers.

    Raises:
      UserError: another worker is gone.
    """
    host = stopping.notice_host(runtime, run.environment, "/")
    request = stopping.StopRequest(host, functools.partial(print, flush=True))
    with contextlib.closing(request) as stop:
        try:
            yield stop
        except replicas.LOST as error:
            if not run.spread.has_lost(error):
                raise
            raise replicas.lost_peer(error) from error


def _train(
    config: config_lib.Config, run: run_lib.Run, stop: stopping.StopRequest
) -> None:
    # What is trained, on what, and how long.
    course, state, train_step = make_step(config, run)

    # Go on where the last run ended, or begin.
    start = begin(config, run, state)
    if run.spread.is_chief:
        beginning.claim(
            run.model_dir, config, run.train.manifest, run.threads, state, start
        )
    measurer = make_measurer(config, run)
    monitor = monitor_lib.Monitor(
        run.model_dir if run.spread.is_chief else None,
        num_steps=course.num_steps,
        start_step=start,
        batch_size=course.batch_size,
        log_steps=config.runtime.log_steps,
    )
    watch = _open_batches(config, run, state, start, monitor)
    save_steps, eval_steps = milestones(config, course)
    scaling = loss_scale.Reporter(state.loss_scale, monitor.write)

    def leave_if_asked() -> None:
        if run.spread.any(stop.is_set):
            monitor.close()
            raise stop.error(int(state.step.numpy()))

    # Step by step. A step's checkpoint comes before its evaluation, so that a
    # run killed in the evaluation does it again and loses nothing.
    for step in range(start, course.num_steps + 1):
        if measurer is not None and step in eval_steps:
            keeping.measure_and_keep(
                run, state, step, measurer, monitor, leave_if_asked
            )
        if step == course.num_steps:
            break
        if run.spread.any(stop.is_set):
            keeping.save(config, run, state, step)
            monitor.close()
            raise stop.error(step)
        monitor.begin_step()
        batch = watch.draw()
        result = numbers(train_step(batch), config)
        is_overflow = scaling.note(step, result)
        if not result.pop("is_finite") and not is_overflow:
            keeping.refuse(config, run, state, batch, course, monitor)
        monitor.end_step(step + 1, result)
        if step + 1 in save_steps:
            keeping.save(config, run, state, step + 1)

    monitor.close()
    keeping.write_result(run, state, measurer, watch)
    # The chief writes last: whoever leaves before it would look lost to it.
    run.spread.any(False)


def make_step(
    config: config_lib.Config, run: run_lib.Run
) -> tuple[
    schedule_lib.Course,
    state_lib.TrainState,
    Callable[[pipeline.TrainBatch], step_lib.StepResult],
]:
    """Returns the run's length, its state, and what takes a step on it."""
    course = schedule_lib.Course(
        run.train.counts.images,
        config.train.train_batch_size,
        config.train.num_epochs,
    )
    schedule = schedule_lib.Schedule(config.optimizer, course)
    with run.spread.strategy.scope():
        state = beginning.make_state(config, course)
    anchors = tf.constant(
        anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    )
    train_step = step_lib.make_train_step(state, anchors, schedule, config)
    return course, state, train_step


def begin(
    config: config_lib.Config, run: run_lib.Run, state: state_lib.TrainState
) -> int:
    """Returns the steps done in this folder, which are in the state then.

    Raises:
      UserError: what is there does not fit, or the workers differ.
    """
    start = beginning.resume(
        state, run.model_dir, run.warm_start, run.train.classes, run.threads
    )
    if run.spread.num_workers > 1:
        run.spread.check_same(
            {
                "configuration": _digest(serialize.to_json(config)),
                "records": _digest(run.train.manifest.identity),
                "the steps done in --model_dir": start,
                "the weights they begin with": state.checksum(),
            }
        )
    return start


def _digest(text: str) -> int:
    return zlib.crc32(text.encode()) & 0x7FFFFFFF


def make_measurer(
    config: config_lib.Config, run: run_lib.Run
) -> measure.Measurer | None:
    """Returns what measures, None where nothing is."""
    if run.val is None or run.ground_truth is None:
        return None
    return measure.Measurer(
        config, run.val, run.ground_truth, run.model_dir, run.spread
    )


def _open_batches(
    config: config_lib.Config,
    run: run_lib.Run,
    state: state_lib.TrainState,
    start: int,
    monitor: monitor_lib.Monitor,
) -> bad_records.Watch:
    """Returns what draws the batches of the steps from start on."""
    share = run.spread.share_of(config.train.train_batch_size)
    dataset = run.batches(config, start, share)
    return bad_records.Watch(
        iter(run.spread.share_out(dataset)),
        config,
        run.train.counts.images,
        run.model_dir,
        state,
        monitor,
        run.spread,
        keeps_list=True,
    )


def numbers(
    result: step_lib.StepResult, config: config_lib.Config
) -> dict[str, float]:
    """Returns what a step reports, by name."""
    found = {name: float(value) for name, value in result._asdict().items()}
    if config.loss.iou_loss_type == "none":
        del found["iou_loss"]  # no curve of zeros
    if config.train.precision != "float16":
        del found["loss_scale"]
    return found


def milestones(
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
