"""Checkpoints that are whole or absent.

A checkpoint is a folder `checkpoints/step-00000120` with TensorFlow's tensor
bundle (variables under their official names, readable by
tf.train.load_checkpoint) and meta.json with the checksums of all. Older ones go
only when it is whole.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from efficientdet_aimmo import whole
from hparams import config as config_lib
from hparams import serialize
from tfrecord_tools import storage

# The suffix under which official checkpoints keep a moving average too.
AVERAGE_SUFFIX = "/ExponentialMovingAverage"

# Names of what is no weight of the detector: the steps done, those of them that
# were skipped, the bad records drawn, under float16 the loss scale, the finite
# steps since it last changed and those that overflowed, and what the optimizer
# keeps.
STEP = "step"
SKIPPED = "skipped_steps"
BAD_DRAWS = "bad_draws"
LOSS_SCALE = "loss_scale"
GOOD_STEPS = "good_steps"
OVERFLOWED = "overflowed_steps"
OPTIMIZER = "optimizer/"
_COUNTS = (STEP, SKIPPED, BAD_DRAWS, LOSS_SCALE, GOOD_STEPS, OVERFLOWED)

FOLDER = "checkpoints"  # in the model_dir
_BUNDLE = "variables"
_NAME = re.compile(r"step-(\d{8,})")
_FIELDS = {"step", "files", "config", "classes", "data_identity", "threads"}


class Stored(Protocol):
    """A variable, or a part of one."""

    @property
    def shape(self) -> tf.TensorShape:
        """What a value for it must have."""

    def read_value(self) -> tf.Tensor:
        """Returns its value now."""


class CheckpointError(whole.DamageError):
    """A checkpoint that is damaged or does not fit."""


@dataclasses.dataclass(frozen=True)
class Meta:
    """What is saved beside the variables.

    Attributes:
      config: the run's configuration.
      classes: class names, id 0 first.
      data_identity: of the manifest of the training records.
      threads: CPU threads and oneDNN setting, on which equal bits depend.
    """

    config: config_lib.Config
    classes: tuple[str, ...]
    data_identity: str
    threads: str


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, its content verified.

    Attributes:
      path: its folder.
      step: steps done.
      meta: what was saved beside the variables.
    """

    path: str
    step: int
    meta: Meta

    def _reader(self) -> Any:
        # tf.train.load_checkpoint takes a prefix for a folder in a file system
        # whose folders are prefixes themselves.
        path = storage.join(self.path, _BUNDLE)
        with whole.reached(path), storage.as_os_errors(path):
            return tf.compat.v1.train.NewCheckpointReader(path)

    def values(self) -> dict[str, np.ndarray]:
        """Returns all variables by name."""
        reader = self._reader()
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
        }

    def values_for(self, stored: Mapping[str, Stored]) -> dict[str, np.ndarray]:
        """Returns the value of everything that is to go on, by name.

        Raises:
          CheckpointError: names or shapes are not exactly those saved.
        """
        values = self.values()
        if BAD_DRAWS in stored:
            # Older checkpoints lack it: a bad record ended a run then.
            values.setdefault(BAD_DRAWS, np.zeros([], np.int64))
        unknown = sorted(set(values) ^ set(stored))
        if unknown:
            raise CheckpointError(
                f"{self.path} does not fit: {len(unknown)} variables are only"
                f" in it or only in the model, {unknown[0]!r} first."
            )
        for name, variable in stored.items():
            if variable.shape != values[name].shape:
                raise CheckpointError(
                    f"{self.path} does not fit: {name!r} has shape"
                    f" {values[name].shape}, the model's is"
                    f" {tuple(variable.shape)}."
                )
        return values

    def has_average(self) -> bool:
        """Returns whether a moving average was kept."""
        names = self._reader().get_variable_to_shape_map()
        return any(name.endswith(AVERAGE_SUFFIX) for name in names)

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the detector's variables: the moving average where kept."""
        values = self.values()
        averages = {
            name.removesuffix(AVERAGE_SUFFIX): value
            for name, value in values.items()
            if name.endswith(AVERAGE_SUFFIX)
        }
        plain = {
            name: value
            for name, value in values.items()
            if name not in _COUNTS and not name.startswith(OPTIMIZER)
        }
        return averages or plain


def _meta_json(meta: Meta) -> dict[str, Any]:
    return {
        "config": json.loads(serialize.to_json(meta.config)),
        "classes": meta.classes,
        "data_identity": meta.data_identity,
        "threads": meta.threads,
    }


