"""Checkpoints that are whole or absent.

A checkpoint is a folder `checkpoints/step-00000120` with TensorFlow's tensor
bundle (variables under their official names, readable by
tf.train.load_checkpoint) and meta.json with the bundle's checksums. The folder
is written beside, flushed and renamed; older ones go only after that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from hparams import config as config_lib
from hparams import serialize

# The suffix under which official checkpoints keep a moving average too.
AVERAGE_SUFFIX = "/ExponentialMovingAverage"

# Names of what is no weight of the detector: the steps done, those of them that
# were skipped, the bad records drawn, and what the optimizer keeps.
STEP = "step"
SKIPPED = "skipped_steps"
BAD_DRAWS = "bad_draws"
OPTIMIZER = "optimizer/"

_FOLDER = "checkpoints"
_BUNDLE = "variables"
META = "meta.json"
_NAME = re.compile(r"step-(\d{8,})")


class CheckpointError(ValueError):
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

    def values(self) -> dict[str, np.ndarray]:
        """Returns all variables by name."""
        reader = tf.train.load_checkpoint(os.path.join(self.path, _BUNDLE))
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
        }

    def has_average(self) -> bool:
        """Returns whether a moving average was kept."""
        reader = tf.train.load_checkpoint(os.path.join(self.path, _BUNDLE))
        names = reader.get_variable_to_shape_map()
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
            if name not in (STEP, SKIPPED, BAD_DRAWS)
            and not name.startswith(OPTIMIZER)
        }
        return averages or plain


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def flush(path: str) -> None:
    """Makes a file's or folder's content survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    variables: Mapping[str, tf.Variable],
    meta: Meta,
    keep: int,
) -> str:
    """Writes a checkpoint and returns its folder; keeps the newest `keep`.

    One that is there already and whole stays: a step has one state.

    Raises:
      OSError: the disk is full or not writable; older checkpoints are intact.
    """
    parent = os.path.join(model_dir, _FOLDER)
    final = path_of(model_dir, step)
    if not is_whole(final):
        beside = os.path.join(parent, f".writing-{step:08}")
        shutil.rmtree(beside, ignore_errors=True)
        os.makedirs(beside)
        _write(beside, step, variables, meta)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(beside, final)
        flush(parent)
    for old in _steps(model_dir)[:-keep]:
        shutil.rmtree(path_of(model_dir, old))
    return final


def is_whole(path: str) -> bool:
    """Returns whether a folder is a checkpoint whose content is undamaged."""
    try:
        open_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _write(
    folder: str, step: int, variables: Mapping[str, tf.Variable], meta: Meta
) -> None:
    """Writes a checkpoint's files and flushes them."""
    names = sorted(variables)
    try:
        tf.raw_ops.SaveV2(
            prefix=os.path.join(folder, _BUNDLE),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[variables[name].read_value() for name in names],
        )
    except tf.errors.OpError as error:
        raise OSError(f"{folder}: {error.message}") from error
    files = {
        name: _digest(os.path.join(folder, name))
        for name in sorted(os.listdir(folder))
    }
    with open(os.path.join(folder, META), "w", encoding="utf-8") as file:
        json.dump({"step": step, "files": files, **_meta_json(meta)}, file)
    for name in [*files, META]:
        flush(os.path.join(folder, name))
    flush(folder)


def path_of(model_dir: str, step: int) -> str:
    """Returns the folder of a step's checkpoint, whether there or not."""
    return os.path.join(model_dir, _FOLDER, f"step-{step:08}")


def _steps(model_dir: str) -> list[int]:
    """Returns the steps of all checkpoints, oldest first."""
    parent = os.path.join(model_dir, _FOLDER)
    if not os.path.isdir(parent):
        return []
    found = (_NAME.fullmatch(name) for name in os.listdir(parent))
    return sorted(int(match.group(1)) for match in found if match)


def open_checkpoint(path: str) -> Checkpoint:
    """Returns the checkpoint in a folder after checking its content.

    Raises:
      CheckpointError: the folder is no checkpoint, or its content is damaged.
    """
    try:
        with open(os.path.join(path, META), encoding="utf-8") as file:
            content = json.load(file)
        for name, expected in content["files"].items():
            if _digest(os.path.join(path, name)) != expected:
                raise CheckpointError(
                    f"{path}/{name} is damaged: its checksum differs."
                )
        meta = Meta(
            serialize.from_json(json.dumps(content["config"])),
            tuple(content["classes"]),
            content["data_identity"],
            content["threads"],
        )
        return Checkpoint(path, content["step"], meta)
    except (
        OSError,
        json.JSONDecodeError,
        KeyError,
        TypeError,
        config_lib.HParamError,
    ) as error:
        raise CheckpointError(
            f"{path} is no whole checkpoint ({type(error).__name__}: {error})."
        ) from error


def is_checkpoint(path: str) -> bool:
    """Returns whether a folder is a checkpoint of this package."""
    return all(
        os.path.exists(os.path.join(path, name))
        for name in (META, f"{_BUNDLE}.index")
    )


def is_model_dir(path: str) -> bool:
    """Returns whether a run has, or had, its checkpoints in a folder."""
    return os.path.isdir(os.path.join(path, _FOLDER))


def latest(model_dir: str) -> tuple[Checkpoint | None, list[str]]:
    """Returns the newest whole checkpoint, and the faults of newer ones."""
    faults: list[str] = []
    for step in reversed(_steps(model_dir)):
        path = path_of(model_dir, step)
        try:
            return open_checkpoint(path), faults
        except CheckpointError as error:
            faults.append(str(error))
    return None, faults


def restore(
    checkpoint: Checkpoint, variables: Mapping[str, tf.Variable]
) -> None:
    """Gives every variable its saved value.

    Raises:
      CheckpointError: names or shapes are not exactly those saved.
    """
    values = checkpoint.values()
    if BAD_DRAWS in variables:
        # Older checkpoints lack it: a bad record ended a run then.
        values.setdefault(BAD_DRAWS, np.zeros([], np.int64))
    unknown = sorted(set(values) ^ set(variables))
    if unknown:
        raise CheckpointError(
            f"{checkpoint.path} does not fit: {len(unknown)} variables are only"
            f" in it or only in the model, {unknown[0]!r} first."
        )
    for name, variable in variables.items():
        if variable.shape != values[name].shape:
            raise CheckpointError(
                f"{checkpoint.path} does not fit: {name!r} has shape"
                f" {values[name].shape}, the model's is"
                f" {tuple(variable.shape)}."
            )
        variable.assign(values[name])
