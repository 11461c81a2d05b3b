"""Times steps of training, inference and input, in a process of their own."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable

import tensorflow as tf

from efficientdet_aimmo import anchors, weights
from efficientdet_aimmo.benching import cases as cases_lib
from efficientdet_aimmo.benching import made, sweep
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.model import activations, layers
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.training import machine as machine_lib
from efficientdet_aimmo.training import schedule, state, step
from hparams import config as config_lib
from hparams import override, presets

NUM_CLASSES = 90  # COCO's, with which the published figures were measured
NUM_RECORDS = 64
MAX_BOXES = 8  # in a made record
_SIZE = [1024, 1920]  # height and width that detections are scaled to
# Of input: batches that were prepared ahead come at once, so what counts is how
# long many take.
_BATCHES_AT_ONCE = 32
_EXHAUSTED = (tf.errors.ResourceExhaustedError, MemoryError)

Take = Callable[[], object]


def config_of(case: cases_lib.Case, batch_size: int) -> config_lib.Config:
    """Returns the configuration that a case measures.

    Raises:
      HParamError: no such network, or a wrong hyper-parameter.
    """
    config = override.override(
        presets.get_config(case.model_name), {"num_classes": NUM_CLASSES}
    )
    config = override.override(config, case.hparams)
    given: dict[str, object] = {
        "train_batch_size": batch_size,
        "use_xla": case.use_xla,
    }
    if case.precision:
        given["precision"] = case.precision
    return override.override(config, given)


def make(
    case: cases_lib.Case, folder: str
) -> Callable[[int, float], cases_lib.Row]:
    """Returns a function that measures a batch size, as sweep.measure takes it.

    Args:
      case: what is measured.
      folder: where records lie, for input.
    """
    activations.compile_quietly()
    machine = machine_lib.Machine("/")
    config = config_of(case, 1)
    prepare = {
        "train": lambda: _training(config),
        "infer": lambda: _inference(config),
        "input": lambda: _input(case, pathlib.Path(folder)),
    }[case.verb]()
    at_once = _BATCHES_AT_ONCE if case.verb == "input" else 1

    def take(batch_size: int, end: float) -> cases_lib.Row:
        machine.forget_gpu_peaks()
        _forget_host_peak()
        row = cases_lib.Row(
            case=case,
            image_size=config.data.image_size,
            batch_size=batch_size,
        )
        try:
            first_s, steps_s = _timed(prepare(batch_size), at_once, end)
        except _EXHAUSTED:
            return dataclasses.replace(row, end="memory ended")
        gpus = machine.gpus()
        return dataclasses.replace(
            row,
            steps_s=tuple(steps_s),
            first_s=first_s,
            peak=max((gpu.peak for gpu in gpus), default=machine.peak()),
        )

    return take


def _timed(take: Take, at_once: int, end: float) -> tuple[float, list[float]]:
    """Returns the seconds of the first step, and of those after warming up.

    Args:
      take: takes a step.
      at_once: steps that are timed together; each counts as their share.
      end: when time.monotonic() says that no more begin.
    """
    first_s = _seconds(take, 1)
    for _ in range(sweep.NUM_WARM_UP):
        last_s = _seconds(take, at_once)
    steps_s: list[float] = []
    for _ in range(sweep.num_steps(last_s)):
        last_s = _seconds(take, at_once)
        steps_s.append(last_s / at_once)
        if time.monotonic() + last_s > end:
            break
    return first_s, steps_s


def _seconds(take: Take, times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        take()
    return time.perf_counter() - begin


def _forget_host_peak() -> None:
    """Lets the most memory that the process ever had begin anew."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def _training(config: config_lib.Config) -> Callable[[int], Take]:
    boxes = anchors.anchor_boxes(config.anchors, config.data.image_size)
    train_step = step.make_train_step(
        state.TrainState(config),
        tf.constant(boxes),
        schedule.Schedule(config.optimizer, schedule.Course(1000, 1, 10)),
        config,
    )

    def prepare(batch_size: int) -> Take:
        batch = made.batch(config, batch_size)
        return lambda: float(train_step(batch).total_loss)

    return prepare


def _inference(config: config_lib.Config) -> Callable[[int], Take]:
    detector = detector_lib.Detector(config)
    # The statistics of an image, so that no activation is denormal.
    run = layers.ForwardPass(training=True, seed=tf.zeros([2], tf.int32))
    detector.forward(made.batch(config, 1).images, run)
    for update in run.updates:
        update.variable.assign(update.value)
    evaluator = evaluator_lib.Evaluator(
        weights.frozen(detector, config.data.image_size),
        config,
        [str(number) for number in range(config.model.num_classes)],
    )

    def prepare(batch_size: int) -> Take:
        images = made.batch(config, batch_size).images
        scales, sizes = tf.fill([batch_size], 3.75), tf.constant([_SIZE])
        sizes = tf.tile(sizes, [batch_size, 1])
        return lambda: evaluator.detect(images, scales, sizes)

    return prepare


def _input(case: cases_lib.Case, folder: pathlib.Path) -> Callable[[int], Take]:
    files = sorted(str(path) for path in folder.glob("*.tfrecord"))

    def prepare(batch_size: int) -> Take:
        config = override.override(
            config_of(case, batch_size), {"num_epochs": 10**6}
        )
        batches = iter(
            pipeline.build_train_dataset(
                files,
                config,
                num_records=[NUM_RECORDS // len(files)] * len(files),
                max_boxes=MAX_BOXES,
                start_step=0,
            )
        )
        return lambda: next(batches)

    return prepare
