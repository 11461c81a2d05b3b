"""The training command with batches, steps and measurements stood in for.

What is left is all that a run reads and writes in its model_dir.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import pathlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import train
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import coco, evaluator
from efficientdet_aimmo.evaluation import metrics as metrics_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import lock
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.training import tiny
from tfrecord_tools import command, storage

# 32 images in batches of 8: checkpoints after steps 2, 4, 6, 8, evaluations
# after 4 and 8.
_PAIRS = dict(pair.split("=") for pair in tiny.TINY.split(","))
_PAIRS |= {
    "train_batch_size": "8",
    "num_epochs": "2",
    "map_freq": "1",
    "log_steps": "1",
    "save_checkpoints_steps": "2",
    "keep_checkpoints": "2",
    "num_pictures": "1",
    "moving_average_decay": "0",
    "num_classes": "0",
}
SETTINGS = ",".join(f"{name}={value}" for name, value in _PAIRS.items())
OVERALL = metrics_lib.Counts(
    threshold=0.5,
    true_positives=0,
    false_positives=0,
    false_negatives=1,
    precision=0.0,
    recall=0.0,
    f1=0.0,
)
NOTHING = coco.ImageDetections(
    boxes=np.zeros([0, 4], np.float32),
    scores=np.zeros([0], np.float32),
    classes=np.zeros([0], np.int32),
)


def _evaluation(ap: float) -> evaluator.Evaluation:
    metrics = metrics_lib.Metrics(
        images=32,
        objects=1,
        detections=0,
        ap=ap,
        ap50=ap,
        ap75=ap,
        ap_small=None,
        ap_medium=None,
        ap_large=None,
        ar100=ap,
        overall=OVERALL,
        classes=(),
    )
    found: dict[int, coco.ImageDetections] = collections.defaultdict(
        lambda: NOTHING
    )
    return evaluator.Evaluation(metrics, (), found)


class Places(NamedTuple):
    """The command on small records; `during` is called in every step."""

    records: pathlib.Path
    capsys: pytest.CaptureFixture[str]
    during: dict[int, Callable[[state_lib.TrainState], object]]
    losses: dict[int, float]

    def run(self, folder: str, settings: str = SETTINGS) -> int:
        return command.run(
            train.main,
            train.FLAGS,
            "",
            [
                "train",
                "--mode=train_and_eval",
                f"--train_file_pattern={self.records}/train*.tfrecord",
                f"--val_file_pattern={self.records}/val*.tfrecord",
                "--model_name=efficientdet-lite0",
                f"--model_dir={folder}",
                f"--hparams={settings}",
                "--allow_cpu",
            ],
        )

    def said(self) -> tuple[str, str]:
        out, err = self.capsys.readouterr()
        return out, err


@pytest.fixture(scope="module")
def made_once() -> Iterator[None]:
    """Gives all runs one network, put back to what it was at first."""
    made: list[state_lib.TrainState] = []
    first: dict[str, np.ndarray] = {}
    make = state_lib.TrainState

    def state_of(config: config_lib.Config) -> state_lib.TrainState:
        if not made:
            made.append(make(config))
            values = made[0].variables().items()
            first.update({name: v.numpy().copy() for name, v in values})
        made[0].assign(first)
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_lib, "TrainState", state_of)
        detector_of = functools.cache(detector_lib.Detector)
        patch.setattr(detector_lib, "Detector", detector_of)
        yield


@pytest.fixture
def places(
    made_once: None,
    street_records: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Places:
    found = Places(street_records, capsys, {}, {})

    def make_train_step(state: state_lib.TrainState, *_: object) -> Any:
        def step(_: pipeline.TrainBatch) -> step_lib.StepResult:
            number = int(state.step) + 1
            if number in found.during:
                found.during[number](state)
            loss = found.losses.get(number, 1.0)
            if np.isfinite(loss):
                state.step.assign_add(1)
            values = dict.fromkeys(step_lib.StepResult._fields, 1.0)
            values |= {"total_loss": loss, "is_finite": np.isfinite(loss)}
            values["is_overflow"] = False
            return step_lib.StepResult(
                **{k: tf.constant(v) for k, v in values.items()}
            )

        return step

    def run(*_: object) -> evaluator.Evaluation:
        return _evaluation(0.25)

    def batches(*_: object, **__: object) -> Iterator[pipeline.TrainBatch]:
        return itertools.repeat(tiny.batch())

    monkeypatch.setattr(pipeline, "build_train_dataset", batches)
    monkeypatch.setattr(pipeline, "build_eval_dataset", batches)
    monkeypatch.setattr(step_lib, "make_train_step", make_train_step)
    monkeypatch.setattr(evaluator.Evaluator, "run", run)
    monkeypatch.setattr(lock, "_pause", lambda _: None)
    return found


@pytest.fixture
def store() -> Iterator[str]:
    """Yields a folder in memory, as in an object store."""
    folder = f"ram://{uuid.uuid4().hex}/model"
    yield folder
    storage.remove_tree(folder)


def read_json(folder: str, name: str) -> Any:
    """Returns the content of a JSON file in a folder of either kind."""
    return json.loads(storage.read_bytes(f"{folder}/{name}"))
