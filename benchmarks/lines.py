"""A straight line through measured points, and where they leave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NUM_FITTED = 3
MOST_OFF = 0.1  # of the line


class Line(NamedTuple):
    """What is there at nothing, and what one more takes."""

    fixed: float
    slope: float

    def at(self, x: float) -> float:
        """Returns the line's value."""
        return self.fixed + self.slope * x


def fit(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """Returns the line through the first points, each as important.

    The least squares are of what is missed for the point's own value, so a
    small point counts as much as a large one.
    """
    x, y = (np.array(values[:NUM_FITTED], float) for values in (xs, ys))
    columns = np.stack([1.0 / y, x / y], axis=1)
    (fixed, slope), *_ = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)
    return Line(float(fixed), float(slope))


def off(line: Line, x: float, y: float) -> float:
    """Returns by which share of the line a point is above it."""
    return y / line.at(x) - 1.0


def leaves_at(
    line: Line, xs: Sequence[float], ys: Sequence[float]
) -> float | None:
    """Returns the first point from which all are off the line, or None."""
    first = None
    for x, y in zip(xs, ys, strict=True):
        if abs(off(line, x, y)) <= MOST_OFF:
            first = None
        elif first is None:
            first = x
    return first
