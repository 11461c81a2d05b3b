"""A GPU that the system shows and TensorFlow cannot use stops the run."""

from __future__ import annotations

import pathlib

import pytest

from efficientdet_aimmo import devices
from tfrecord_tools import command


def test_gpus_are_found_without_tensorflow(tmp_path: pathlib.Path) -> None:
    assert devices.system_gpus(str(tmp_path)) == []
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert devices.system_gpus(str(tmp_path)) == ["nvidia0", "nvidia1"]
    card = tmp_path / "proc/driver/nvidia/gpus/0000:00:04.0"
    card.mkdir(parents=True)
    assert devices.system_gpus(str(tmp_path)) == ["0000:00:04.0"]


@pytest.mark.parametrize("visible", [None, "0", "0,1"])
def test_unusable_gpu_is_refused(visible: str | None) -> None:
    with pytest.raises(command.UserError) as caught:
        devices.check_gpus(["nvidia0"], visible, usable=0)
    assert int(caught.value.exit_code) == 69
    message = str(caught.value)
    assert "shows 1 GPU (nvidia0), TensorFlow 2.15" in message
    assert "can use none" in message
    assert "nvidia-smi" in message
    assert "CUDA_VISIBLE_DEVICES=-1" in message


@pytest.mark.parametrize(
    ("shown", "visible", "usable"),
    [
        ([], None, 0),  # a machine without a GPU
        (["nvidia0"], None, 1),  # it is used
        (["nvidia0"], "-1", 0),  # hidden on purpose
        (["nvidia0"], "", 0),
    ],
)
def test_what_is_meant_goes_on(
    shown: list[str], visible: str | None, usable: int
) -> None:
    devices.check_gpus(shown, visible, usable)


def test_description_names_the_device() -> None:
    assert devices.describe(1).startswith(("CPU, ", "1 GPU: "))
