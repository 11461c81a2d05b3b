"""CPU, memory, disk, and whether all this is a container."""

from __future__ import annotations

import os
import pathlib
import platform
import re
import shutil
from collections.abc import Mapping

from efficientdet_aimmo import host_memory
from efficientdet_aimmo.diagnosis import facts

_CPU_FLAGS = ("avx", "avx2", "fma")
_CONTAINER_GROUPS = re.compile(r"docker|kubepods|containerd|lxc|podman")


def host(
    root: pathlib.Path, environment: Mapping[str, str], disk_path: str | None
) -> facts.Host:
    """Returns the machine around the GPU.

    Args:
      root: the file system's root; "/" but in tests.
      environment: the process's environment variables.
      disk_path: a folder that there is or that will be made; None if nothing
        is written to this machine's disk.
    """
    model, flags = parse_cpu(_text(root / "proc/cpuinfo"))
    room = host_memory.room(root)
    folder = None if disk_path is None else _standing(pathlib.Path(disk_path))
    shared = root / "dev/shm"
    return facts.Host(
        vendor=_text(root / "sys/class/dmi/id/product_name").strip(),
        architecture=platform.machine(),
        cpu=model,
        cores=len(os.sched_getaffinity(0)),
        cpu_flags=flags,
        memory_free=room.free,
        memory_limited_by=room.limited_by,
        disk_path="" if disk_path is None else disk_path,
        disk_free=-1 if folder is None else shutil.disk_usage(folder).free,
        is_disk_writable=folder is not None and os.access(folder, os.W_OK),
        shared_memory=shutil.disk_usage(shared).total if shared.is_dir() else 0,
        container=container(root, environment),
    )


def parse_cpu(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns model and flags in /proc/cpuinfo."""
    model, flags = "", set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        if key.strip() == "flags":
            flags = set(value.split())
            break  # the other cores have the same
    return model, tuple(flag for flag in _CPU_FLAGS if flag in flags)


def container(root: pathlib.Path, environment: Mapping[str, str]) -> str:
    """Returns what kind of container this process runs in, "" for none."""
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    found = _CONTAINER_GROUPS.search(_text(root / "proc/1/cgroup"))
    return found.group() if found else ""


def _standing(path: pathlib.Path) -> pathlib.Path:
    """Returns the path, or the nearest folder above it that there is."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