def save(
    model_dir: str,
    step: int,
    variables: Mapping[str, Stored],
    meta: Meta,
    keep: int,
) -> str:
    """Writes a checkpoint and returns its folder; keeps the newest `keep`.

    One that is there already and whole stays: a step has one state.

    Raises:
      OSError: the disk is full or not writable; older checkpoints are intact.
    """
    final = path_of(model_dir, step)
    if not is_whole(final):
        whole.write_folder(
            final,
            {"step": step, **_meta_json(meta)},
            lambda folder: _write_bundle(folder, variables),
        )
    _remove_old(model_dir, step, keep)
    return final


def _remove_old(model_dir: str, newest: int, keep: int) -> None:
    """Removes all but the newest `keep` of the checkpoints up to a step.

    Those of later steps are damaged, or the run would have gone on from them:
    they take nobody's place, and go when the run has passed them.
    """
    older = [step for step in _steps(model_dir) if step < newest]
    paths = [path_of(model_dir, step) for step in older]
    finished = [path for path in paths if whole.has_meta(path)]
    unfinished = [path for path in paths if path not in finished]
    whole.remove_leftovers(storage.join(model_dir, FOLDER))
    for path in [*unfinished, *finished[: max(0, len(finished) - keep + 1)]]:
        whole.remove_folder(path)


def is_whole(path: str) -> bool:
    """Returns whether a folder is a checkpoint whose content is undamaged."""
    try:
        open_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _write_bundle(folder: str, variables: Mapping[str, Stored]) -> None:
    names = sorted(variables)
    path = storage.join(folder, _BUNDLE)
    with storage.as_os_errors(path):
        tf.raw_ops.SaveV2(
            prefix=path,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[variables[name].read_value() for name in names],
        )


def path_of(model_dir: str, step: int) -> str:
    """Returns the folder of a step's checkpoint, whether there or not."""
    return storage.join(model_dir, FOLDER, f"step-{step:08}")


def _steps(model_dir: str) -> list[int]:
    """Returns the steps of all folders that are called so, oldest first."""
    names = storage.names(storage.join(model_dir, FOLDER))
    found = (_NAME.fullmatch(name) for name in names)
    return sorted(int(match.group(1)) for match in found if match)


def open_checkpoint(path: str) -> Checkpoint:
    """Returns the checkpoint in a folder after checking its content.

    Raises:
      CheckpointError: the folder is no checkpoint, or its content is damaged.
      UserError: the object store cannot be reached.
    """
    try:
        content = whole.read_folder(path)
        if (
            set(content) != _FIELDS
            or f"{_BUNDLE}.index" not in content["files"]
        ):
            raise CheckpointError(
                f"{path}/{whole.META} is not that of a checkpoint: it has the"
                f" fields {', '.join(sorted(content))}."
            )
        meta = Meta(
            serialize.from_json(json.dumps(content["config"])),
            tuple(content["classes"]),
            content["data_identity"],
            content["threads"],
        )
        return Checkpoint(path, content["step"], meta)
    except whole.DamageError as error:
        raise CheckpointError(str(error)) from error
    except (KeyError, TypeError, config_lib.HParamError) as error:
        raise CheckpointError(
            f"{path} is no whole checkpoint ({type(error).__name__}: {error})."
        ) from error


def is_checkpoint(path: str) -> bool:
    """Returns whether a folder is a checkpoint of this package."""
    return all(
        storage.is_file(storage.join(path, name))
        for name in (whole.META, f"{_BUNDLE}.index")
    )


def is_model_dir(path: str) -> bool:
    """Returns whether a run has, or had, its checkpoints in a folder."""
    return storage.is_folder(storage.join(path, FOLDER))


def latest(model_dir: str) -> tuple[Checkpoint | None, list[str]]:
    """Returns the newest whole checkpoint, and the faults of newer ones.

    Raises:
      UserError: the object store cannot be reached.
    """
    faults: list[str] = []
    with whole.reached(model_dir):
        paths = [path_of(model_dir, step) for step in _steps(model_dir)]
        if storage.is_remote(model_dir):  # unfinished is absent there
            paths = [path for path in paths if whole.has_meta(path)]
    for path in reversed(paths):
        try:
            return open_checkpoint(path), faults
        except CheckpointError as error:
            faults.append(str(error))
    return None, faults
