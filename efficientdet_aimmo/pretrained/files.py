"""Which kind of weights lie at a path, and what they hold."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import checkpoint as checkpoint_lib
from efficientdet_aimmo import weights, whole
from efficientdet_aimmo.pretrained import h5, source, tf_checkpoint, torch_file
from tfrecord_tools import command, storage


class Kind(enum.Enum):
    """What can be read."""

    OWN = "a checkpoint of this package"
    OWN_MODEL_DIR = "a model_dir of this package"
    TENSORFLOW = "a TensorFlow checkpoint"
    H5 = "Keras weights"
    TORCH = "PyTorch weights"


class Place(NamedTuple):
    """Where weights lie: a folder, a file, or a checkpoint's prefix."""

    path: str
    kind: Kind


_SUFFIXES = {
    ".h5": Kind.H5,
    ".hdf5": Kind.H5,
    ".pth": Kind.TORCH,
    ".pt": Kind.TORCH,
    ".ckpt": Kind.TORCH,  # one of TensorFlow's has PATH.ckpt.index beside it
    ".tar": Kind.TORCH,  # as .pth.tar
}
_EXPECTED = (
    "Expected a model_dir or checkpoint of this package, a TensorFlow"
    " checkpoint (its folder, or its path without .index), an .h5 file of"
    " Keras weights, or a .pth file of PyTorch weights."
)


def locate(path: str) -> Place:
    """Returns what kind of weights lie at a path; reads none of them.

    Raises:
      UserError: nothing is there, or nothing that can be read.
    """
    with whole.reached(path):
        if storage.is_folder(path):
            return _locate_in(path)
        if storage.is_file(path + ".index"):
            return Place(path, Kind.TENSORFLOW)
        is_there = storage.is_file(path)
    if not is_there:
        raise _unknown(f"There are no weights at {path}.")
    if path.endswith(".index"):
        return Place(path.removesuffix(".index"), Kind.TENSORFLOW)
    kind = _SUFFIXES.get(os.path.splitext(path)[1].lower())
    if kind is None:
        raise _unknown(f"{path} is a file of an unknown kind.")
    if storage.is_remote(path):
        raise _unknown(
            f"{path} is a file of {kind.value}, which is read from this"
            " machine's disk only: copy it there."
        )
    return Place(path, kind)


def _unknown(fault: str) -> command.UserError:
    return command.UserError(command.ExitCode.DATA, f"{fault} {_EXPECTED}")


def _locate_in(path: str) -> Place:
    if checkpoint_lib.is_checkpoint(path):
        return Place(path, Kind.OWN)
    if checkpoint_lib.is_model_dir(path):
        return Place(path, Kind.OWN_MODEL_DIR)
    prefix = tf.train.latest_checkpoint(path)
    if prefix is None:
        found = [n for n in storage.names(path) if n.endswith(".index")]
        if len(found) != 1:
            listed = ", ".join(found)
            raise _unknown(
                f"The folder {path} holds {len(found)} TensorFlow checkpoints"
                f"{f' ({listed})' if found else ''}, and no file 'checkpoint'"
                " names one."
            )
        prefix = storage.join(path, found[0].removesuffix(".index"))
    return Place(prefix, Kind.TENSORFLOW)


def read(place: Place, names: Sequence[str]) -> source.Source:
    """Returns what weights hold for the variables named.

    Args:
      place: what locate returned.
      names: the variables' official names, without ':0'.

    Raises:
      UserError: they are damaged.
    """
    if place.kind is Kind.OWN:
        return _own(weights.find(place.path, place.path), names)
    if place.kind is Kind.OWN_MODEL_DIR:
        return _own(weights.find(place.path, None), names)
    if place.kind is Kind.H5:
        return h5.read(place.path, names)
    if place.kind is Kind.TORCH:
        return torch_file.read_source(place.path, names)
    return tf_checkpoint.read(place.path, names)


def _own(
    checkpoint: checkpoint_lib.Checkpoint, names: Sequence[str]
) -> source.Source:
    found = checkpoint.weights()
    values = {name: found[name] for name in names if name in found}
    return source.Source(
        form=f"checkpoint of this package, step {checkpoint.step}",
        values=values,
        unused=tuple(sorted(set(found) - set(values))),
        left_out={},
        is_average=checkpoint.has_average(),
        class_names=checkpoint.meta.classes,
    )
