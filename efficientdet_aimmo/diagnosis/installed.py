"""Which TensorFlow and which CUDA are installed, without importing them."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from efficientdet_aimmo.diagnosis import asking, facts

# Every distribution that brings a package tensorflow along.
TENSORFLOWS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-cpu-aws",
    "tensorflow-gpu",
    "tensorflow-intel",
    "tensorflow-macos",
    "tensorflow-rocm",
    "intel-tensorflow",
    "intel-tensorflow-avx512",
    "tf-nightly",
    "tf-nightly-cpu",
    "tf-nightly-gpu",
)
_OTHERS = ("keras", "tensorboard")
# What TensorFlow 2.15.1 opens when it looks for GPUs, and the folder of its
# wheel. Measured: without any one of them it lists no GPU, without curand it
# does (docs/doctor.md). nvJitLink is opened by cuSOLVER and cuSPARSE.
LIBRARIES = (
    ("libcudart.so.12", "cuda_runtime"),
    ("libcublas.so.12", "cublas"),
    ("libcublasLt.so.12", "cublas"),
    ("libcudnn.so.8", "cudnn"),
    ("libcufft.so.11", "cufft"),
    ("libcusolver.so.11", "cusolver"),
    ("libcusparse.so.12", "cusparse"),
)
_DIST_INFO = re.compile(r"(.+)-([^-]+)\.dist-info")
_WANTED = re.compile(
    r"^Requires-Dist: (nvidia-[\w-]+) ?\(?==([\w.]+)\)? ?;.*and-cuda", re.M
)
_BUILD_INFO = "tensorflow/python/platform/build_info.py"


def packages(folders: Sequence[str]) -> tuple[facts.Package, ...]:
    """Returns the distributions that matter, a name twice if it is there twice.

    The folders' names say it: reading what is in them takes a second.

    Args:
      folders: where Python looks for packages, as sys.path.
    """
    found = {
        (name, version)
        for name, version, _ in _distributions(folders)
        if name in (*TENSORFLOWS, *_OTHERS) or name.startswith("nvidia-")
    }
    return tuple(facts.Package(name=n, version=v) for n, v in sorted(found))


def wanted(folders: Sequence[str]) -> tuple[facts.Package, ...]:
    """Returns NVIDIA's wheels that the installed tensorflow[and-cuda] pins."""
    for name, _, folder in _distributions(folders):
        if name == "tensorflow":
            text = (folder / "METADATA").read_text()
            return tuple(
                facts.Package(name=wheel, version=version)
                for wheel, version in sorted(_WANTED.findall(text))
            )
    return ()


def build(folders: Sequence[str]) -> facts.Build | None:
    """Returns what the TensorFlow that is found first was built for."""
    for folder in folders:
        path = pathlib.Path(folder, _BUILD_INFO)
        if path.is_file():
            return parse_build(path.read_text())
    return None


def parse_build(source: str) -> facts.Build:
    """Returns what TensorFlow's module build_info says, without running it."""
    info: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            info = dict(ast.literal_eval(node.value.args[0]))
    return facts.Build(
        is_cuda=bool(info.get("is_cuda_build")),
        cuda=str(info.get("cuda_version", "")),
        cudnn=str(info.get("cudnn_version", "")),
        capabilities=tuple(info.get("cuda_compute_capabilities", ())),
    )


def library_paths(
    folders: Sequence[str], library_path: str | None
) -> tuple[str, ...]:
    """Returns what to open: paths, and names where the system shall look.

    In the order of the dynamic linker: LD_LIBRARY_PATH, then the folders that
    TensorFlow's own libraries name (their RUNPATH: the wheels beside it), then
    the system's.

    Args:
      folders: where Python looks for packages.
      library_path: LD_LIBRARY_PATH, None if it is not set.
    """
    before = [folder for folder in (library_path or "").split(":") if folder]
    beside = [
        os.path.join(folder, "nvidia")
        for folder in folders
        if os.path.isdir(os.path.join(folder, "tensorflow"))
    ][:1]
    paths = []
    for name, wheel in LIBRARIES:
        places = [*before, *(os.path.join(f, wheel, "lib") for f in beside)]
        candidates = (os.path.join(place, name) for place in places)
        paths.append(next(filter(os.path.exists, candidates), name))
    return tuple(paths)


def probe(
    ask: asking.Ask, python: str, paths: Sequence[str]
) -> tuple[facts.Cuda, tuple[facts.Library, ...]]:
    """Returns what libcuda says, and what becomes of the libraries.

    Args:
      ask: runs a program.
      python: the interpreter.
      paths: of the libraries; none to ask libcuda alone.
    """
    script = pathlib.Path(__file__).with_name("probe.py")
    answer = ask([python, "-I", "-S", str(script), *paths])
    if answer.code != 0:
        # A library has ended the process that opened it: ask one at a time.
        error = f"opening it ends a process: {answer.fault()}"
        cuda = facts.Cuda(error=error, code=0, version="", gpus=())
        if not paths:
            return cuda, ()
        cuda, _ = probe(ask, python, ())
        return cuda, tuple(_probe_one(ask, python, path) for path in paths)
    content = json.loads(answer.output)
    gpus = tuple(facts.CudaGpu(**gpu) for gpu in content["cuda"].pop("gpus"))
    return (
        facts.Cuda(**content["cuda"], gpus=gpus),
        tuple(facts.Library(**library) for library in content["libraries"]),
    )


def _probe_one(ask: asking.Ask, python: str, path: str) -> facts.Library:
    script = pathlib.Path(__file__).with_name("probe.py")
    answer = ask([python, "-I", "-S", str(script), "--no_cuda", path])
    if answer.code == 0:
        return facts.Library(**json.loads(answer.output)["libraries"][0])
    return facts.Library(
        name=os.path.basename(path),
        path="",
        version="",
        error=f"opening it ends a process: {answer.fault()}",
    )


def _distributions(
    folders: Sequence[str],
) -> Iterator[tuple[str, str, pathlib.Path]]:
    """Yields name, version and folder of every distribution."""
    for folder in dict.fromkeys(folders):
        for path in sorted(pathlib.Path(folder).glob("*.dist-info")):
            parts = _DIST_INFO.fullmatch(path.name)
            if parts:
                name = re.sub(r"[-_.]+", "-", parts[1]).lower()
                yield name, parts[2], path
