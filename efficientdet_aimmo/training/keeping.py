"""What a run leaves: checkpoints, the best of them, refused steps, the result.

Every worker calls these at the same steps; the chief alone writes.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import (
    bad_records,
    best,
    lock,
    measure,
    nonfinite,
)
from efficientdet_aimmo.training import monitor as monitor_lib
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib
from tfrecord_tools import command

RESULT_NAME = "result.json"


def save(
    config: config_lib.Config,
    run: run_lib.Run,
    state: state_lib.TrainState,
    step: int,
) -> None:
    """Saves a checkpoint.

    Raises:
      UserError: the disk is full.
    """
    if not run.spread.is_chief:
        return
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


def measure_and_keep(
    run: run_lib.Run,
    state: state_lib.TrainState,
    step: int,
    measurer: measure.Measurer,
    monitor: monitor_lib.Monitor,
    leave_if_asked: Callable[[], None],
) -> None:
    """Measures, and keeps the checkpoint apart if it is the best so far.

    Args:
      run: the run.
      state: what is measured.
      step: steps done.
      measurer: measures.
      monitor: shows the figures.
      leave_if_asked: raises if the run is to stop.

    Raises:
      UserError: the run was asked to stop, or the disk is full.
    """
    leave_if_asked()  # the first batch may take a minute to compile
    measurer.measure(state, step, monitor, leave_if_asked)
    if not run.spread.is_chief:
        return
    ap = None if measurer.last is None else measurer.last.metrics.ap
    folder = f"{run.model_dir}/{best.FOLDER}"
    try:
        is_best = best.keep(run.model_dir, step, ap)
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"The best checkpoint cannot be kept in {folder}"
            f" ({error}). Make room and give the same command.",
        ) from error
    if is_best:
        monitor.write(f"The best AP so far, kept in {folder}.")


def refuse(
    config: config_lib.Config,
    run: run_lib.Run,
    state: state_lib.TrainState,
    batch: pipeline.TrainBatch,
    course: schedule_lib.Course,
    monitor: monitor_lib.Monitor,
) -> None:
    """Keeps a step that is not finite, and skips it or ends the run.

    Args:
      config: the run's configuration.
      run: the run.
      state: as it was before the step, which left it so.
      batch: the step's, or one for each replica.
      course: the run's length.
      monitor: gets a warning.

    Raises:
      UserError: the run ends.
    """
    step = int(state.step.numpy())
    folder = nonfinite.folder_of(run.model_dir, step)
    num_skipped, most = (
        int(state.skipped.numpy()),
        config.runtime.max_skipped_steps,
    )
    text = f"Step {step} gave a loss or gradient that is not finite"
    if run.spread.is_chief:
        if run.spread.num_replicas > 1:
            # That of all replicas follows from the step.
            batch = next(iter(run.batches(config, step)))
        found = nonfinite.keep(
            run.model_dir,
            config,
            state,
            batch,
            run.train.classes,
            course.steps_of(config.train.freeze_epochs),
        )
        text = nonfinite.describe(found, folder)
    if config.runtime.on_nan == "stop" or num_skipped >= most:
        monitor.close()
        raise nonfinite.diverged(text, num_skipped)
    state.skip_step()
    line = f"Skipped, {num_skipped + 1} of at most {most}"
    monitor.write(f"warning: {text}. {line}.")


def write_result(
    run: run_lib.Run,
    state: state_lib.TrainState,
    measurer: measure.Measurer | None,
    watch: bad_records.Watch,
) -> None:
    """Writes result.json, whole or not at all."""
    if not run.spread.is_chief:
        return
    last = None if measurer is None else measurer.last
    kept = best.find(run.model_dir)
    content = {
        "step": int(state.step.numpy()),
        "skipped_steps": int(state.skipped.numpy()),
        "overflowed_steps": (
            0
            if state.loss_scale is None
            else int(state.loss_scale.overflowed.numpy())
        ),
        **watch.counts(),
        "best_step": None if kept is None else kept.step,
        "metrics": None if last is None else dataclasses.asdict(last.metrics),
        "alarms": [] if last is None else list(last.alarms),
    }
    report.write_whole(
        os.path.join(run.model_dir, RESULT_NAME),
        json.dumps(content, indent=1) + "\n",
    )
