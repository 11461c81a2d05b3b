"""Packages and libraries, in folders that stand for site-packages."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

from efficientdet_aimmo.diagnosis import asking, facts, installed
from tests.diagnosis import recorded

METADATA = """\
Metadata-Version: 2.1
Name: tensorflow
Version: 2.15.1
Requires-Dist: keras <2.16,>=2.15.0
Requires-Dist: tensorflow-intel (==2.15.1) ; platform_system == "Windows"
Provides-Extra: and-cuda
Requires-Dist: nvidia-cudnn-cu12 (==8.9.4.25) ; extra == 'and-cuda'
Requires-Dist: nvidia-cuda-runtime-cu12==12.2.140 ; extra == "and-cuda"
Requires-Dist: nvidia-thing-cu12 (==1.0) ; extra == 'other'
"""
BUILD_INFO = """\
\"\"\"Auto-generated module providing information about the build.\"\"\"
import collections

build_info = collections.OrderedDict([('cpu_compiler', 'clang'),
 ('cuda_compute_capabilities', ['sm_50', 'compute_80']),
 ('cuda_version', '12.2'), ('cudnn_version', '8'), ('is_cuda_build', True)])
"""


@pytest.fixture
def site(tmp_path: pathlib.Path) -> pathlib.Path:
    """Returns a site-packages with TensorFlow and two wheels of NVIDIA."""
    for name in (
        "tensorflow-2.15.1",
        "keras-2.15.0",
        "tensorboard-2.15.2",
        "nvidia_cudnn_cu12-8.9.4.25",
        "nvidia_cuda_runtime_cu12-12.2.140",
        "numpy-1.26.4",
    ):
        (tmp_path / f"{name}.dist-info").mkdir()
    (tmp_path / "tensorflow-2.15.1.dist-info/METADATA").write_text(METADATA)
    info = tmp_path / "tensorflow/python/platform/build_info.py"
    info.parent.mkdir(parents=True)
    info.write_text(BUILD_INFO)
    return tmp_path


def _packages(site: pathlib.Path) -> list[str]:
    return [f"{p.name} {p.version}" for p in installed.packages([str(site)])]


def test_packages(site: pathlib.Path) -> None:
    assert _packages(site) == [
        "keras 2.15.0",
        "nvidia-cuda-runtime-cu12 12.2.140",
        "nvidia-cudnn-cu12 8.9.4.25",
        "tensorboard 2.15.2",
        "tensorflow 2.15.1",
    ]
    # Installed beside it, or left of an upgrade that was interrupted.
    (site / "tf_nightly-2.16.0.dev20240101.dist-info").mkdir()
    (site / "Tensorflow-2.14.0.dist-info").mkdir()
    assert [p for p in _packages(site) if p.startswith("t")] == [
        "tensorboard 2.15.2",
        "tensorflow 2.14.0",
        "tensorflow 2.15.1",
        "tf-nightly 2.16.0.dev20240101",
    ]
    assert installed.packages([str(site / "none")]) == ()
    assert len(installed.packages([str(site), str(site)])) == 7


def test_wheels_that_tensorflow_pins(site: pathlib.Path) -> None:
    assert installed.wanted([str(site)]) == (
        facts.Package(name="nvidia-cuda-runtime-cu12", version="12.2.140"),
        facts.Package(name="nvidia-cudnn-cu12", version="8.9.4.25"),
    )
    assert installed.wanted([str(site / "none")]) == ()


def test_build(site: pathlib.Path) -> None:
    assert installed.build([str(site)]) == facts.Build(
        is_cuda=True,
        cuda="12.2",
        cudnn="8",
        capabilities=("sm_50", "compute_80"),
    )
    assert installed.build([str(site / "none")]) is None
    cpu = "import collections\nbuild_info = collections.OrderedDict([])\n"
    assert not installed.parse_build(cpu).is_cuda


def test_libraries_are_looked_for_as_the_linker_does(
    site: pathlib.Path,
) -> None:
    def paths(library_path: str | None) -> dict[str, str]:
        names = [name for name, _ in installed.LIBRARIES]
        found = installed.library_paths(["/none", str(site)], library_path)
        return dict(zip(names, found, strict=True))

    # Nothing beside TensorFlow: the system shall look.
    assert paths(None) == {name: name for name, _ in installed.LIBRARIES}
    wheel = site / "nvidia/cudnn/lib/libcudnn.so.8"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert paths(None)["libcudnn.so.8"] == str(wheel)
    other = site / "other/libcudnn.so.8"
    other.parent.mkdir()
    other.touch()
    assert paths(f"/none::{other.parent}")["libcudnn.so.8"] == str(other)
    assert paths("/none:")["libcudnn.so.8"] == str(wheel)


def test_the_probe_opens_libraries(tmp_path: pathlib.Path) -> None:
    text = tmp_path / "libcudnn.so.8"
    text.write_text("no library")
    paths = ["libm.so.6", str(text), "libnone.so.1"]
    cuda, libraries = installed.probe(asking.ask, sys.executable, paths)
    good, damaged, missing = libraries
    assert good == facts.Library(
        name="libm.so.6", path="libm.so.6", version="", error=""
    )
    assert (damaged.name, damaged.path) == ("libcudnn.so.8", "")
    assert "file too short" in damaged.error
    assert missing.error == (
        "libnone.so.1: cannot open shared object file: No such file or"
        " directory"
    )
    assert cuda.error == "" or "libcuda.so.1" in cuda.error


def _output(paths: list[str], code: int = 100) -> str:
    cuda = {"error": "", "code": code, "version": "12.2", "gpus": []}
    libraries = [
        {"name": p, "path": p, "version": "", "error": ""} for p in paths
    ]
    return json.dumps({"cuda": cuda, "libraries": libraries})


def test_a_library_that_ends_its_process_is_found() -> None:
    crash = asking.Answer(-11, "", "")
    ask = recorded.Programs(
        {
            ("python", "a.so", "b.so"): crash,
            ("python", "b.so"): crash,
            ("python", "a.so"): asking.Answer(0, _output(["a.so"]), ""),
            ("python", "probe.py"): asking.Answer(0, _output([]), ""),
        }
    )
    cuda, libraries = installed.probe(ask, "python", ["a.so", "b.so"])
    assert (cuda.code, cuda.error) == (100, "")
    assert [library.error for library in libraries] == [
        "",
        "opening it ends a process: it ended with -11, without a word",
    ]
    # libcuda itself does.
    broken = recorded.Programs({("python",): crash})
    cuda, libraries = installed.probe(broken, "python", ["a.so"])
    assert cuda.error.startswith("opening it ends a process")
    assert libraries[0].error.startswith("opening it ends a process")
