"""Puts whole groups into parts so that each part is like the whole.

A search that only moves one group at a time: groups are first dealt in a given
order, each to the part where it lowers the cost most; then the move that lowers
the cost most is made, as long as there is one; of several such searches the
best one counts. The cost is, first, a class missing from a part, and then,
summed over parts and over images and classes, (share reached - share asked)^2 /
share asked, where images count as much as all classes together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Each outweighs all that follows: a part without images, one without a class.
_NO_IMAGES = 1e9
_NO_CLASS = 1e4
_SMALLEST_GAIN = 1e-7  # a share off by .0003
_MOST_MOVES = 1000
# With few groups the search may end where no single move helps but two would;
# it then begins anew from other groups.
_STARTS = 20
_FEW_GROUPS = 1000
_DIGITS = 9  # ties must not depend on the last bits of a sum


class _Cost:
    """The cost of a part as a function of what is in it."""

    def __init__(
        self,
        totals: np.ndarray,
        targets: np.ndarray,
        priorities: np.ndarray,
    ) -> None:
        self._is_there = totals > 0
        self._totals = np.maximum(totals, 1)
        self._targets = targets
        self._priorities = priorities
        num_classes = max(1, int(self._is_there[1:].sum()))
        self._weights = np.where(self._is_there, 1.0, 0.0)
        self._weights[0] = num_classes
        self._weights /= self._weights.sum()
        self._missing = np.where(self._is_there, _NO_CLASS, 0.0)
        self._missing[0] = _NO_IMAGES

    def __call__(self, contents: np.ndarray, part: int) -> np.ndarray:
        """Returns the cost of contents [..., C] of one part."""
        off = contents / self._totals - self._targets[part]
        far = (off**2 @ self._weights) / self._targets[part]
        return far + self._priorities[part] * ((contents == 0) @ self._missing)


def divide(
    counts: np.ndarray, targets: Sequence[float], priorities: Sequence[float]
) -> np.ndarray:
    """Returns the part of each group: [G] int, indices into targets.

    Args:
      counts: [G, 1 + classes] int, each group's number of images and of objects
        per class, the groups in the order they are dealt in.
      targets: share of each part; they add up to 1.
      priorities: how bad it is that a part lacks a class, compared with the
        same for another part.
    """
    values = counts.astype(np.float64)
    cost = _Cost(
        values.sum(0), np.array(targets), np.array(priorities, np.float64)
    )
    num_starts = min(_STARTS, len(values)) if len(values) <= _FEW_GROUPS else 1
    best, lowest = np.zeros(len(values), np.int64), np.inf
    for start in range(num_starts):
        turned = np.roll(values, -start, axis=0)
        parts, total = _divide(turned, len(targets), cost)
        if total < lowest:
            best, lowest = np.roll(parts, start), total
    return best


def _divide(
    values: np.ndarray, num_parts: int, cost: _Cost
) -> tuple[np.ndarray, float]:
    """Returns the part of each group and what that costs."""
    parts = np.zeros(len(values), np.int64)
    contents = np.zeros((num_parts, values.shape[1]))
    costs = [float(cost(c, p)) for p, c in enumerate(contents)]
    for group, row in enumerate(values):
        after = [float(cost(c + row, p)) for p, c in enumerate(contents)]
        gains = np.round(np.subtract(after, costs), _DIGITS)
        part = int(np.argmin(gains))
        parts[group] = part
        contents[part] += row
        costs[part] = after[part]
    for _ in range(_MOST_MOVES):
        if not _move_best(values, parts, contents, cost):
            break
    total = sum(float(cost(c, p)) for p, c in enumerate(contents))
    return parts, round(total, _DIGITS)


def _move_best(
    values: np.ndarray, parts: np.ndarray, contents: np.ndarray, cost: _Cost
) -> bool:
    """Makes the move that lowers the cost most; tells whether there is one."""
    num_parts = len(contents)
    leaving = np.empty(len(values))
    arriving = np.empty((len(values), num_parts))
    for part in range(num_parts):
        now = cost(contents[part], part)
        inside = parts == part
        left = contents[part] - values[inside]
        leaving[inside] = cost(left, part) - now
        arriving[:, part] = cost(contents[part] + values, part) - now
    gains = np.round(leaving[:, None] + arriving, _DIGITS)
    gains[np.arange(len(values)), parts] = np.inf
    group, target = np.unravel_index(int(np.argmin(gains)), gains.shape)
    if not gains[group, target] < -_SMALLEST_GAIN:
        return False
    contents[parts[group]] -= values[group]
    contents[target] += values[group]
    parts[group] = target
    return True
