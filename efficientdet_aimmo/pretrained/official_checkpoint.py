"""The official TF2 checkpoint: written so that the official code reads it.

Its keys are paths of the official network's Python attributes (google/automl,
efficientdet/tf2/efficientdet_keras.py and backbone/efficientnet_model.py, as
its checkpoints show them).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import tensorflow as tf

_FIRST_COARSER_LEVEL = 6  # resample_p6 is the first of resample_layers
_STEM = {"conv2d": "_conv_stem", "tpu_batch_normalization": "_bn"}
_SQUEEZE = {"conv2d": "_se_reduce", "conv2d_1": "_se_expand"}
_NORM = "tpu_batch_normalization"


def _block_key(rest: str, has_expansion: bool) -> str:
    """Returns the key of what stands behind 'blocks_N/'."""
    layer, _, last = rest.partition("/")
    if layer == "se":
        squeeze, _, last = last.partition("/")
        return f"_se/{_SQUEEZE[squeeze]}/{last}"
    if layer == "depthwise_conv2d":
        return f"_depthwise_conv/{last}"
    if layer.startswith(_NORM):
        number = int(layer.removeprefix(_NORM).removeprefix("_") or 0)
        # The first of three norms follows the expansion.
        return f"_bn{number if has_expansion else number + 1}/{last}"
    is_expansion = layer == "conv2d" and has_expansion
    return f"{'_expand_conv' if is_expansion else '_project_conv'}/{last}"


def _backbone_key(name: str, names: frozenset[str]) -> str:
    top, place, rest = name.split("/", 2)
    if place == "stem":
        layer, _, last = rest.partition("/")
        return f"_stem/{_STEM[layer]}/{last}"
    has_expansion = f"{top}/{place}/conv2d_1/kernel" in names
    number = place.removeprefix("blocks_")
    return f"_blocks/{number}/{_block_key(rest, has_expansion)}"


_BIFPN = (
    (r"fpn_cells/cell_(\d+)/fnode(\d+)/", r"fpn_cells/cells/\1/fnodes/\2/"),
    (r"/op_after_combine\d+/conv/", "/op_after_combine/conv_op/"),
    (r"/op_after_combine\d+/bn/", "/op_after_combine/bn/"),
    (r"/resample_(\d+)_\d+_\d+/", r"/resample_layers/\1/"),
)


def _head_key(name: str, min_level: int) -> str:
    net, layer, last = name.split("/")
    kind = net.removesuffix("_net")
    if layer == f"{kind}-predict":
        return f"{net}/{'classes' if kind == 'class' else 'boxes'}/{last}"
    numbers = layer.removeprefix(f"{kind}-").split("-bn-")
    if len(numbers) == 1:
        return f"{net}/conv_ops/{numbers[0]}/{last}"
    return f"{net}/bns/{numbers[0]}/{int(numbers[1]) - min_level}/{last}"


def object_path(name: str, names: frozenset[str], min_level: int) -> str:
    """Returns the attributes that lead to a variable in the official network.

    Args:
      name: the variable's official name, without ':0'.
      names: of all variables of the network.
      min_level: the finest level of the BiFPN.
    """
    if name.startswith("efficientnet-"):
        return f"backbone/{_backbone_key(name, names)}"
    if name.startswith("resample_p"):
        level, _, rest = name.removeprefix("resample_p").partition("/")
        return f"resample_layers/{int(level) - _FIRST_COARSER_LEVEL}/{rest}"
    if name.startswith("fpn_cells/"):
        for pattern, replacement in _BIFPN:
            name = re.sub(pattern, replacement, name)
        return name
    return _head_key(name, min_level)


def write(
    prefix: str, variables: Sequence[tf.Variable], min_level: int
) -> None:
    """Writes an official TF2 checkpoint: PREFIX.index, PREFIX.data-...

    Args:
      prefix: the path; its folder gets a file 'checkpoint' that names it.
      variables: of the network, moving statistics included.
      min_level: the finest level of the BiFPN.
    """
    by_name = {v.name.removesuffix(":0"): v for v in variables}
    names = frozenset(by_name)
    root = tf.Module()
    for name, variable in by_name.items():
        *parents, last = object_path(name, names, min_level).split("/")
        node = root
        for part in parents:
            if not hasattr(node, part):
                setattr(node, part, tf.Module())
            node = getattr(node, part)
        setattr(node, last, variable)
    tf.train.Checkpoint(root=root).write(prefix)
    folder, file = os.path.split(prefix)
    with open(os.path.join(folder, "checkpoint"), "w", encoding="utf-8") as out:
        out.write(f'model_checkpoint_path: "{file}"\n')
