"""What a configuration does: one observation for each place that reads it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import pathlib
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.training import loop, start
from efficientdet_aimmo.training import schedule as schedule_lib
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import config as config_lib
from tests.hparams import witness_records
from tfrecord_tools import command

Records = witness_records.Records


def digest(*arrays: Any) -> str:
    """Returns a digest of the shapes and contents of numeric arrays."""
    found = hashlib.sha256()
    for array in map(np.asarray, arrays):
        found.update(f"{array.shape}{array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _images(config: config_lib.Config) -> tf.Tensor:
    height, width = config.data.image_size
    draw = np.random.default_rng(2)
    return tf.constant(
        draw.normal(size=(2, height, width, 3)), dtype=tf.float32
    )


# The network.


@functools.cache
def _detector(config: config_lib.Config) -> detector_lib.Detector:
    """The detector, for observations that leave it as it is."""
    return detector_lib.Detector(config)


def variables(config: config_lib.Config, _: Records) -> object:
    """Names and shapes of the detector's variables."""
    detector = _detector(config)
    return [(v.name, tuple(v.shape)) for v in detector.all_variables]


def first_weights(config: config_lib.Config, _: Records) -> object:
    """The weights before the first step."""
    return digest(*detector_lib.Detector(config).all_variables)


def outputs(config: config_lib.Config, _: Records) -> object:
    """What the detector says of two images."""
    return digest(*_detector(config)(_images(config), False))


def num_outputs(config: config_lib.Config, _: Records) -> object:
    """Shapes of what the detector says."""
    found = _detector(config)(_images(config), False)
    return [tuple(part.shape) for part in found]


def outputs_in_training(config: config_lib.Config, _: Records) -> object:
    """What the detector says with batch statistics and stochastic depth."""
    run = layers.ForwardPass(training=True, seed=tf.constant([1, 2]))
    return digest(*_detector(config).forward(_images(config), run))


def statistics(config: config_lib.Config, _: Records) -> object:
    """The moving statistics after one batch."""
    detector = detector_lib.Detector(config)
    run = layers.ForwardPass(training=True, seed=tf.constant([1, 2]))
    detector.forward(_images(config), run)
    for update in run.updates:
        update.store()
    return digest(*(update.variable for update in run.updates))


def anchors(config: config_lib.Config, _: Records) -> object:
    """All anchor boxes."""
    return digest(
        anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    )


# The input.


def _train_batches(
    config: config_lib.Config, records: Records
) -> list[pipeline.TrainBatch]:
    batches = pipeline.build_train_dataset(
        [records.crowded],
        config,
        num_records=[witness_records.NUM_RECORDS],
        max_boxes=records.train.counts.max_boxes_per_image,
        start_step=0,
    )
    return list(batches.take(2))


def train_batches(config: config_lib.Config, records: Records) -> object:
    """The first two batches of training."""
    return [digest(*batch[:-2]) for batch in _train_batches(config, records)]


def image_order(config: config_lib.Config, records: Records) -> object:
    """Which images the first two batches hold."""
    batches = _train_batches(config, records)
    return [batch.source_ids.numpy().tolist() for batch in batches]


def eval_batch(config: config_lib.Config, records: Records) -> object:
    """The first batch of evaluation."""
    batches = pipeline.build_eval_dataset([records.crowded], config, 2)
    return digest(*next(iter(batches)))


def filled_in(config: config_lib.Config, records: Records) -> object:
    """The configuration with what the data set says, or why it does not fit."""
    try:
        return start.fill_from_data(config, None, records.train)
    except command.UserError as error:
        return str(error)


