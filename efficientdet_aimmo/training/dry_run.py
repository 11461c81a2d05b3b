"""The first steps of a run, to see whether and how fast the rest will go.

They take the images with the most objects, and nothing of them stays: neither
weights nor files.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from efficientdet_aimmo.data import crowded, pipeline
from efficientdet_aimmo.training import (
    bad_records,
    beginning,
    forecast,
    loop,
    measure,
    need,
    nonfinite,
    outlook,
    stopping,
)
from efficientdet_aimmo.training import machine as machine_lib
from efficientdet_aimmo.training import monitor as monitor_lib
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tfrecord_tools import command

NUM_STEPS = 20
NUM_EVAL_BATCHES = 4

_TrainStep = Callable[[pipeline.TrainBatch], step_lib.StepResult]


def rehearse(
    config: config_lib.Config,
    run: run_lib.Run,
    machine: machine_lib.Machine,
) -> None:
    """Takes NUM_STEPS steps from where the run would, and prints a forecast.

    Writes nothing.

    Raises:
      UserError: memory or disk does not suffice, a step is not finite, the dry
        run was asked to stop, or a worker is gone.
    """
    with loop.listening(config.runtime, run) as stop:
        found = _Rehearsal(config, run, machine, stop).look_ahead()
        # The chief leaves last, as at the end of a run.
        run.spread.any(False)
    if not run.spread.is_chief:
        return
    print(forecast.text(found), flush=True)
    if found.disk.missing:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--model_dir={run.model_dir} has"
            f" {forecast.size(found.disk.free or 0)} of room, and"
            f" {forecast.size(found.disk.missing)} are missing for the"
            " checkpoints of the run. Make room, choose a folder on another"
            " disk, or lower keep_checkpoints.",
        )


class _Rehearsal:
    """The state of a run, and what its first steps take."""

    def __init__(
        self,
        config: config_lib.Config,
        run: run_lib.Run,
        machine: machine_lib.Machine,
        stop: stopping.StopRequest,
    ) -> None:
        self._config = config
        self._run = run
        self._machine = machine
        self._stop = stop

    def look_ahead(self) -> forecast.Forecast:
        """Takes the steps and the evaluation batches.

        Raises:
          UserError: as rehearse.
        """
        config, run, machine = self._config, self._run, self._machine
        course, state, train_step = loop.make_step(config, run)
        start = loop.begin(config, run, state)
        measurer = loop.make_measurer(config, run)
        if run.spread.is_chief:
            beginning.look_at(
                run.model_dir, run.train.manifest, run.threads, state, start
            )
        disk = outlook.disk(config, run, course, state, start)
        needed = need.estimate(config, run)
        before, room = machine.resident(), machine.room()
        need.check(needed, room, config)
        try:
            phases = self._take_steps(course, state, train_step, start)
            training = (machine.gpus(), machine.peak())
            machine.forget_gpu_peaks()
            evaluations = self._evaluate(course, state, measurer, start)
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise need.exhausted(
                error, machine.gpus(), needed, room, config
            ) from error
        return forecast.Forecast(
            batch_size=course.batch_size,
            parts=run.spread.num_replicas * config.train.accumulate_steps,
            phases=phases,
            evaluations=evaluations,
            memories=outlook.memories(
                run, machine, needed, *training, before + room.free, before
            ),
            host=outlook.host(machine, needed, before),
            disk=disk,
        )

    def _leave_if_asked(self) -> None:
        if self._run.spread.any(self._stop.is_set):
            raise command.UserError(
                command.ExitCode.STOPPED,
                f"Stopped {self._stop.reason or 'with another worker'} in the"
                " dry run, which had written nothing.",
            )

    def _take_steps(
        self,
        course: schedule_lib.Course,
        state: state_lib.TrainState,
        train_step: _TrainStep,
        start: int,
    ) -> tuple[forecast.Phase, ...]:
        """Returns what the steps of each phase of the run took."""
        config, run = self._config, self._run
        crowds = crowded.find(run.train.files, NUM_STEPS * course.batch_size)
        if not crowds:
            raise command.UserError(
                command.ExitCode.DATA,
                "None of the training records can be parsed. Convert the"
                " images again.",
            )
        if run.spread.is_chief:
            print(
                f"\nDry run: {NUM_STEPS} steps from step {start} on, with the"
                f" {len(crowds)} images that have the most objects"
                f" ({crowds[0].num_boxes} to {crowds[-1].num_boxes} each)."
                " Nothing is written.\n",
                flush=True,
            )
        dataset = pipeline.batches_of(
            crowded.line(crowds),
            config,
            run.train.counts.max_boxes_per_image,
            run.spread.share_of(course.batch_size),
        )
        watch = bad_records.Watch(
            iter(run.spread.share_out(dataset)),
            config,
            run.train.counts.images,
            run.model_dir,
            state,
            _silent(course, config),
            run.spread,
            keeps_list=False,
        )
        phases = []
        for name, first, num_left in outlook.parts(
            config, course, state, start
        ):
            state.step.assign(first)
            times = [
                self._take_step(state, train_step, watch)
                for _ in range(NUM_STEPS)
            ]
            phases.append(
                forecast.Phase(
                    name=name,
                    num_left=num_left,
                    seconds=tuple(end - begin for begin, _, end in times),
                    waits=tuple(there - begin for begin, there, _ in times),
                )
            )
        return tuple(phases)

    def _take_step(
        self,
        state: state_lib.TrainState,
        train_step: _TrainStep,
        watch: bad_records.Watch,
    ) -> tuple[float, float, float]:
        """Returns when the step began, had its input, and ended."""
        self._leave_if_asked()
        clock = self._machine.clock
        begin = clock()
        batch = watch.draw()
        there = clock()
        result = loop.numbers(train_step(batch), self._config)
        end = clock()
        # A scale that begins too high is halved in the first steps.
        is_overflow = bool(result.pop("is_overflow"))
        if not result.pop("is_finite") and not is_overflow:
            self._refuse(state, result)
        return begin, there, end

    def _refuse(
        self, state: state_lib.TrainState, result: dict[str, float]
    ) -> None:
        """Skips a step that is not finite, or ends the dry run as the run."""
        terms = ", ".join(
            f"{name} {value:.6g}" for name, value in result.items()
        )
        text = (
            f"Step {int(state.step.numpy())} of the dry run gave a loss or"
            f" gradient that is not finite ({terms})"
        )
        runtime, num_skipped = self._config.runtime, int(state.skipped.numpy())
        if runtime.on_nan == "stop" or num_skipped >= runtime.max_skipped_steps:
            raise nonfinite.diverged(text, num_skipped)
        state.skip_step()
        if self._run.spread.is_chief:
            print(f"warning: {text}. Skipped.", flush=True)

    def _evaluate(
        self,
        course: schedule_lib.Course,
        state: state_lib.TrainState,
        measurer: measure.Measurer | None,
        start: int,
    ) -> forecast.Evaluations | None:
        run = self._run
        if measurer is None or run.val is None:
            return None
        self._leave_if_asked()
        seconds = measurer.time_batches(
            state, NUM_EVAL_BATCHES, self._machine.clock, self._leave_if_asked
        )
        _, measured = loop.milestones(self._config, course)
        size = self._config.eval.eval_batch_size
        return forecast.Evaluations(
            num_left=sum(step >= start for step in measured),
            num_batches=-(-run.val.counts.images // size),
            batch_size=size,
            seconds=seconds,
        )


def _silent(
    course: schedule_lib.Course, config: config_lib.Config
) -> monitor_lib.Monitor:
    """Returns a monitor that keeps nothing; warnings are printed."""
    return monitor_lib.Monitor(
        None,
        num_steps=course.num_steps,
        start_step=0,
        batch_size=course.batch_size,
        log_steps=config.runtime.log_steps,
    )
