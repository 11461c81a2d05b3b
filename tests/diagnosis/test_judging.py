"""Rows that no recorded machine has, and the rules behind them."""

from __future__ import annotations

import dataclasses

import pytest

from efficientdet_aimmo.diagnosis import (
    facts,
    judging,
    judging_gpu,
    needs,
    rows,
)
from tests.diagnosis import recorded

HELD = ("sm_50", "sm_60", "sm_70", "sm_75", "compute_80")


@pytest.mark.parametrize(
    ("capability", "has_code"),
    [
        ("3.7", False),
        ("5.0", True),
        ("5.2", True),  # machine code of its major version, not above it
        ("6.1", True),
        ("7.0", True),
        ("7.2", True),
        ("7.5", True),
        ("8.0", False),
        ("8.9", False),
        ("9.0", False),
        ("10.0", False),
    ],
)
def test_machine_code(capability: str, has_code: bool) -> None:
    assert judging_gpu.has_machine_code(capability, HELD) == has_code


def test_what_a_build_needs() -> None:
    assert judging_gpu.least_capability(HELD) == (5, 0)
    assert judging_gpu.needed_capabilities(HELD) == (
        "5.0 or newer (PTX from 8.0)"
    )
    assert judging_gpu.needed_capabilities(("sm_60", "sm_70")) == "6.0 to 7.0"
    assert not judging_gpu.has_machine_code("7.2", ("sm_75",))


@pytest.mark.parametrize(
    ("given", "count", "seen"),
    [
        ("0", 1, 1),
        ("0,1", 2, 2),
        ("1", 1, 0),
        ("0,7,1", 2, 1),
        ("-1", 2, 0),
        ("", 2, 0),
        ("NoDevFiles", 2, 0),
        ("GPU-5c0a", 2, 1),
        ("MIG-0b1e", 1, 1),
    ],
)
def test_visible_devices(given: str, count: int, seen: int) -> None:
    assert judging_gpu.num_visible(given, count) == seen


def test_versions_compare_as_numbers() -> None:
    assert needs.numbers("525.60.13") > needs.numbers("525.9")
    assert needs.numbers("470.223.02") < needs.numbers(needs.DRIVER)
    assert needs.numbers("12.2") < needs.numbers("12.10")
    assert needs.numbers(needs.DRIVER) < needs.numbers(needs.PTX_DRIVER)


def _rows(name: str, **changes: object) -> dict[str, rows.Row]:
    found = dataclasses.replace(recorded.machine(name), **changes)  # type: ignore[arg-type]
    return {row.what: row for row in judging.judge(found).rows}


def _with_driver(name: str, driver: str) -> dict[str, rows.Row]:
    found = recorded.machine(name)
    kernel = dataclasses.replace(found.kernel, driver=driver)
    return _rows(name, kernel=kernel)


def _with_cuda(name: str, **changes: object) -> dict[str, rows.Row]:
    cuda = dataclasses.replace(recorded.machine(name).cuda, **changes)  # type: ignore[arg-type]
    return _rows(name, cuda=cuda)


@pytest.mark.parametrize(
    ("driver", "verdict"),
    [("525.60.13", "ok"), ("525.60.12", "broken"), ("580.1", "ok")],
)
def test_least_driver(driver: str, verdict: str) -> None:
    found = recorded.machine("driver_too_old")  # its libcuda is old, too
    kernel = dataclasses.replace(found.kernel, driver=driver)
    row = _rows("driver_too_old", kernel=kernel)["driver"]
    assert row.verdict == verdict


def test_code_from_ptx_needs_a_newer_driver() -> None:
    what = "compute capability"
    row = _with_driver("a100", "525.147.05")[what]
    assert row.verdict == "warning"
    assert "install 530.30.02 or newer" in row.what_to_do
    assert _with_driver("a100", "530.30.02")[what].verdict == "ok"
    assert _with_driver("v100", "525.147.05")[what].verdict == "ok"
    row = _rows("a100", variables=(("CUDA_CACHE_DISABLE", "1"),))[what]
    assert row.verdict == "warning"
    row = _rows("a100", variables=(("CUDA_CACHE_PATH", "/cache"),))[what]
    assert "kept in /cache" in row.found


