"""What can be wrong with the objects of a record.

NumPy alone: the detector asks before it trains, worker processes when a data
set is validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Fault(NamedTuple):
    """One kind of fault in one record: a word for it, how many, the first."""

    kind: str
    number: int
    text: str


def find(
    labels: np.ndarray, corners: np.ndarray, classes: Sequence[str] | None
) -> list[Fault]:
    """Returns what is wrong with a record's objects; [] if nothing is.

    Args:
      labels: [N] int64, class ids as on disk.
      corners: [4, N] float, y_min, x_min, y_max, x_max in sides of the image.
      classes: the class names in the order of their ids, None if not known.
    """
    if corners.shape[1] != len(labels):
        text = f"{corners.shape[1]} boxes but {len(labels)} class ids"
        return [Fault("lengths", 1, text)]
    faults = []
    most = len(classes) if classes is not None else np.iinfo(np.int64).max
    for kind, is_wrong in (
        ("class_id_0", labels == 0),
        ("class_id", (labels < 0) | (labels > most)),
    ):
        if is_wrong.any():
            label = labels[int(np.argmax(is_wrong))]
            faults.append(
                Fault(kind, int(is_wrong.sum()), _label_text(label, classes))
            )
    y_min, x_min, y_max, x_max = corners
    ordered = (y_min < y_max) & (x_min < x_max)
    # NaN is neither in order nor inside.
    inside = (corners >= 0.0).all(0) & (corners <= 1.0).all(0)
    is_wrong = ~(ordered & inside)
    if is_wrong.any():
        i = int(np.argmax(is_wrong))
        text = (
            f"box {i} is [y_min, x_min, y_max, x_max] ="
            f" {corners[:, i].round(4).tolist()}, expected min below max and"
            " all within 0 and 1"
        )
        faults.append(Fault("box", int(is_wrong.sum()), text))
    return faults


def _label_text(label: int, classes: Sequence[str] | None) -> str:
    text = f"class id {label}. Ids start at 1 (0 is background and no class)"
    if classes is None:
        return text
    known = ", ".join(f"{i}={n}" for i, n in enumerate(classes, 1))
    return f"{text} and the data set has {known}"
