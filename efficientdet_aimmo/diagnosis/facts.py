"""What is known of a machine: plain values that go to JSON and back."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmiGpu:
    """A GPU as nvidia-smi lists it; "" where its version cannot say."""

    name: str
    driver: str
    capability: str  # as 7.0
    memory_mib: int
    mig: str  # Enabled, Disabled, or not available


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smi:
    """What nvidia-smi answers.

    Attributes:
      found: whether there is such a program.
      error: what it says instead of an answer, or "".
      gpus: what it lists.
      mig_instances: parts of GPUs that can be used, where MIG is on.
    """

    found: bool
    error: str
    gpus: tuple[SmiGpu, ...]
    mig_instances: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """What the system itself shows, in /proc, /sys and /dev.

    Attributes:
      driver: version of NVIDIA's kernel module, "" if it is not loaded.
      models: GPUs that the module drives.
      modules: those of nvidia, nvidia_uvm and nouveau that are loaded.
      pci: vendor:device of NVIDIA GPUs on the PCI bus, whoever drives them.
      nodes: names below /dev that begin with nvidia.
    """

    driver: str
    models: tuple[str, ...]
    modules: tuple[str, ...]
    pci: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CudaGpu:
    """A GPU as libcuda describes it, CUDA_VISIBLE_DEVICES left aside."""

    name: str
    capability: str
    memory_mib: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cuda:
    """What the driver's library libcuda.so.1 answers.

    Attributes:
      error: why it cannot be loaded or asked, or "".
      code: what cuInit returned; 0 if it succeeded or was not called.
      version: newest CUDA that the driver knows, as 12.2; "" if not known.
      gpus: what it lists.
    """

    error: str
    code: int
    version: str
    gpus: tuple[CudaGpu, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """An installed distribution."""

    name: str
    version: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """What the installed TensorFlow was built for; "" where it says nothing."""

    is_cuda: bool
    cuda: str
    cudnn: str
    capabilities: tuple[str, ...]  # sm_70: machine code; compute_80: also PTX


@dataclasses.dataclass(frozen=True, kw_only=True)
class Library:
    """A shared library that TensorFlow opens to use a GPU.

    Attributes:
      name: its file's name.
      path: where it was loaded from, "" if it was not or nobody tried.
      version: what it says itself, as 8.9.4; "" if it says nothing.
      error: why it cannot be loaded, or "".
    """

    name: str
    path: str
    version: str
    error: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorFlow:
    """What TensorFlow says in a process of its own.

    Attributes:
      gpus: those that it lists.
      log: what it writes on GPUs, drivers and libraries.
      error: why it cannot be imported, or "".
      tensorboard_error: why TensorBoard cannot be imported, or "".
    """

    gpus: tuple[str, ...]
    log: tuple[str, ...]
    error: str
    tensorboard_error: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """The machine around the GPU; sizes in bytes.

    Attributes:
      vendor: who made it, as the firmware says.
      architecture: as x86_64.
      cpu: its model.
      cores: those that this process may use.
      cpu_flags: those of avx, avx2 and fma that it has.
      memory_free: what this process can have.
      memory_limited_by: the system, or the control group's file.
      disk_path: where the disk was looked at.
      disk_free: what is free there; -1 if it was not looked at.
      is_disk_writable: whether files can be made there.
      shared_memory: size of /dev/shm.
      container: docker, podman, kubernetes, another container, or "".
    """

    vendor: str
    architecture: str
    cpu: str
    cores: int
    cpu_flags: tuple[str, ...]
    memory_free: int
    memory_limited_by: str
    disk_path: str
    disk_free: int
    is_disk_writable: bool
    shared_memory: int
    container: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """All of it.

    Attributes:
      variables: environment variables that decide on GPUs, where set.
      kernel: the system's view.
      smi: nvidia-smi's.
      cuda: libcuda's.
      packages: TensorFlows, Keras, TensorBoard and NVIDIA's wheels.
      wanted: NVIDIA's wheels that the installed TensorFlow asks for.
      build: what it was built for, None without a TensorFlow.
      libraries: the CUDA libraries.
      tensorflow: its own view, None if it was not asked.
      host: the rest of the machine.
    """

    variables: tuple[tuple[str, str], ...]
    kernel: Kernel
    smi: Smi
    cuda: Cuda
    packages: tuple[Package, ...]
    wanted: tuple[Package, ...]
    build: Build | None
    libraries: tuple[Library, ...]
    tensorflow: TensorFlow | None
    host: Host

    def variable(self, name: str) -> str | None:
        """Returns an environment variable, None if it is not set."""
        return dict(self.variables).get(name)


def to_json(facts: Facts) -> dict[str, Any]:
    """Returns what json.dump writes."""
    return dataclasses.asdict(facts)


def from_json(content: Any) -> Facts:
    """Returns the facts that `to_json` gave.

    Raises:
      ValueError: a name is missing, unknown, or has a value of another type.
    """
    return _read(Facts, content, "facts")


def _read(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, dict) or set(value) != set(hints):
            raise ValueError(f"{where}: expected exactly {sorted(hints)}")
        return typing.cast(Any, kind)(
            **{k: _read(h, value[k], f"{where}.{k}") for k, h in hints.items()}
        )
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list")
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        if len(arguments) != len(value):
            raise ValueError(f"{where}: expected {len(arguments)} values")
        return tuple(
            _read(a, v, where) for a, v in zip(arguments, value, strict=True)
        )
    if type(None) in arguments:
        return None if value is None else _read(arguments[0], value, where)
    if type(value) is not kind:
        raise ValueError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value
