"""Commands on a recorded machine, whatever they are started on."""

from __future__ import annotations

import pytest
import tensorflow as tf

from efficientdet_aimmo.diagnosis import driver, gathering
from tests.diagnosis import recorded


def stand_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Lets gate.require_gpu find a recorded machine without a usable GPU."""
    found = recorded.machine(name)
    monkeypatch.setattr(tf.config, "list_physical_devices", _lists_cpu)
    monkeypatch.setattr(driver, "kernel", lambda root: found.kernel)
    monkeypatch.setattr(gathering, "gather", lambda *_, **__: found)


def _lists_cpu(kind: str | None = None) -> list[tf.config.PhysicalDevice]:
    if kind == "GPU":
        return []
    return [tf.config.PhysicalDevice("/physical_device:CPU:0", "CPU")]