def test_forward_compatibility() -> None:
    row = _with_driver("v100", "470.223.02")["driver"]
    assert row.verdict == "ok"
    assert "forward compatibility" in row.found


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (35, "branch 535 or newer"),
        (46, "nvidia-smi -c DEFAULT"),
        (100, "dmesg"),
        (802, "nvidia-fabricmanager"),
        (803, "restart the machine"),
        (804, "cuda-compat"),
        (999, "dmesg"),
        (1234, "dmesg"),
    ],
)
def test_what_to_do_about_an_error_of_cuda(code: int, todo: str) -> None:
    row = _with_cuda("v100", code=code, gpus=())["libcuda"]
    assert row.verdict == "broken"
    assert f"error {code}: " in row.found
    assert todo in row.what_to_do


def test_uvm_is_not_loaded() -> None:
    found = recorded.machine("v100")
    kernel = dataclasses.replace(
        found.kernel, nodes=("nvidia0", "nvidiactl"), modules=("nvidia",)
    )
    cuda = dataclasses.replace(found.cuda, code=999, gpus=())
    row = _rows("v100", kernel=kernel, cuda=cuda)["libcuda"]
    assert "sudo modprobe nvidia_uvm" in row.what_to_do


def test_libcuda_without_a_gpu_or_not_there() -> None:
    row = _with_cuda("v100", gpus=())["libcuda"]
    assert (row.verdict, row.found) == ("broken", "CUDA 12.2, lists no GPU")
    row = _with_cuda("v100", error="libcuda.so.1: none", gpus=())["libcuda"]
    assert "Install the driver's libraries" in row.what_to_do
    row = _with_cuda("container", error="none", gpus=())["libcuda"]
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in row.what_to_do


def test_nouveau() -> None:
    found = recorded.machine("no_driver")
    kernel = dataclasses.replace(found.kernel, modules=("nouveau",))
    row = _rows("no_driver", kernel=kernel)["driver"]
    assert row.found == "nouveau, which knows no CUDA"


def test_nvidia_smi_alone_is_no_need() -> None:
    smi = facts.Smi(found=False, error="", gpus=(), mig_instances=0)
    assert _rows("v100", smi=smi)["nvidia-smi"].verdict == "warning"


@pytest.mark.parametrize("name", ["v100", "container"])
def test_a_gpu_that_was_lost(name: str) -> None:
    error = "Failed to initialize NVML: Unknown Error"
    smi = facts.Smi(found=True, error=error, gpus=(), mig_instances=0)
    row = _rows(name, smi=smi)["nvidia-smi"]
    assert row.verdict == "broken"
    lost = "lost its devices" in row.what_to_do
    assert lost == (name == "container")


def test_a_container_without_compute() -> None:
    given = (("NVIDIA_DRIVER_CAPABILITIES", "utility"),)
    row = _rows("container", variables=given)["container (docker)"]
    assert row.verdict == "broken"
    assert row.found == "NVIDIA_DRIVER_CAPABILITIES=utility"


def test_a_sandbox_that_hides_files_but_has_a_gpu() -> None:
    found = recorded.machine("container")
    kernel = facts.Kernel(driver="", models=(), modules=(), pci=(), nodes=())
    smi = facts.Smi(found=False, error="", gpus=(), mig_instances=0)
    judged = _rows("container", kernel=kernel, smi=smi)
    assert judged["container (docker)"].verdict == "ok"
    assert judged["driver"].found == "there, its version is hidden"
    old = dataclasses.replace(found.cuda, version="11.4")
    judged = _rows("container", kernel=kernel, smi=smi, cuda=old)
    assert judged["libcuda"].verdict == "broken"


