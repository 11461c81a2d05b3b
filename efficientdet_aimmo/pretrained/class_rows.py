"""The class head's last layer, when the classes are not those of the file.

Its output channels are ordered by anchor, then class. A class's rows can be
taken over alone: its channel of every anchor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from efficientdet_aimmo.pretrained import coco_classes, source

_LAYER = "class_net/class-predict"
_KERNEL = f"{_LAYER}/pointwise_kernel"
_BIAS = f"{_LAYER}/bias"
_BOX_BIAS = "box_net/box-predict/bias"

# The variables whose sizes say how many classes a head has.
LAYERS_THAT_COUNT = (_BIAS, _BOX_BIAS)


class LastLayer(NamedTuple):
    """What becomes of the last layer.

    Attributes:
      values: by name, where they differ from the file's.
      new: names of the variables that stay as they were drawn.
      sentence: for the report, '' if the layer is simply loaded.
    """

    values: Mapping[str, np.ndarray]
    new: tuple[str, ...]
    sentence: str


def num_classes(found: source.Source) -> int | None:
    """Returns the classes of the file's head, None if that cannot be told."""
    bias, boxes = found.values.get(_BIAS), found.values.get(_BOX_BIAS)
    if bias is None or boxes is None:
        return None
    per_cell, rest = divmod(boxes.size, 4)
    if rest or not per_cell or bias.size % per_cell:
        return None
    return bias.size // per_cell


def names(found: source.Source, count: int) -> tuple[str, ...] | None:
    """Returns the classes of the file's head, None if it does not name them.

    Args:
      found: the file.
      count: the classes of its head.
    """
    if found.class_names is not None:
        return found.class_names
    # The published detectors; nobody else has 90 classes by chance.
    if count == len(coco_classes.NAMES):
        return coco_classes.NAMES
    return None


def take_over(
    found: source.Source,
    drawn: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    heads: str,
) -> LastLayer:
    """Returns what becomes of the class head's last layer.

    Args:
      found: the file.
      drawn: the layer's values in the network, by name.
      class_names: the network's classes.
      heads: auto, none or all.
    """
    new = LastLayer({}, tuple(drawn), "The class head's last layer is new.")
    if heads == "none":
        return new
    count = num_classes(found)
    if heads == "all" or count is None:
        return LastLayer({}, (), "")  # as it is: it fits, or it is an error
    there = names(found, count)
    if there is None:
        if count == len(class_names):
            return LastLayer(
                {},
                (),
                "The file does not name its classes: they are taken for"
                f" {', '.join(class_names)}, in this order.",
            )
        return new._replace(
            sentence=f"The class head's last layer is new: the file has"
            f" {count} classes and does not name them."
        )
    if tuple(there) == tuple(class_names):
        return LastLayer({}, (), "")
    return _by_meaning(found, drawn, class_names, there) or new._replace(
        sentence="The class head's last layer is new: of the file's"
        f" {count} classes none is one of {', '.join(class_names)}."
    )


def _by_meaning(
    found: source.Source,
    drawn: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    there: Sequence[str],
) -> LastLayer | None:
    """Takes over the rows of classes that mean the same, if there are any."""
    row_of = {coco_classes.meaning(name): i for i, name in enumerate(there)}
    rows = {
        place: row_of[meaning]
        for place, meaning in enumerate(map(coco_classes.meaning, class_names))
        if meaning in row_of
    }
    kernel, bias = drawn[_KERNEL].copy(), drawn[_BIAS].copy()
    source_kernel, source_bias = found.values[_KERNEL], found.values[_BIAS]
    per_cell = source_bias.size // len(there)
    fits = (
        rows
        and kernel.shape[:-1] == source_kernel.shape[:-1]
        and bias.size == per_cell * len(class_names)
    )
    if not fits:
        return None
    here = np.arange(per_cell) * len(class_names)
    origin = np.arange(per_cell) * len(there)
    for place, row in rows.items():
        kernel[..., here + place] = source_kernel[..., origin + row]
        bias[here + place] = source_bias[origin + row]
    taken = ", ".join(
        f"{class_names[place]} from {there[row]}" for place, row in rows.items()
    )
    rest = [n for i, n in enumerate(class_names) if i not in rows]
    return LastLayer(
        {_KERNEL: kernel, _BIAS: bias},
        (),
        f"Class rows taken over: {taken}."
        + (f" New: {', '.join(rest)}." if rest else ""),
    )
