"""What a step of input counts as, where batches were prepared ahead."""

from __future__ import annotations

import math

import pytest

from efficientdet_aimmo.benching import measuring


class Queue:
    """Prepares eight batches in eight seconds while the first is awaited.

    The seven others are there at once.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._drawn = 0

    def take(self) -> None:
        if self._drawn % 8 == 0:
            self.now_s += 8.0
        self._drawn += 1


def test_batches_that_were_ready_do_not_count_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Queue()
    monkeypatch.setattr("time.perf_counter", lambda: queue.now_s)
    first_s, steps_s = measuring._timed(queue.take, 32, math.inf)
    assert first_s == 8.0
    assert steps_s == [1.0] * len(steps_s)
    assert len(steps_s) >= 5
    # One by one, most would be of batches that cost nothing.
    assert sorted(measuring._timed(queue.take, 1, math.inf)[1])[2] == 0.0