def test_several_gpus_in_a_container_need_shared_memory() -> None:
    two = recorded.machine("container").cuda.gpus * 2
    row = _with_cuda("container", gpus=two)["/dev/shm"]
    assert (row.verdict, row.found) == ("warning", "67 MB")
    assert "--shm-size=1g" in row.what_to_do
    assert "/dev/shm" not in _rows("container")
    row = _with_cuda("v100", gpus=two)["/dev/shm"]
    assert row.verdict == "ok"


def _without_wheels(name: str, *, changed: str = "") -> tuple[object, ...]:
    return tuple(
        dataclasses.replace(p, version=changed) if changed else p
        for p in recorded.machine(name).packages
        if changed or "nvidia" not in p.name
    )


def test_cuda_of_the_system_will_do() -> None:
    found = recorded.machine("v100")
    libraries = tuple(
        dataclasses.replace(i, path=i.name) for i in found.libraries
    )
    judged = _rows(
        "v100", packages=_without_wheels("v100"), libraries=libraries
    )
    assert judged["CUDA wheels"].verdict == "warning"
    assert "found elsewhere" in judged["CUDA wheels"].what_to_do
    assert judged["CUDA libraries"].found == "all 7, of the system"


def test_other_versions_of_the_wheels() -> None:
    found = recorded.machine("v100")
    packages = tuple(
        dataclasses.replace(p, version="9.1.0.70")
        if p.name == "nvidia-cudnn-cu12"
        else p
        for p in found.packages
    )
    row = _rows("v100", packages=packages)["CUDA wheels"]
    assert row.verdict == "warning"
    assert row.found == "other versions: nvidia-cudnn-cu12 9.1.0.70"


def _packages(name: str, **versions: str | None) -> tuple[facts.Package, ...]:
    kept = [
        p for p in recorded.machine(name).packages if p.name not in versions
    ]
    more = [facts.Package(name=n, version=v) for n, v in versions.items() if v]
    return (*kept, *more)


@pytest.mark.parametrize(
    ("versions", "what", "verdict", "todo"),
    [
        ({"tensorflow": None}, "TensorFlow", "broken", "pip install"),
        ({"tensorflow": "2.16.1"}, "TensorFlow", "broken", "pip uninstall"),
        ({"keras": "3.3.3"}, "Keras", "broken", "keras==2.15.*"),
        ({"keras": None}, "Keras", "broken", "keras==2.15.*"),
        ({"keras": "2.15.1"}, "Keras", "ok", ""),
        ({"tensorboard": None}, "TensorBoard", "warning", "tensorboard=="),
    ],
)
def test_packages(
    versions: dict[str, str | None], what: str, verdict: str, todo: str
) -> None:
    row = _rows("v100", packages=_packages("v100", **versions))[what]
    assert row.verdict == verdict
    assert todo in row.what_to_do
    assert not row.is_gpu


def test_a_tensorflow_for_the_cpu() -> None:
    build = facts.Build(is_cuda=False, cuda="", cudnn="", capabilities=())
    row = _rows("v100", build=build)["TensorFlow"]
    assert (row.verdict, row.is_gpu) == ("broken", True)
    assert row.found == "tensorflow 2.15.1, built for the CPU alone"


def test_tensorflow_leaves_one_out() -> None:
    two = recorded.machine("v100").cuda.gpus * 2
    row = _with_cuda("v100", gpus=two)["TensorFlow's view"]
    assert (row.verdict, row.needed) == ("warning", "2 GPU")
    found = recorded.machine("v100")
    cuda = dataclasses.replace(found.cuda, gpus=two)
    given = (("CUDA_VISIBLE_DEVICES", "1"),)
    row = _rows("v100", cuda=cuda, variables=given)["TensorFlow's view"]
    assert row.verdict == "ok"


def test_tensorboard_that_cannot_be_imported() -> None:
    seen = recorded.machine("v100").tensorflow
    assert seen is not None
    broken = dataclasses.replace(seen, tensorboard_error="no module x")
    row = _rows("v100", tensorflow=broken)["TensorBoard"]
    assert (row.verdict, row.found) == (
        "warning",
        "2.15.2, cannot be imported: no module x",
    )
