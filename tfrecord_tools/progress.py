"""Shows how far a loop is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

Value = TypeVar("Value")

_NUM_LINES = 10


def shown(values: Iterable[Value], total: int, what: str) -> Iterator[Value]:
    """Yields the values and reports on standard error how many have passed.

    Args:
      values: what is gone through.
      total: how many there are.
      what: what is being done, the line's beginning.
    """
    if sys.stderr.isatty():
        yield from tqdm.tqdm(values, total=total, desc=what)
        return
    for number, value in enumerate(values, start=1):
        yield value
        if number * _NUM_LINES // total > (number - 1) * _NUM_LINES // total:
            print(f"{what}: {number} of {total}", file=sys.stderr, flush=True)
