"""Bad records in the course of a run: named, counted, and how many too many.

What is bad is found where it is used, see data.rows. Here it is looked at once
more, a record once, and the run ends or goes on. How often one was drawn is
part of the state; which they are is kept in MODEL_DIR/bad_records.json.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from efficientdet_aimmo.data import exam, pipeline, rows, shard_scan
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import monitor as monitor_lib
from efficientdet_aimmo.training import state as state_lib
from hparams import config as config_lib
from tfrecord_tools import command

FILE = "bad_records.json"
_INTACT = "The last checkpoint is intact."


def _data_error(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, message)


def open_source(
    pattern: str, flag: str, runtime: config_lib.Runtime
) -> source_lib.Source:
    """Returns the training records; shards may be cut off if that is skipped.

    Raises:
      UserError: as source.open_source.
    """
    if runtime.bad_records == "skip":
        return source_lib.find_source(pattern, flag)
    return source_lib.open_source(pattern, flag)


def check_records(
    source: source_lib.Source, runtime: config_lib.Runtime
) -> None:
    """Checks the training records; warns of those that will be skipped.

    Raises:
      UserError: as source.check_records, or too many records are bad.
    """
    if runtime.bad_records == "fail":
        source_lib.check_records(source)
        return
    num_bad = 0
    for fault in source_lib.faults(source):
        num_bad += fault.num_records
        lost = f"{fault.num_records} skipped" if fault.num_records else "used"
        print(f"warning: {fault.text}: {lost}.", flush=True)
    _check_share(num_bad, source.counts.images, "records", runtime)


def _check_share(
    num_bad: int, total: int, things: str, runtime: config_lib.Runtime
) -> None:
    """Raises UserError if too many are bad."""
    most = runtime.bad_records_max_share
    if num_bad <= most * total:
        return
    raise _data_error(
        f"{num_bad} of {total} {things} are bad, {num_bad / total:.2%};"
        f" bad_records_max_share allows {most:.2%}. Checkpoints are intact."
        " Convert the images again, or allow more."
    )


class Watch:
    """Draws the batches of a run and sees to the bad records in them."""

    def __init__(
        self,
        batches: Iterator[pipeline.TrainBatch],
        config: config_lib.Config,
        num_images: int,
        model_dir: str,
        state: state_lib.TrainState,
        monitor: monitor_lib.Monitor,
        spread: replicas.Distribution,
        *,
        keeps_list: bool,
    ) -> None:
        """Begins where the state is.

        Args:
          batches: from the state's step on.
          config: of the run.
          num_images: of an epoch.
          model_dir: of the run, for the list of bad records.
          state: its count of bad images grows.
          monitor: gets a warning for each record.
          spread: the devices; a worker names the records of its own rows.
          keeps_list: whether the list is written when a record is new.

        Raises:
          UserError: the list of an earlier start cannot be read.
        """
        self._batches = batches
        self._runtime = config.runtime
        self._batch_size = config.train.train_batch_size
        self._spread = spread
        self._num_images = num_images
        self._state = state
        self._monitor = monitor
        self._keeps_list = keeps_list
        self._path = os.path.join(model_dir, _file_of(spread.worker))
        self._examiner = exam.Examiner()
        self._known = {
            (bad.shard, bad.record): bad for bad in _load(self._path)
        }

    def draw(self) -> pipeline.TrainBatch:
        """Returns the next batch.

        Raises:
          UserError: a bad record, or too many; nothing is to be saved then.
        """
        try:
            batch = next(self._batches)
            self._monitor.end_wait()
            own = self._spread.strategy.experimental_local_results(batch.bad)
            self.note([t.decode() for part in own for t in part.numpy() if t])
        except tf.errors.OpError as error:
            self._monitor.close()
            if self._spread.has_lost(error):
                raise
            raise _data_error(
                f"The training records cannot be read"
                f" ({shard_scan.reason(error)}). {_INTACT} The same command"
                " goes on."
            ) from error
        except command.UserError:
            self._monitor.close()
            raise
        return batch

    def note(self, places: list[str]) -> None:
        """Counts and names the bad records of a step.

        Args:
          places: the texts in TrainBatch.bad that are not empty.

        Raises:
          UserError: as draw.
        """
        for file, number in map(rows.place_of, places):
            self._meet(file, number)
        num_bad = len(places)
        if self._runtime.bad_records == "skip":
            num_bad = sum(self._spread.gather_numbers(num_bad))
        if num_bad == 0:
            return
        share = self._spread.share_of(self._batch_size)
        if len(places) == share.num_rows:
            step = int(self._state.step.numpy())
            raise _data_error(
                f"All {len(places)} images of step {step} are"
                f" bad records ({', '.join(places)}): there is no image to put"
                f" in their place. {_INTACT} Convert the images again."
            )
        self._state.bad_draws.assign_add(num_bad)
        drawn = (int(self._state.step.numpy()) + 1) * self._batch_size
        _check_share(
            int(self._state.bad_draws.numpy()),
            max(drawn, self._num_images),
            "images drawn",
            self._runtime,
        )

    def _meet(self, file: str, number: int) -> None:
        """Names a bad record that was not met before.

        Raises:
          UserError: it ends the run.
        """
        bad = self._known.get((os.path.basename(file), number))
        is_known = bad is not None
        if bad is None:
            bad = self._examiner.examine(file, number)
        if bad is None:
            raise _data_error(
                f"{file}, record {number} could not be used when it was drawn,"
                " but is whole now: disk, network or memory is not reliable."
                f" {_INTACT} The same command goes on."
            )
        if self._runtime.bad_records == "fail":
            raise _data_error(
                f"{str(bad)[0].upper()}{str(bad)[1:]}. {_INTACT} Convert the"
                " images again, or give --bad_records=skip to go on without"
                " such records."
            )
        if not is_known:
            self._known[bad.shard, bad.record] = bad
            self._monitor.write(f"warning: {bad}: skipped.")
            if self._keeps_list:
                self._save()

    def _save(self) -> None:
        content = [dataclasses.asdict(bad) for bad in self._known.values()]
        try:
            report.write_whole(self._path, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise command.UserError(
                command.ExitCode.DISK,
                f"{self._path} cannot be written ({error}). Make room and give"
                " the same command.",
            ) from error

    def counts(self) -> dict[str, int]:
        """Returns what result.json says: images drawn and distinct records."""
        known = set(self._known)
        folder = os.path.dirname(self._path)
        for worker in range(1, self._spread.num_workers):
            path = os.path.join(folder, _file_of(worker))
            known |= {(bad.shard, bad.record) for bad in _load(path)}
        return {
            "bad_draws": int(self._state.bad_draws.numpy()),
            "bad_records": len(known),
        }


def _file_of(worker: int) -> str:
    return f"bad_records-{worker}.json" if worker else FILE


def _load(path: str) -> list[exam.BadRecord]:
    """Returns the bad records that earlier starts of a run have met."""
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return [exam.BadRecord(**item) for item in json.load(file)]
    except (OSError, ValueError, TypeError) as error:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"{path} cannot be read ({type(error).__name__}: {error}). Remove"
            " it: what it lists is found again.",
        ) from error
