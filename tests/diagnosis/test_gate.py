"""Nothing computes on the CPU where nobody asked for that."""

from __future__ import annotations

import ctypes
import pathlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import tensorflow as tf

from efficientdet_aimmo.diagnosis import driver, gate, gathering
from tests.diagnosis import recorded
from tfrecord_tools import command

PLACE = gathering.Place(
    root=pathlib.Path("/none"),
    folders=(),
    python="python",
    environment={},
    disk_path=None,
)

Check = Callable[..., None]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """Returns gate.check on a recorded machine."""

    def checked(name: str, *, allow_cpu: bool, lists_gpu: bool = False) -> None:
        found = recorded.machine(name)
        monkeypatch.setattr(driver, "kernel", lambda root: found.kernel)
        monkeypatch.setattr(gathering, "gather", lambda *_, **__: found)
        gate.check(
            PLACE,
            recorded.Programs({}),
            allow_cpu=allow_cpu,
            lists_gpu=lists_gpu,
        )

    return checked


def _fault(check: Check, name: str, **given: bool) -> str:
    with pytest.raises(command.UserError) as caught:
        check(name, **{"allow_cpu": False, **given})
    assert int(caught.value.exit_code) == 69
    return str(caught.value)


def test_a_machine_without_a_gpu(check: Check) -> None:
    assert _fault(check, "no_gpu") == (
        "This machine has no GPU that TensorFlow can use.\n"
        "  GPU: none on the PCI bus. Expected an NVIDIA GPU. This VM has no GPU"
        " attached: stop it, edit it and add one (a quota for that GPU and a"
        " zone that has it are needed), or create one that has one. To compute"
        " on the CPU, give --allow_cpu.\n"
        "To compute on the CPU, give --allow_cpu. python -m"
        " efficientdet_aimmo.doctor shows the whole machine."
    )


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("driver_too_old", ["driver: 470.223.02. Expected 525.60.13 or newer"]),
        ("no_driver", ["driver: none.", "cuda_installer.pyz"]),
        ("container_without_gpus", ["container (docker): without GPU devices"]),
        ("missing_cudnn", ["libcudnn.so.8: libcudnn.so.8: cannot open"]),
        ("wrong_cuda", ["CUDA wheels: of another CUDA", "cuDNN: 8.6.0 in"]),
        ("two_tensorflows", ["TensorFlow: tensorflow 2.15.1, tensorflow-cpu"]),
        ("mig_without_instance", ["MIG: on, without an instance."]),
        ("hidden", ["CUDA_VISIBLE_DEVICES: '-1': 0 of 1 GPU."]),
        ("driver_upgraded_without_restart", ["restart the machine"]),
        # All well, and yet TensorFlow has no GPU.
        ("v100", ["All that can be asked of the driver"]),
    ],
)
def test_a_broken_machine(check: Check, name: str, parts: list[str]) -> None:
    message = _fault(check, name)
    assert all(part in message for part in parts), message
    # What concerns the CPU as well has its own checks.
    assert "\n  disk: " not in message


def test_allowed(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    check("no_gpu", allow_cpu=True)
    assert capsys.readouterr().out == ""
    check("missing_cudnn", allow_cpu=True)
    out = capsys.readouterr().out
    assert out.startswith(
        "warning: Tesla T4 is not used, TensorFlow can use no GPU; this"
        " computes on the CPU.\n  CUDA wheels: 11 of 12, without"
        " nvidia-cudnn-cu12."
    )
    check("hidden", allow_cpu=True)
    assert "Tesla V100-SXM2-16GB is not used" in capsys.readouterr().out


def test_a_gpu_that_tensorflow_would_fail_on(check: Check) -> None:
    message = _fault(check, "k80", allow_cpu=True, lists_gpu=True)
    assert "compute capability: 3.7 (Tesla K80)." in message
    assert "Hide it with CUDA_VISIBLE_DEVICES=-1 to compute on" in message


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Lets TensorFlow list a GPU; returns what gate.check is replaced by."""
    checked = mock.Mock()
    monkeypatch.setattr(gate, "check", checked)

    def list_devices(kind: str) -> list[str]:
        assert kind == "GPU"
        return ["/physical_device:GPU:0"]

    def details(_: str) -> dict[str, Any]:
        return {"compute_capability": checked.capability}

    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", list_devices)
    monkeypatch.setattr(config.experimental, "get_device_details", details)
    held = ["sm_50", "sm_60", "sm_70", "sm_75", "compute_80"]
    monkeypatch.setattr(
        tf.sysconfig,
        "get_build_info",
        lambda: {"cuda_compute_capabilities": held},
    )

    def libcuda(name: str) -> mock.Mock:
        assert name == "libcuda.so.1"
        library = mock.Mock()

        def store(version: Any) -> int:
            version._obj.value = checked.version
            return 0

        library.cuDriverGetVersion = store
        return library

    monkeypatch.setattr(ctypes, "CDLL", libcuda)
    checked.capability, checked.version = (7, 0), 12020
    return checked


@pytest.mark.parametrize(
    ("capability", "version", "asks"),
    [
        ((7, 0), 12020, False),
        ((5, 0), 12000, False),
        ((9, 0), 13000, False),
        ((3, 7), 12020, True),
        ((7, 5), 11040, True),
    ],
)
def test_a_gpu_that_is_listed(
    listed: mock.Mock,
    capability: tuple[int, int],
    version: int,
    asks: bool,
) -> None:
    listed.capability, listed.version = capability, version
    gate.require_gpu(allow_cpu=False, environment={})
    assert listed.called == asks
    if asks:
        assert listed.call_args.kwargs == {
            "allow_cpu": False,
            "lists_gpu": True,
        }


def test_without_a_gpu_it_is_checked(
    listed: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    gate.require_gpu(allow_cpu=True, environment={"A": "b"})
    (place, _), given = listed.call_args
    assert given == {"allow_cpu": True, "lists_gpu": False}
    assert place.environment == {"A": "b"}
    assert place.root == pathlib.Path("/")
