"""Progress of a loop: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys

import tqdm

_NUM_LINES = 10


class Progress:
    """Reports on standard error how many images are done."""

    def __init__(self, what: str) -> None:
        """Prepares a report; `what` is the beginning of its lines."""
        self._what = what
        self._bar: tqdm.tqdm | None = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """Takes the number of images done so far, and of all."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm.tqdm(total=total, desc=self._what, unit="img")
            self._bar.update(done - self._done)
            if done >= total:
                self._bar.close()
        elif done * _NUM_LINES // total > self._done * _NUM_LINES // total:
            line = f"{self._what}: {done} of {total} images"
            print(line, file=sys.stderr, flush=True)
        self._done = done
