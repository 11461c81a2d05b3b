"""Weights in one form to weights in another, by way of a detector."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import tensorflow as tf

from efficientdet_aimmo import checkpoint as checkpoint_lib
from efficientdet_aimmo import weights, whole
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.pretrained import (
    class_rows,
    effdet,
    files,
    official_checkpoint,
    torch_file,
    warm_start,
)
from hparams import config as config_lib
from tfrecord_tools import command, storage

_OFFICIAL_NAME = "model"
_EFFDET_NAME = "model.pth"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be read, and what is to be written.

    Attributes:
      ckpt: a path or a published name.
      config: of the network; None takes it from a checkpoint of this package.
      class_names: class 0 first; None takes them from the file.
      heads: one of loading.HEADS.
      target: model_dir, official or effdet.
      output_dir: the folder to write.
      environment: the process's environment variables.
    """

    ckpt: str
    config: config_lib.Config | None
    class_names: tuple[str, ...] | None
    heads: str
    target: str
    output_dir: str
    environment: Mapping[str, str]


def run(request: Request) -> None:
    """Reads, prints the report, and writes.

    Raises:
      UserError: the weights are not there, damaged, of another network, or the
        folder cannot be written.
    """
    _check_output(request.output_dir)
    path = warm_start.resolve(request.ckpt, "ckpt", request.environment)
    place = files.locate(path)
    config = request.config or _own_config(place)
    class_names = request.class_names or _class_names(place)
    config = _with_classes(config, class_names)
    detector = detector_lib.Detector(config)
    variables = detector.all_variables
    start = warm_start.WarmStart(place, False, request.heads)
    print(start.load(variables, class_names).text())
    try:
        storage.make_folder(request.output_dir)
        written = _write(request, config, class_names, variables)
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--output_dir={request.output_dir} cannot be written ({error})."
            " Choose a folder that this user may write, on a disk with room.",
        ) from error
    print(f"Written to {written}")


def _check_output(folder: str) -> None:
    with whole.reached(folder):
        names = storage.names(folder)
    if names:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"--output_dir={folder} holds {len(names)} files."
            " Choose a folder that is empty or does not exist.",
        )


def _own_config(place: files.Place) -> config_lib.Config:
    """Returns the configuration that a checkpoint of this package holds."""
    if place.kind not in (files.Kind.OWN, files.Kind.OWN_MODEL_DIR):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{place.path} is {place.kind.value}, which does not say of which"
            " network. Give --model_name.",
        )
    is_model_dir = place.kind is files.Kind.OWN_MODEL_DIR
    return weights.find(
        place.path, None if is_model_dir else place.path
    ).meta.config


def _class_names(place: files.Place) -> tuple[str, ...]:
    """Returns the classes that the file names, or COCO's for 90."""
    found = files.read(place, class_rows.LAYERS_THAT_COUNT)
    count = class_rows.num_classes(found)
    if count is None:
        raise command.UserError(
            command.ExitCode.DATA,
            f"{place.path} ({found.form}) has no class head and box head of a"
            " detector. Expected the weights of a whole EfficientDet; those of"
            " a backbone are for --backbone_ckpt of the training command.",
        )
    names = class_rows.names(found, count)
    if names is None:
        raise command.UserError(
            command.ExitCode.USAGE,
            f"{place.path} has {count} classes and does not name them. Give"
            f" --classes with {count} names in the order of their ids.",
        )
    return names


def _with_classes(
    config: config_lib.Config, class_names: tuple[str, ...]
) -> config_lib.Config:
    given = config.model.num_classes
    if given not in (0, len(class_names)):
        raise command.UserError(
            command.ExitCode.USAGE,
            f"num_classes is {given}, but there are {len(class_names)} classes:"
            f" {', '.join(class_names)}. Background is not counted.",
        )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, num_classes=len(class_names)),
    )


def _write(
    request: Request,
    config: config_lib.Config,
    class_names: tuple[str, ...],
    variables: list[tf.Variable],
) -> str:
    """Writes what is asked for and returns its path."""
    by_name = {v.name.removesuffix(":0"): v for v in variables}
    if request.target == "model_dir":
        return checkpoint_lib.save(
            request.output_dir,
            0,
            by_name,
            checkpoint_lib.Meta(config, class_names, "", "imported"),
            1,
        )
    if request.target == "official":
        path = os.path.join(request.output_dir, _OFFICIAL_NAME)
        official_checkpoint.write(path, variables, config.anchors.min_level)
        return path
    path = os.path.join(request.output_dir, _EFFDET_NAME)
    values = {name: variable.numpy() for name, variable in by_name.items()}
    torch_file.write(path, effdet.from_official(values))
    return path
