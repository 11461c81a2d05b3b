"""The start's table names what the run computes on."""

from __future__ import annotations

from efficientdet_aimmo import devices


def test_description_names_the_device() -> None:
    assert devices.describe(1).startswith(("CPU, ", "1 GPU here: "))
