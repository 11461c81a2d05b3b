"""What machine was measured, and what others measured on one like it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform

import tensorflow as tf

# Images a second that NVIDIA's own EfficientDet-D0 trains on one GPU: 512x512,
# mixed precision, TensorFlow 2, container 22.03.
_SOURCE = (
    "github.com/NVIDIA/DeepLearningExamples,"
    " TensorFlow2/Detection/Efficientdet, README.md, 'Training Performance"
    " Results'"
)
_PUBLISHED = (
    # What the device's name has, the card measured, images/s, batch.
    ("V100", "V100-32G", 232, 64),
    ("A100", "A100-80G", 397, 200),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What there is to say of a machine.

    Attributes:
      device: what computes, in words.
      gpu: its name, empty without one.
      versions: of software, by name.
    """

    device: str
    gpu: str
    versions: dict[str, str]

    @property
    def software(self) -> str:
        """The versions in one line."""
        return ", ".join(f"{k} {v}" for k, v in self.versions.items())

    @property
    def memory_is(self) -> str:
        """What the memory of a row is."""
        if self.gpu:
            return (
                "most that TensorFlow had in use on the GPU at a time, weights"
                " and optimizer included"
            )
        return "most that the process had at a time, TensorFlow itself included"

    def published(self, verb: str) -> list[str]:
        """Returns what others measured on such a device, with the source."""
        if verb != "train":
            return []
        return [
            f"NVIDIA's EfficientDet-D0, training at 512x512, mixed precision,"
            f" one {card}, batch {batch}: {speed} images/s ({_SOURCE})"
            for name, card, speed, batch in _PUBLISHED
            if name in self.gpu
        ]


def gather(root: str) -> Facts:
    """Returns what is there.

    Args:
      root: the file system's root; "/" but in tests.
    """
    versions = {
        "TensorFlow": tf.__version__,
        "Python": platform.python_version(),
        "Linux": platform.release(),
    }
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        name = _cpu_name((pathlib.Path(root) / "proc/cpuinfo").read_text())
        count = len(os.sched_getaffinity(0))
        device = f"CPU: {name}, {count} cores that this process may use"
        return Facts(device=device, gpu="", versions=versions)
    details = tf.config.experimental.get_device_details(gpus[0])
    name = details.get("device_name", "GPU")
    built = tf.sysconfig.get_build_info()
    versions["CUDA"] = built.get("cuda_version", "unknown")
    versions["cuDNN"] = built.get("cudnn_version", "unknown")
    versions["driver"] = driver(root)
    major, minor = details.get("compute_capability", (0, 0))
    more = f", one of {len(gpus)}" if len(gpus) > 1 else ""
    device = f"GPU: {name}, compute capability {major}.{minor}{more}"
    return Facts(device=device, gpu=name, versions=versions)


def _cpu_name(text: str) -> str:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def driver(root: str) -> str:
    """Returns the version of NVIDIA's driver as the kernel's module says it."""
    path = pathlib.Path(root) / "proc/driver/nvidia/version"
    if not path.exists():
        return "unknown"
    words = path.read_text().splitlines()[0].split()
    return next((word for word in words if word[:1].isdigit()), "unknown")
