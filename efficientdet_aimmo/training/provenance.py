"""What a run was computed with: run.json, an entry for every start."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import platform
import subprocess
from typing import Any

import tensorflow as tf

from efficientdet_aimmo import whole
from efficientdet_aimmo.evaluation import report
from tfrecord_tools import schema, storage

NAME = "run.json"

_OWN = "efficientdet-aimmo"
# What the numbers depend on.
_PACKAGES = (
    "tensorflow",
    "tensorflow-addons",
    "tf-models-official",
    "numpy",
    "pycocotools",
    "Pillow",
)
_BUILT_FROM = "COMMIT"
_DRIVER = pathlib.Path("/proc/driver/nvidia/version")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Returns the commit of the source, None where nothing says it.

    A mark says that files differ from it. Outside of a checkout it is what a
    container image was built from, which the Dockerfile writes.
    """
    package = pathlib.Path(__file__).resolve().parents[1]
    folder = package.parent
    if not (folder / ".git").exists():
        try:
            return (package / _BUILT_FROM).read_text().strip()
        except FileNotFoundError:
            return None
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with changes" if changed else commit


def _driver() -> str | None:
    try:
        return _DRIVER.read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return None


def _devices() -> list[str]:
    details = tf.config.experimental.get_device_details
    return [
        str(details(gpu).get("device_name", gpu.name))
        for gpu in tf.config.list_physical_devices("GPU")
    ] or [f"CPU {platform.processor() or platform.machine()}"]


def describe(
    step: int, threads: str, manifest: schema.Manifest, num_replicas: int
) -> dict[str, Any]:
    """Returns what a start computes with.

    Args:
      step: steps done before it.
      threads: CPU threads and oneDNN setting.
      manifest: of the records.
      num_replicas: devices that share a step, on all machines.
    """
    return {
        "step": step,
        "version": _version(_OWN),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "driver": _driver(),
        "replicas": num_replicas,
        "threads": threads,
        "records": manifest.identity,
        "shards": {
            shard.name: shard.sha256
            for split in manifest.splits.values()
            for shard in split.shards
        },
    }


def _earlier(path: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(storage.read_bytes(path))["starts"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def changes(model_dir: str, start: dict[str, Any]) -> list[str]:
    """Returns a line for everything that differs from the start before.

    Args:
      model_dir: the run's folder.
      start: what describe returned.
    """
    starts = _starts(model_dir)
    if not starts:
        return []
    before = starts[-1]
    return [
        f"{name}: {before.get(name)} -> {start[name]}"
        for name in start
        if name not in ("step", "shards") and before.get(name) != start[name]
    ]


def write(model_dir: str, start: dict[str, Any]) -> list[str]:
    """Adds a start to the run's file; returns what `changes` says of it."""
    found = changes(model_dir, start)
    content = {"starts": [*_starts(model_dir), start]}
    report.write_whole(
        storage.join(model_dir, NAME), json.dumps(content, indent=1) + "\n"
    )
    return found


def _starts(model_dir: str) -> list[dict[str, Any]]:
    path = storage.join(model_dir, NAME)
    with whole.reached(path):
        return _earlier(path)
