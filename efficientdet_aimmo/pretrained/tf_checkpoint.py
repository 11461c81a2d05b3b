"""TensorFlow checkpoints: the official TF2 ones, and those with TF1 names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from efficientdet_aimmo import checkpoint as checkpoint_lib
from efficientdet_aimmo.pretrained import source
from tfrecord_tools import command

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
_AVERAGE_SLOT = "average"
_SUFFIX = checkpoint_lib.AVERAGE_SUFFIX

# What training leaves beside the weights.
_TRAINING_STATE = re.compile(
    r"(.*/)?(global_step|save_counter|beta[12]_power|Momentum|Adam(_1)?|"
    r"RMSProp(_1)?|LAMB(_1)?|local_step|biased)$"
)
# EfficientNet's last convolution and classifier.
_CLASSIFIER = re.compile(r"efficientnet-[^/]+/head/")


class UnreadableError(ValueError):
    """A checkpoint that is damaged, or none."""


def tensors(path: str) -> dict[str, np.ndarray]:
    """Returns every tensor of a checkpoint; TensorFlow compares checksums.

    Args:
      path: the prefix, without .index.

    Raises:
      UnreadableError: a tensor cannot be read.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
        }
    except (
        tf.errors.OpError,
        LookupError,  # fewer bytes than the index promises
        RuntimeError,
        ValueError,
    ) as error:
        raise UnreadableError(str(error)) from error


def read(path: str, names: Collection[str]) -> source.Source:
    """Returns what a checkpoint holds for the variables named.

    Args:
      path: the prefix, without .index.
      names: the variables' official names, without ':0'.

    Raises:
      UserError: the checkpoint is damaged.
    """
    try:
        arrays = tensors(path)
    except UnreadableError as error:
        raise command.UserError(
            command.ExitCode.DATA,
            f"The checkpoint {path} cannot be read: {error}. Expected a"
            " TensorFlow checkpoint (PATH.index and PATH.data-00000-of-00001)"
            " that is whole.",
        ) from error
    if _GRAPH_KEY in arrays:
        return _of_objects(arrays, names)
    return _of_names(arrays, names)


def _described(
    form: str,
    plain: Mapping[str, np.ndarray],
    averages: Mapping[str, np.ndarray],
    names: Collection[str],
    left_out: Mapping[str, str],
) -> source.Source:
    """Returns the source with the average taken wherever there is one."""
    best = {**plain, **averages}
    values = {name: best[name] for name in names if name in best}
    notes: tuple[str, ...] = ()
    without = sorted(set(values) - set(averages))
    if averages and without:
        notes = (
            f"{len(without)} variables have no moving average in the file and"
            f" are as saved, {without[0]} first.",
        )
    return source.Source(
        form=form,
        values=values,
        unused=tuple(sorted(set(best) - set(values))),
        left_out=left_out,
        is_average=bool(averages),
        notes=notes,
    )


def _of_names(
    arrays: Mapping[str, np.ndarray], names: Collection[str]
) -> source.Source:
    """Reads a checkpoint whose keys are the variables' names."""
    plain: dict[str, np.ndarray] = {}
    averages: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for key, value in arrays.items():
        name = key.removesuffix(_SUFFIX)
        if _TRAINING_STATE.fullmatch(name):
            left_out[key] = "training state"
        elif _CLASSIFIER.match(name):
            left_out[key] = "classifier"
        elif name != key:
            averages[name] = value
        else:
            plain[name] = value
    return _described(
        "TensorFlow checkpoint with TF1 names", plain, averages, names, left_out
    )


def _of_objects(
    arrays: Mapping[str, np.ndarray], names: Collection[str]
) -> source.Source:
    """Reads a checkpoint of objects, which says every variable's name.

    The keys are paths of Python attributes; the object graph beside them holds
    the variables' own names, and which slots an optimizer kept for them.
    """
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(arrays[_GRAPH_KEY])
    keys = [
        {item.name: item for item in node.attributes}.get(_VALUE)
        for node in graph.nodes
    ]
    plain: dict[str, np.ndarray] = {}
    averages: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    slots: set[int] = set()
    for node in graph.nodes:
        for slot in node.slot_variables:
            variable = keys[slot.original_variable_node_id]
            value = keys[slot.slot_variable_node_id]
            slots.add(slot.slot_variable_node_id)
            if value is None:
                continue
            if variable is not None and slot.slot_name == _AVERAGE_SLOT:
                averages[variable.full_name] = arrays[value.checkpoint_key]
            else:
                left_out[value.checkpoint_key] = "training state"
    for number, item in enumerate(keys):
        if item is None or number in slots:
            continue
        name, key = item.full_name, item.checkpoint_key
        if _is_state(key) or _TRAINING_STATE.fullmatch(name):
            left_out[key] = "training state"
        elif _CLASSIFIER.match(name):
            left_out[key] = "classifier"
        else:
            plain[name] = arrays[key]
    return _described(
        "official TF2 checkpoint", plain, averages, names, left_out
    )


def _is_state(key: str) -> bool:
    """Returns whether an object's key is an optimizer's or a counter's."""
    return key.split("/")[0] in ("optimizer", "save_counter", "step")
