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
    ) -> None:
        """Begins where the state is.

        Args:
          batches: from the state's step on.
          config: of the run.
          num_images: of an epoch.
          model_dir: of the run, for the list of bad records.
          state: its count of bad images grows.
          monitor: gets a warning for each record.

        Raises:
          UserError: the list of an earlier start cannot be read.
        """
        self._batches = batches
        self._runtime = config.runtime
        self._batch_size = config.train.train_batch_size
        self._num_images = num_images
        self._state = state
        self._monitor = monitor
        self._path = os.path.join(model_dir, FILE)
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
            self.note([text.decode() for text in batch.bad.numpy() if text])
        except tf.errors.OpError as error:
            self._monitor.close()
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
        if not places:
            return
        for file, number in map(rows.place_of, places):
            self._meet(file, number)
        if len(places) == self._batch_size:
            raise _data_error(
                f"All {len(places)} images of step {int(self._state.step)} are"
                f" bad records ({', '.join(places)}): there is no image to put"
                f" in their place. {_INTACT} Convert the images again."
            )
        self._state.bad_draws.assign_add(len(places))
        drawn = (int(self._state.step) + 1) * self._batch_size
        _check_share(
            int(self._state.bad_draws),
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
        return {
            "bad_draws": int(self._state.bad_draws),
            "bad_records": len(self._known),
        }


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
