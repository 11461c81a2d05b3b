"""Opens the driver's library and those of CUDA, in a process of its own.

    python probe.py [--no_cuda] PATH...

prints JSON: what libcuda.so.1 says, and what becomes of every library. A
broken driver or library may end a process or keep its memory; it shall not be
the one that asks. Needs the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

# cuda.h, CUdevice_attribute
_MAJOR, _MINOR = 75, 76
# Functions that return a version, and those that store it.
_VERSIONS = {
    "libcudnn.so.8": ("cudnnGetVersion", False),
    "libcudart.so.12": ("cudaRuntimeGetVersion", True),
}


def cuda() -> dict[str, Any]:
    """Returns what libcuda says, in the shape of facts.Cuda."""
    found: dict[str, Any] = {"error": "", "code": 0, "version": "", "gpus": []}
    # All GPUs: what the variable hides is another question.
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return found | {"error": str(error)}
    version, count = ctypes.c_int(), ctypes.c_int()
    # It answers before cuInit, and where cuInit fails.
    if library.cuDriverGetVersion(ctypes.byref(version)) == 0:
        thousands, rest = divmod(version.value, 1000)
        found["version"] = f"{thousands}.{rest // 10}"
    found["code"] = int(library.cuInit(0))
    if found["code"] == 0:
        found["code"] = int(library.cuDeviceGetCount(ctypes.byref(count)))
    for number in range(count.value):
        found["gpus"].append(_gpu(library, number))
    return found


def _gpu(library: ctypes.CDLL, number: int) -> dict[str, Any]:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory = ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return {
        "name": name.value.decode(errors="replace"),
        "capability": f"{major.value}.{minor.value}",
        "memory_mib": memory.value // 2**20,
    }


def load(path: str) -> dict[str, str]:
    """Returns what becomes of a library, in the shape of facts.Library."""
    name = os.path.basename(path)
    found = {"name": name, "path": path, "version": "", "error": ""}
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        return found | {"path": "", "error": str(error)}
    if name in _VERSIONS:
        function, stores = _VERSIONS[name]
        found["version"] = _version(getattr(library, function), stores)
    return found


def _version(function: Any, stores: bool) -> str:
    """Returns 8.9.4 for cuDNN's 8904, 12.2 for CUDA's 12020."""
    if not stores:
        function.restype = ctypes.c_size_t
        thousands, rest = divmod(int(function()), 1000)
        return f"{thousands}.{rest // 100}.{rest % 100}"
    value = ctypes.c_int()
    function(ctypes.byref(value))
    thousands, rest = divmod(value.value, 1000)
    return f"{thousands}.{rest // 10}"


def main() -> None:
    """Prints what is found."""
    paths = [path for path in sys.argv[1:] if path != "--no_cuda"]
    found = {
        "cuda": cuda() if len(paths) == len(sys.argv) - 1 else {},
        "libraries": [load(path) for path in paths],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
