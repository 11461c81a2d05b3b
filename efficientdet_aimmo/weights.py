"""Detectors and weights out of checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from efficientdet_aimmo import checkpoint as checkpoint_lib
from efficientdet_aimmo.model import detector as detector_lib
from hparams import config as config_lib
from tfrecord_tools import command


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A detector with the weights of a checkpoint, ready to detect.

    Attributes:
      detector: its moving average where the run kept one.
      config: the run's configuration.
      class_names: class 0 first.
      step: steps done.
    """

    detector: detector_lib.Detector
    config: config_lib.Config
    class_names: tuple[str, ...]
    step: int


def find(model_dir: str, path: str | None) -> checkpoint_lib.Checkpoint:
    """Returns a checkpoint by its folder, or the newest whole one.

    Raises:
      UserError: there is none, or the one named is damaged.
    """
    try:
        if path is not None:
            return checkpoint_lib.open_checkpoint(path)
    except checkpoint_lib.CheckpointError as error:
        raise command.UserError(command.ExitCode.DATA, str(error)) from error
    newest, faults = checkpoint_lib.latest(model_dir)
    if newest is None:
        found = " ".join(faults) or "No checkpoint was found."
        raise command.UserError(
            command.ExitCode.DATA,
            f"{model_dir} has no whole checkpoint. {found} Expected a folder"
            " that efficientdet_aimmo.train wrote.",
        )
    for fault in faults:
        print(f"warning: {fault} The one before is used.", flush=True)
    return newest


def assign(
    variables: Iterable[tf.Variable], values: Mapping[str, np.ndarray]
) -> None:
    """Gives a detector's variables the weights of a checkpoint.

    Raises:
      UserError: a variable is missing or has another shape.
    """
    pairs = [(v, v.name.removesuffix(":0")) for v in variables]
    for variable, name in pairs:
        found = values[name].shape if name in values else "missing"
        if found != tuple(variable.shape):
            raise command.UserError(
                command.ExitCode.DATA,
                f"The checkpoint does not fit this network: {name!r} is"
                f" {found}, expected {tuple(variable.shape)}. Give the"
                " --model_name and classes that it was trained with.",
            )
    for variable, name in pairs:
        variable.assign(values[name])


def load_detector(model_dir: str, path: str | None) -> LoadedModel:
    """Returns the detector of a checkpoint.

    Args:
      model_dir: what training wrote.
      path: a checkpoint's folder; the newest of model_dir if None.

    Raises:
      UserError: there is no whole checkpoint.
    """
    checkpoint = find(model_dir, path)
    detector = detector_lib.Detector(checkpoint.meta.config)
    assign(detector.all_variables, checkpoint.weights())
    return LoadedModel(
        detector,
        checkpoint.meta.config,
        checkpoint.meta.classes,
        checkpoint.step,
    )


def frozen(
    detector: Callable[[tf.Tensor, bool], detector_lib.Outputs],
    image_size: tuple[int, int],
) -> Callable[[tf.Tensor, bool], detector_lib.Outputs]:
    """Returns the detector with its weights as they are now, for inference.

    What follows from the weights alone is then computed once, and batch norm
    becomes part of the convolutions: see benchmarks/README.md. Outputs differ
    by rounding.

    Args:
      detector: (images, training) -> Outputs.
      image_size: (height, width) of the network's input.
    """
    shape = [None, *image_size, 3]
    traced = tf.function(
        lambda images: tuple(detector(images, False)), autograph=False
    ).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    constant = convert_to_constants.convert_variables_to_constants_v2(traced)

    def detect(images: tf.Tensor, training: bool) -> detector_lib.Outputs:
        if training:
            raise ValueError("Frozen weights cannot be trained.")
        return detector_lib.Outputs(*constant(images))

    return detect
