"""What a configuration does with bad records."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
import signal
import tempfile
from unittest import mock

from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import loop
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.hparams import observations, witness_records
from tfrecord_tools import command


def _damaged(
    source: source_lib.Source, folder: pathlib.Path
) -> tuple[str, ...]:
    """Copies shards, the second without its last bytes."""
    first, second = (str(shutil.copy(file, folder)) for file in source.files)
    content = pathlib.Path(second).read_bytes()
    pathlib.Path(second).write_bytes(content[:-100])
    return first, second


def bad_records(
    config: config_lib.Config, records: witness_records.Records
) -> object:
    """How a run ends whose last record is cut off: a code, or a result."""
    handler = signal.getsignal(signal.SIGTERM)
    network = witness_records.TinyNetwork
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(detector_lib, "Detector", network),
        mock.patch.object(
            step_lib, "make_train_step", observations._quick_step
        ),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        files = _damaged(records.train, pathlib.Path(name))
        try:
            loop.train(
                config,
                witness_records.run_of(
                    name, dataclasses.replace(records.train, files=files)
                ),
            )
            return json.loads(pathlib.Path(name, "result.json").read_text())
        except command.UserError as error:
            return error.exit_code
        finally:
            signal.signal(signal.SIGTERM, handler)
