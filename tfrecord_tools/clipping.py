"""Boxes against their image's edges.

Standard library and NumPy only, as worker processes import it.
"""

from __future__ import annotations

import numpy as np

from tfrecord_tools import annotation

Box = tuple[float, float, float, float]


def clip(box: Box, height: int, width: int) -> Box:
    """Returns the part of a box that lies in an image of this size."""
    y0, x0, y1, x1 = box
    return (
        max(y0, 0.0),
        max(x0, 0.0),
        min(y1, float(height)),
        min(x1, float(width)),
    )


def fault(
    item: annotation.Object, height: int, width: int
) -> annotation.RejectedObject | None:
    """Returns what is wrong with an object's box in an image, or None."""
    y0, x0, y1, x1 = item.box
    c0, d0, c1, d1 = clip(item.box, height, width)
    if y0 >= y1 or x0 >= x1:
        reason = "zero_area"
    elif c0 >= c1 or d0 >= d1:
        reason = "outside_image"
    elif np.float32(c0 / height) == np.float32(c1 / height) or (
        np.float32(d0 / width) == np.float32(d1 / width)
    ):
        reason = "zero_area"  # in the numbers that a record can hold
    else:
        return None
    return annotation.RejectedObject(
        annotation_id=item.annotation_id,
        reason=reason,
        detail=f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g} in an image of"
        f" {width}x{height}",
    )
