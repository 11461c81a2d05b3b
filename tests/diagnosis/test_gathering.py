"""A machine put together from raw files and raw outputs."""

from __future__ import annotations

import json
import pathlib

import pytest

from efficientdet_aimmo.diagnosis import (
    asking,
    facts,
    gathering,
    host,
    judging,
)
from tests.diagnosis import recorded

CPUINFO = (
    "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\n"
    "flags\t\t: fpu sse4_2 avx avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n"
)
# As TensorFlow 2.15.1 writes it at level 0, with dso_loader=1.
LOG = """\
2026-11-28 09:31:33.567296: I external/local_tsl/tsl/platform/default/dso_loader.cc:63] Could not load dynamic library 'libnvinfer.so.8.6.1'; dlerror: libnvinfer.so.8.6.1: cannot open shared object file: No such file or directory
2026-11-28 09:31:33.700000: E external/local_xla/xla/stream_executor/cuda/cuda_dnn.cc:9261] Unable to register cuDNN factory: Attempting to register factory for plugin cuDNN when one has already been registered
2026-11-28 09:31:36.431212: I external/local_tsl/tsl/platform/default/dso_loader.cc:57] Successfully opened dynamic library libcuda.so.1
2026-11-28 09:31:36.604022: I external/local_tsl/tsl/platform/default/dso_loader.cc:63] Could not load dynamic library 'libcudnn.so.8'; dlerror: libcudnn.so.8: cannot open shared object file: No such file or directory
2026-11-28 09:31:36.604086: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2256] Cannot dlopen some GPU libraries. Please make sure the missing libraries mentioned above are installed properly if you would like to use GPU.
2026-11-28 09:31:36.604087: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2256] Cannot dlopen some GPU libraries. Please make sure the missing libraries mentioned above are installed properly if you would like to use GPU.
Skipping registering GPU devices...
"""  # noqa: E501
SAID = (
    "Could not load dynamic library 'libcudnn.so.8'; dlerror: libcudnn.so.8:"
    " cannot open shared object file: No such file or directory",
    "Cannot dlopen some GPU libraries. Please make sure the missing libraries"
    " mentioned above are installed properly if you would like to use GPU.",
)


def _place(root: pathlib.Path, **environment: str) -> gathering.Place:
    for name, text in {
        "proc/cpuinfo": CPUINFO,
        "proc/meminfo": "MemTotal: 31457280 kB\nMemAvailable: 29360128 kB\n",
        "sys/class/dmi/id/product_name": "Google Compute Engine\n",
        "sys/bus/pci/devices/0000:00:04.0/vendor": "0x10de\n",
        "sys/bus/pci/devices/0000:00:04.0/class": "0x030200\n",
        "sys/bus/pci/devices/0000:00:04.0/device": "0x1eb8\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel"
        " Module  550.90.07  Fri May 31 09:35:42 UTC 2024\n",
        "dev/nvidiactl": "",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return gathering.Place(
        root=root,
        folders=(),
        python="python",
        environment={"HOME": "/root", **environment},
        disk_path=str(root / "model" / "new"),
    )


def _programs(log: str = "", code: int = 0) -> recorded.Programs:
    gpu = {"name": "Tesla T4", "capability": "7.5", "memory_mib": 14930}
    cuda = {"error": "", "code": 0, "version": "12.4", "gpus": [gpu]}
    seen = {"gpus": ["Tesla T4"], "tensorboard_error": ""}
    return recorded.Programs(
        {
            ("nvidia-smi",): asking.Answer(
                0, "Tesla T4, 550.90.07, 15360, [N/A], 7.5\n", ""
            ),
            ("python", "tensorflow_probe.py"): asking.Answer(
                code, f"hello\n{json.dumps(seen)}\n", log
            ),
            ("python", "probe.py"): asking.Answer(
                0, json.dumps({"cuda": cuda, "libraries": []}), ""
            ),
        }
    )


def test_a_whole_machine(tmp_path: pathlib.Path) -> None:
    place = _place(tmp_path, CUDA_VISIBLE_DEVICES="0")
    ask = _programs(LOG)
    found = gathering.gather(place, ask, with_tensorflow=True)
    assert found.variables == (("CUDA_VISIBLE_DEVICES", "0"),)
    assert found.kernel.driver == "550.90.07"
    assert found.smi.gpus[0].memory_mib == 15360
    assert found.cuda.gpus[0] == facts.CudaGpu(
        name="Tesla T4", capability="7.5", memory_mib=14930
    )
    assert found.build is None
    assert found.tensorflow == facts.TensorFlow(
        gpus=("Tesla T4",), log=SAID, error="", tensorboard_error=""
    )
    assert found.host.vendor == "Google Compute Engine"
    assert found.host.cpu == "Intel(R) Xeon(R) CPU @ 2.00GHz"
    assert found.host.cpu_flags == ("avx", "avx2", "fma")
    assert found.host.memory_free == 28 * 2**30
    assert found.host.disk_free > 0  # of the folder above it that there is
    assert found.host.is_disk_writable
    assert found.host.container == ""
    assert facts.from_json(json.loads(json.dumps(facts.to_json(found))))
    assert judging.judge(found).rows[0].found == "Tesla T4, 15 GiB"


def test_tensorflow_is_left_out(tmp_path: pathlib.Path) -> None:
    ask = _programs()
    found = gathering.gather(_place(tmp_path), ask, with_tensorflow=False)
    assert found.tensorflow is None
    assert all("tensorflow_probe.py" not in asked for asked in ask.asked)


def test_a_tensorflow_that_cannot_be_imported(tmp_path: pathlib.Path) -> None:
    ask = _programs("Traceback\nImportError: numpy\n", code=1)
    found = gathering.gather(_place(tmp_path), ask, with_tensorflow=True)
    assert found.tensorflow is not None
    assert found.tensorflow.error == "ImportError: numpy"
    row = next(
        r for r in judging.judge(found).rows if r.what == "TensorFlow's view"
    )
    assert (row.verdict, row.is_gpu) == ("broken", False)
    assert row.found == "it cannot be imported: ImportError: numpy"


@pytest.mark.parametrize(
    ("files", "environment", "kind"),
    [
        ({}, {}, ""),
        ({"proc/1/cgroup": "0::/init.scope\n"}, {}, ""),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "h"}, "kubernetes"),
        ({"proc/1/cgroup": "4:memory:/kubepods/pod1\n"}, {}, "kubepods"),
    ],
)
def test_container(
    tmp_path: pathlib.Path,
    files: dict[str, str],
    environment: dict[str, str],
    kind: str,
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert host.container(tmp_path, environment) == kind


def test_programs_are_asked() -> None:
    answer = asking.ask(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert answer == asking.Answer(3, "out\n", "err\n")
    assert answer.fault() == "out err"
    assert asking.ask(["/none/program"]) == asking.Answer(None, "", "")
