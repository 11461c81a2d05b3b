"""What TensorFlow 2.15.1 needs, with the sources of the numbers."""

from __future__ import annotations

TENSORFLOW = "2.15.1"
KERAS = "2.15"  # 3 is another library under the same name
INSTALL = f"pip install 'tensorflow[and-cuda]=={TENSORFLOW}'"

# The build's CUDA, where no TensorFlow says it.
CUDA = "12.2"
# NVIDIA's CUDA 12 release notes, table "CUDA Toolkit and Minimum Required
# Driver Version for CUDA Minor Version Compatibility": CUDA 12.x on Linux.
DRIVER = "525.60.13"
CUDA_OF_DRIVER = "12.0"
# That compatibility is of machine code alone. Some kernels of the wheel are
# PTX ISA 8.1 without machine code for compute capability 8.0 and newer; 8.1
# came with CUDA 12.1 (PTX ISA manual, release notes), whose first driver this
# is (release notes, "CUDA Toolkit and Corresponding Driver Versions").
# Counted in libtensorflow_cc.so.2, see docs/doctor.md.
PTX_DRIVER = "530.30.02"

# Branch 470 is the last for Kepler, 3.x (NVIDIA's data centre drivers, release
# notes of 470 and of 495 on).
OLDEST_IN_NEW_DRIVERS = (5, 0)

# Measured: python -m efficientdet_aimmo.train of D0 at 256x256 with batches
# of 4 takes 2.0 GiB (README, Before a long run).
MEMORY = 4 * 2**30
# Four checkpoints of D0 take 221 MiB (the same place).
DISK_LEAST = 256 * 2**20
DISK = 2 * 2**30
# NCCL's manual, Troubleshooting, Docker: containers get 64 MB by default.
SHARED_MEMORY = 1000**3

# What the compiler of the wheel took for granted; without it the import ends
# with SIGILL. oneDNN looks for the others itself.
CPU_FLAG = "avx"
FAST_CPU_FLAGS = ("avx2", "fma")

# Some of what has class 03 on the bus, as pci.ids names it: the GPUs of Google
# Cloud, and those that its machines had.
PCI_NAMES = {
    "10de:102d": "Tesla K80",
    "10de:15f8": "Tesla P100-PCIE-16GB",
    "10de:1bb3": "Tesla P4",
    "10de:1db1": "Tesla V100-SXM2-16GB",
    "10de:1db4": "Tesla V100-PCIE-16GB",
    "10de:1eb8": "Tesla T4",
    "10de:20b0": "A100-SXM4-40GB",
    "10de:20b2": "A100-SXM4-80GB",
    "10de:2330": "H100-SXM5-80GB",
    "10de:27b8": "L4",
}

# cuda.h, CUresult: what cuInit and cuDeviceGetCount return on broken machines.
CUDA_ERRORS = {
    3: "not initialized",
    35: "the driver is too old",
    46: "the devices are busy or not available",
    100: "no device",
    101: "invalid device",
    304: "a call of the system failed",
    802: "the system is not ready",
    803: "driver and library do not fit",
    804: "forward compatibility is not for this hardware",
    999: "unknown error",
}


def numbers(version: str) -> tuple[int, ...]:
    """Returns (525, 60, 13) for 525.60.13, so that versions compare."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
