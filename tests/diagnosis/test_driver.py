"""What is read from raw outputs of nvidia-smi and raw system files."""

from __future__ import annotations

import pathlib

import pytest

from efficientdet_aimmo.diagnosis import asking, driver, facts
from tests.diagnosis import recorded

_QUERY = "--query-gpu=name,driver_version,memory.total"
_ALL = f"{_QUERY},mig.mode.current,compute_cap"


def _smi(*told: tuple[str, asking.Answer]) -> recorded.Programs:
    return recorded.Programs({("nvidia-smi", key): a for key, a in told})


def _says(output: str, code: int = 0, errors: str = "") -> asking.Answer:
    return asking.Answer(code, output, errors)


def _gpu(
    name: str, version: str, capability: str, memory_mib: int, mig: str
) -> facts.SmiGpu:
    return facts.SmiGpu(
        name=name,
        driver=version,
        capability=capability,
        memory_mib=memory_mib,
        mig=mig,
    )


def test_two_gpus() -> None:
    found = driver.smi(
        _smi(
            (
                _ALL,
                _says(
                    "Tesla V100-SXM2-16GB, 535.183.01, 16384, [N/A], 7.0\n"
                    "NVIDIA A100-SXM4-40GB, 535.183.01, 40960, Disabled, 8.0\n"
                ),
            )
        )
    )
    assert found == facts.Smi(
        found=True,
        error="",
        gpus=(
            _gpu("Tesla V100-SXM2-16GB", "535.183.01", "7.0", 16384, ""),
            _gpu(
                "NVIDIA A100-SXM4-40GB", "535.183.01", "8.0", 40960, "Disabled"
            ),
        ),
        mig_instances=0,
    )


def test_older_versions_are_asked_for_less() -> None:
    # Each knows no field of the one before.
    refused = _says('Field "compute_cap" is not a valid field to query.\n', 2)
    ask = recorded.Programs(
        {
            ("nvidia-smi", "compute_cap"): refused,
            ("nvidia-smi", "mig.mode"): _says(
                "Tesla T4, 470.223.02, 15109, [N/A]\n"
            ),
        }
    )
    assert driver.smi(ask).gpus == (
        _gpu("Tesla T4", "470.223.02", "", 15109, ""),
    )
    refused = _says('Field "mig.mode.current" is not a valid field to query.')
    ask = recorded.Programs(
        {
            ("nvidia-smi", "mig.mode"): refused,
            ("nvidia-smi", _QUERY): _says("Tesla T4, 418.67, 15079\n"),
        }
    )
    assert driver.smi(ask).gpus == (_gpu("Tesla T4", "418.67", "", 15079, ""),)
    assert len(ask.asked) == 3


def test_no_nvidia_smi() -> None:
    found = driver.smi(recorded.Programs({}))
    assert found == facts.Smi(found=False, error="", gpus=(), mig_instances=0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            _says(
                "NVIDIA-SMI has failed because it couldn't communicate with the"
                " NVIDIA driver. Make sure that the latest NVIDIA driver is"
                " installed and running.\n\n",
                9,
            ),
            "NVIDIA-SMI has failed because it couldn't communicate with the"
            " NVIDIA driver. Make sure that the latest NVIDIA driver is"
            " installed and running.",
        ),
        (
            _says(
                "Failed to initialize NVML: Driver/library version mismatch\n"
                "NVML library version: 535.183\n",
                18,
            ),
            "Failed to initialize NVML: Driver/library version mismatch NVML"
            " library version: 535.183",
        ),
        (_says("No devices were found\n", 6), "No devices were found"),
        # Some versions succeed with it.
        (_says("No devices were found\n"), "No devices were found"),
        (_says(""), "it lists no GPU"),
        (_says("", -11), "it ended with -11, without a word"),
        (
            _says("", 1, "no answer within 180 s"),
            "no answer within 180 s",
        ),
    ],
)
def test_what_nvidia_smi_says_instead(
    answer: asking.Answer, error: str
) -> None:
    found = driver.smi(_smi((_ALL, answer)))
    assert (found.found, found.error, found.gpus) == (True, error, ())


