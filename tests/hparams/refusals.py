"""What a configuration does with steps that are not finite."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import signal
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

import tensorflow as tf

from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import loop
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.hparams import witness_records
from tfrecord_tools import command


def _refused_step(_: state_lib.TrainState, *__: object) -> Callable[..., Any]:
    def step(_: pipeline.TrainBatch) -> step_lib.StepResult:
        terms = {name: tf.constant(0.0) for name in step_lib.StepResult._fields}
        return step_lib.StepResult(**terms)

    return step


def refusals(
    config: config_lib.Config, records: witness_records.Records
) -> object:
    """How a run ends that has no finite step, and the steps it kept."""
    handler = signal.getsignal(signal.SIGTERM)
    network = witness_records.TinyNetwork
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(detector_lib, "Detector", network),
        mock.patch.object(step_lib, "make_train_step", _refused_step),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        folder = pathlib.Path(name)
        try:
            loop.train(
                config,
                witness_records.run_of(name, records.train),
            )
            end = json.loads((folder / "result.json").read_text())
        except command.UserError as error:
            end = error.exit_code
        finally:
            signal.signal(signal.SIGTERM, handler)
        return end, sorted(p.name for p in (folder / "nan").iterdir())