# The step.


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    """Runs compiled functions line by line: tracing is what takes long."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def _tiny_network() -> Any:
    return mock.patch.object(
        detector_lib, "Detector", witness_records.TinyNetwork
    )


def steps(config: config_lib.Config, _: Records) -> object:
    """What two training steps report, and everything they change."""
    batch = pipeline.TrainBatch(
        images=_images(config),
        boxes=tf.constant(
            [[[8.0, 4, 40, 30], [1, 1, 9, 9]], [[20, 20, 60, 50], [0, 0, 0, 0]]]
        ),
        classes=tf.constant([[1, 3], [0, 0]]),
        num_boxes=tf.constant([2, 1]),
        source_ids=tf.constant(["1", "2"]),
        bad=tf.constant(["", ""]),
    )
    course = schedule_lib.Course(8, config.train.train_batch_size, 2)
    with _tiny_network(), _eagerly():
        state = state_lib.TrainState(config)
        train_step = step_lib.make_train_step(
            state,
            tf.constant(
                anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
            ),
            schedule_lib.Schedule(config.optimizer, course),
            config,
        )
        results = [train_step(batch) for _ in range(2)]
    reported = [float(value) for result in results for value in result]
    return reported, {k: digest(v) for k, v in state.variables().items()}


def rates(config: config_lib.Config, _: Records) -> object:
    """The learning rate of every step of a run of 40 images."""
    course = schedule_lib.Course(
        40, config.train.train_batch_size, config.train.num_epochs
    )
    schedule = schedule_lib.Schedule(config.optimizer, course)
    return [float(schedule(tf.constant(i))) for i in range(course.num_steps)]


# From outputs to detections.


def detections(config: config_lib.Config, _: Records) -> object:
    """What is detected in fixed outputs."""
    height, width = config.data.image_size
    count = len(
        anchors_lib.anchor_boxes(config.anchors, config.data.image_size)
    )
    draw = np.random.default_rng(3)
    fixed = detector_lib.Outputs(
        tf.constant(draw.normal(size=(1, count, 4)) - 1.0, tf.float32),
        tf.constant(draw.normal(size=(1, count, 4)) * 0.2, tf.float32),
    )
    with _eagerly():
        found = evaluator_lib.Evaluator(
            lambda *_: fixed, config, "abcd"
        ).detect(
            _images(config)[:1],
            tf.constant([1.0]),
            tf.constant([[height, width]]),
        )
    return [digest(*image) for image in found]


# A whole run.


class Trace(NamedTuple):
    """What a run leaves behind."""

    last_step: int
    saved: list[str]
    evaluated: list[str]
    logged: list[str]
    points: list[int]
    pictures: int
    eval_batch_sizes: set[int]


def _quick_step(state: state_lib.TrainState, *_: object) -> Callable[..., Any]:
    def step(_: pipeline.TrainBatch) -> step_lib.StepResult:
        state.step.assign_add(1)
        terms = {name: tf.constant(1.0) for name in step_lib.StepResult._fields}
        terms["is_overflow"] = tf.constant(False)
        return step_lib.StepResult(**terms)

    return step


def _events(folder: pathlib.Path) -> Any:
    found = event_accumulator.EventAccumulator(
        str(folder), size_guidance={"tensors": 0}
    )
    return found.Reload()


def run(config: config_lib.Config, records: Records) -> Trace:
    """Trains as the command does, but that a step only counts."""
    networks: list[witness_records.TinyNetwork] = []

    def network(given: config_lib.Config) -> witness_records.TinyNetwork:
        networks.append(witness_records.TinyNetwork(given))
        return networks[-1]

    printed = io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(detector_lib, "Detector", network),
        mock.patch.object(step_lib, "make_train_step", _quick_step),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            loop.train(
                config,
                witness_records.run_of(name, records.train, records),
            )
        finally:
            signal.signal(signal.SIGTERM, handler)
        folder = pathlib.Path(name)
        train_events = _events(folder / "train")
        tags = _events(folder / "eval").Tags()["tensors"]
        return Trace(
            last_step=json.loads((folder / "result.json").read_text())["step"],
            saved=sorted(os.listdir(folder / "checkpoints")),
            evaluated=sorted(p.name for p in folder.glob("eval/*.json")),
            logged=[
                line.split(":")[0]
                for line in printed.getvalue().splitlines()
                if line.startswith("step ")
            ],
            points=[e.step for e in train_events.Tensors("total_loss")],
            pictures=sum(tag.startswith("pictures/") for tag in tags),
            eval_batch_sizes={s for n in networks for s in n.batch_sizes},
        )


def threads(config: config_lib.Config, _: Records) -> object:
    """How many threads TensorFlow is told to use."""
    module = tf.config.threading
    with (
        mock.patch.object(module, "set_intra_op_parallelism_threads") as intra,
        mock.patch.object(module, "set_inter_op_parallelism_threads"),
    ):
        said = start._set_threads(config.runtime, {})
    return said, intra.call_args_list
