"""How a run begins: with new weights, with others', or where it ended."""

from __future__ import annotations

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.pretrained import warm_start as warm_start_lib
from efficientdet_aimmo.training import freezing, provenance
from efficientdet_aimmo.training import model_dir as model_dir_lib
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib
from tfrecord_tools import command, schema


def make_state(
    config: config_lib.Config, course: schedule_lib.Course
) -> state_lib.TrainState:
    """Returns the state, and says what of it is frozen."""
    state = state_lib.TrainState(config)
    if state.frozen:
        thaw_step = course.steps_of(config.train.freeze_epochs)
        variables = state.detector.all_variables
        line = freezing.describe(state.frozen, variables, thaw_step)
        print(line, flush=True)
    return state


def resume(
    state: state_lib.TrainState,
    model_dir: str,
    warm_start: warm_start_lib.WarmStart | None,
    class_names: tuple[str, ...],
    threads: str,
) -> int:
    """Restores the newest whole checkpoint; returns the steps done.

    Args:
      state: as the seed made it.
      model_dir: of the run.
      warm_start: weights to begin with where there is no checkpoint.
      class_names: of the records, class 0 first.
      threads: CPU threads and oneDNN setting, on which equal bits depend.

    Raises:
      UserError: the checkpoint or the weights do not fit.
    """
    newest, faults = checkpoint.latest(model_dir)
    if newest is None and faults:
        raise command.UserError(
            command.ExitCode.DATA,
            f"None of the {len(faults)} checkpoints in --model_dir={model_dir}"
            f" is whole. {' '.join(faults)} Choose another folder, or remove"
            " them to begin again.",
        )
    for fault in faults:
        print(f"warning: {fault} The one before is used.", flush=True)
    if newest is None:
        if warm_start is not None:
            report = warm_start.load(state.detector.all_variables, class_names)
            state.restart_average()
            print(report.text(), flush=True)
        return 0
    try:
        state.assign(newest.values_for(state.variables()))
    except checkpoint.CheckpointError as error:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"{error} It is imported, or of another version. Choose another"
            f" --model_dir, with --ckpt={model_dir} to begin with its"
            " weights.",
        ) from error
    if newest.meta.threads != threads:
        print(
            f"warning: {newest.path} was computed with {newest.meta.threads},"
            f" this run has {threads}: its bits will differ from a run that"
            " was not interrupted.",
            flush=True,
        )
    print(f"Going on after step {newest.step} ({newest.path}).", flush=True)
    return newest.step


def claim(
    model_dir: str,
    config: config_lib.Config,
    manifest: schema.Manifest,
    threads: str,
    state: state_lib.TrainState,
    start: int,
) -> None:
    """Makes the folder this run's, if there is room in it.

    Args:
      model_dir: of the run; the caller holds its lock.
      config: of the run.
      manifest: of the records.
      threads: CPU threads and oneDNN setting.
      state: what a checkpoint will hold.
      start: steps done.

    Raises:
      UserError: the disk is short or cannot be written.
    """
    model_dir_lib.remove_leftovers(model_dir)
    model_dir_lib.check_space(model_dir, state.num_bytes())
    model_dir_lib.save_config(model_dir, config, manifest)
    count = state.strategy.num_replicas_in_sync
    with_what = provenance.describe(start, threads, manifest, count)
    _say(provenance.write(model_dir, with_what))


def look_at(
    model_dir: str,
    manifest: schema.Manifest,
    threads: str,
    state: state_lib.TrainState,
    start: int,
) -> None:
    """Checks and says what claim does, and leaves the folder as it is.

    Args:
      model_dir: of the run; it need not be there.
      manifest: of the records.
      threads: CPU threads and oneDNN setting.
      state: what a checkpoint would hold.
      start: steps done.

    Raises:
      UserError: the disk is short.
    """
    model_dir_lib.check_space(model_dir, state.num_bytes())
    count = state.strategy.num_replicas_in_sync
    with_what = provenance.describe(start, threads, manifest, count)
    _say(provenance.changes(model_dir, with_what))


def _say(changes: list[str]) -> None:
    for change in changes:
        print(f"Changed since the last start: {change}", flush=True)
