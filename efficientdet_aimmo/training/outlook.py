"""What a dry run looks at, beside its steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from efficientdet_aimmo.training import forecast, loop, need
from efficientdet_aimmo.training import machine as machine_lib
from efficientdet_aimmo.training import model_dir as model_dir_lib
from efficientdet_aimmo.training import run as run_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib


class Part(NamedTuple):
    """Steps that compute the same."""

    name: str
    first: int
    num_left: int


def parts(
    config: config_lib.Config,
    course: schedule_lib.Course,
    state: state_lib.TrainState,
    start: int,
) -> Iterator[Part]:
    """Yields the phases of the run: what is frozen at first takes less."""
    thaw, end = course.steps_of(config.train.freeze_epochs), course.num_steps
    if state.frozen and start < thaw < end:
        yield Part("while frozen", start, thaw - start)
        yield Part("after the thaw", thaw, end - thaw)
    else:
        yield Part("", start, end - start)


def disk(
    config: config_lib.Config,
    run: run_lib.Run,
    course: schedule_lib.Course,
    state: state_lib.TrainState,
    start: int,
) -> forecast.Disk:
    """Returns what checkpoints will take, and what is there already."""
    model_dir = run.model_dir
    saved, _ = loop.milestones(config, course)
    one = state.num_bytes()
    taken = model_dir_lib.taken_bytes(model_dir)
    num_there = -(-taken // one)
    num_saved = sum(step > start for step in saved)
    return forecast.Disk(
        checkpoint=one,
        # The oldest goes only when the newest is whole.
        num_checkpoints=min(
            config.runtime.keep_checkpoints + 1, num_there + num_saved
        ),
        has_best=run.val is not None,
        taken=taken,
        free=model_dir_lib.free_bytes(model_dir),
    )


def memories(
    run: run_lib.Run,
    machine: machine_lib.Machine,
    needed: need.Need,
    trained: list[machine_lib.Gpu],
    host_peak: int,
    host_limit: int,
    before: int,
) -> tuple[forecast.Memory, ...]:
    """Returns the memories that images are computed in.

    Args:
      run: the run.
      machine: asked for the peaks of the evaluation batches.
      needed: what is estimated.
      trained: the GPUs after the steps.
      host_peak: of the process, after the steps.
      host_limit: what the process may have, bytes.
      before: what it had before the steps.
    """
    if needed.on_host:
        return (
            forecast.Memory(
                name=forecast.HOST,
                fixed=before + needed.gradients + need.ONCE,
                training=host_peak,
                evaluation=None,
                limit=host_limit,
                images=needed.images,
            ),
        )
    evaluated = {gpu.name: gpu.peak for gpu in machine.gpus()}
    return tuple(
        forecast.Memory(
            name=gpu.name,
            fixed=needed.fixed,
            training=gpu.peak,
            evaluation=None if run.val is None else evaluated[gpu.name],
            limit=gpu.limit,
            images=needed.images,
        )
        for gpu in trained
    )


def host(
    machine: machine_lib.Machine, needed: need.Need, before: int
) -> forecast.Host:
    """Returns the memory of the host, once the steps are done."""
    room, peak = machine.room(), machine.peak()
    given_back = peak - machine.resident()
    return forecast.Host(
        before=before,
        peak=peak,
        free=max(0, room.free - given_back),
        limited_by=room.limited_by,
        shuffle_buffer=needed.shuffle_buffer,
    )