@pytest.mark.parametrize(
    ("listing", "count"),
    [
        ("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c0a)\n", 0),
        (
            "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c0a)\n"
            "  MIG 3g.20gb     Device  0: (UUID: MIG-0b1e)\n"
            "  MIG 3g.20gb     Device  1: (UUID: MIG-77c2)\n"
            "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-9d2f)\n"
            "  MIG 7g.40gb     Device  0: (UUID: MIG-1a9d)\n",
            3,
        ),
    ],
)
def test_mig_instances(listing: str, count: int) -> None:
    table = "NVIDIA A100-SXM4-40GB, 535.183.01, 40960, Enabled, 8.0\n"
    ask = _smi((_ALL, _says(table)), ("-L", _says(listing)))
    found = driver.smi(ask)
    assert found.gpus[0].mig == "Enabled"
    assert found.mig_instances == count


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun"
            " May 12 19:39:15 UTC 2024\nGCC version:  gcc version 12.3.0\n",
            "535.183.01",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90.07"
            "  Release Build  (dvs-builder@U16-I1-N07-12-3)\n",
            "550.90.07",
        ),
        ("GCC version:  gcc version 12.3.0\n", ""),
        ("", ""),
    ],
)
def test_version_of_the_kernel_module(text: str, version: str) -> None:
    assert driver.parse_module_version(text) == version


def _write(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_system_without_a_gpu(tmp_path: pathlib.Path) -> None:
    found = driver.kernel(
        _write(
            tmp_path,
            {
                "proc/modules": "virtio_net 61440 0 - Live 0x0\n",
                # A network card of Google, a sound card of NVIDIA.
                "sys/bus/pci/devices/0000:00:03.0/vendor": "0x1ae0\n",
                "sys/bus/pci/devices/0000:00:03.0/class": "0x020000\n",
                "sys/bus/pci/devices/0000:00:03.0/device": "0x0042\n",
                "sys/bus/pci/devices/0000:01:00.1/vendor": "0x10de\n",
                "sys/bus/pci/devices/0000:01:00.1/class": "0x040300\n",
                "sys/bus/pci/devices/0000:01:00.1/device": "0x10f8\n",
            },
        )
    )
    assert found == facts.Kernel(
        driver="", models=(), modules=(), pci=(), nodes=()
    )
    assert not driver.is_shown(found)
    assert not driver.is_shown(driver.kernel(tmp_path / "none"))


def test_system_with_a_gpu(tmp_path: pathlib.Path) -> None:
    card = "sys/bus/pci/devices/0000:00:04.0"
    folder = "proc/driver/nvidia"
    root = _write(
        tmp_path,
        {
            f"{card}/vendor": "0x10de\n",
            f"{card}/class": "0x030200\n",
            f"{card}/device": "0x1db1\n",
        },
    )
    bare = driver.kernel(root)
    assert bare.pci == ("10de:1db1",)
    assert driver.is_shown(bare)
    _write(
        tmp_path,
        {
            "proc/modules": "nvidia_uvm 4661248 0 - Live 0x0 (POE)\n"
            "nvidia 62541824 2 nvidia_uvm,nvidia_modeset, Live 0x0 (POE)\n",
            f"{folder}/version": "NVRM version: NVIDIA UNIX x86_64 Kernel"
            " Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n",
            f"{folder}/gpus/0000:00:04.0/information": "Model: \t\t Tesla"
            " V100-SXM2-16GB\nIRQ:   \t\t 36\n",
            "dev/nvidia0": "",
            "dev/nvidiactl": "",
            "dev/null": "",
        },
    )
    assert driver.kernel(root) == facts.Kernel(
        driver="535.183.01",
        models=("Tesla V100-SXM2-16GB",),
        modules=("nvidia", "nvidia_uvm"),
        pci=("10de:1db1",),
        nodes=("nvidia0", "nvidiactl"),
    )
