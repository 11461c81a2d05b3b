"""The folder of a run: one run at a time, one configuration for ever."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator

from efficientdet_aimmo.evaluation import report
from hparams import config as config_lib
from hparams import serialize
from tfrecord_tools import command, schema

_CONFIG = "config.json"
_LOCK = ".lock"

# What a resumed run may change: it alters when and how the model is measured
# and how long the run is, not what a step computes.
_FREE_SECTIONS = ("eval", "nms", "runtime")
_FREE_LEAVES = ("train.num_epochs",)


@contextlib.contextmanager
def in_use(model_dir: str) -> Iterator[None]:
    """Makes the folder and keeps every other run out of it.

    Raises:
      UserError: the folder cannot be written, or another run is in it.
    """
    try:
        os.makedirs(model_dir, exist_ok=True)
        lock = os.open(
            os.path.join(model_dir, _LOCK), os.O_RDWR | os.O_CREAT, 0o644
        )
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--model_dir={model_dir} cannot be written ({error.strerror})."
            " Choose a folder that this user may write.",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise command.UserError(
                command.ExitCode.EXISTS,
                f"--model_dir={model_dir} is in use by another run. Wait for"
                " it, or choose another folder.",
            ) from error
        yield
    finally:
        os.close(lock)


def check_space(model_dir: str, checkpoint_bytes: int) -> None:
    """Raises UserError if there is no room for two checkpoints.

    The last one goes only when the next is whole, so both must fit.

    Args:
      model_dir: the run's folder, there already.
      checkpoint_bytes: of one checkpoint.
    """
    free = shutil.disk_usage(model_dir).free
    if free < 2 * checkpoint_bytes:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--model_dir={model_dir} has {free / 2**20:.0f} MiB of room;"
            f" two checkpoints take {2 * checkpoint_bytes / 2**20:.0f} MiB."
            " Make room, or choose a folder on another disk.",
        )


def _is_free(name: str) -> bool:
    return name in _FREE_LEAVES or name.split(".")[0] in _FREE_SECTIONS


def check_config(model_dir: str, config: config_lib.Config) -> list[str]:
    """Compares the configuration with the one that the folder belongs to.

    Returns:
      A line for each difference that a resumed run may have.

    Raises:
      UserError: a difference that it may not have.
    """
    path = os.path.join(model_dir, _CONFIG)
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding="utf-8") as file:
            before = serialize.from_json(file.read())
    except (OSError, config_lib.HParamError) as error:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"{path} cannot be read as a configuration ({error}). Choose"
            " another --model_dir.",
        ) from error
    differences = serialize.diff(before, config)
    fixed = [str(d) for d in differences if not _is_free(d.name)]
    if fixed:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"--model_dir={model_dir} belongs to a run with another"
            " configuration (there -> here):\n  "
            + "\n  ".join(fixed)
            + "\nGive the same settings to go on, or choose another folder.",
        )
    return [str(difference) for difference in differences]


def check_data(model_dir: str, manifest: schema.Manifest) -> None:
    """Raises UserError if the folder belongs to a run on other records."""
    path = os.path.join(model_dir, schema.MANIFEST_NAME)
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        before = schema.parse_manifest(file.read(), path)
    if before.identity != manifest.identity:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"--model_dir={model_dir} belongs to a run on other records (data"
            f" set {before.identity[:12]}, given {manifest.identity[:12]})."
            " Give the same records to go on, or choose another folder.",
        )


def save_config(
    model_dir: str, config: config_lib.Config, manifest: schema.Manifest
) -> None:
    """Writes config.json and dataset.json, each whole or not at all."""
    report.write_whole(
        os.path.join(model_dir, _CONFIG), serialize.to_json(config)
    )
    report.write_whole(
        os.path.join(model_dir, schema.MANIFEST_NAME), manifest.to_json()
    )
