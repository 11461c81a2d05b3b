"""Holds Python's garbage collector back while much is made that stays."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Nothing is searched for garbage inside.

    Of what imports, variables and graphs leave in memory nearly nothing is
    garbage, and the collector goes over all of it again and again: a sixth of
    the time to a training's first step. It does so afterwards.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
