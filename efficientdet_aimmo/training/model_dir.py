"""The folder of a run: one run at a time, one configuration for ever."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from collections.abc import Iterator

from efficientdet_aimmo import checkpoint, whole
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import best, lock, monitor
from hparams import config as config_lib
from hparams import serialize
from tfrecord_tools import command, schema, storage

_CONFIG = "config.json"
_PROBE = ".probe"

# Where a run writes, beside model_dir itself; checkpoints first.
_FOLDERS = (checkpoint.FOLDER, best.FOLDER, report.FOLDER, monitor.FOLDER)

# What a resumed run may change: it alters when and how the model is measured
# and how long the run is, not what a step computes.
_FREE_SECTIONS = ("eval", "nms", "runtime")
_FREE_LEAVES = ("train.num_epochs",)
# The same in words, for the table of the start.
FREE = (
    "num_epochs",
    *(
        field.name
        for section in (config_lib.Eval, config_lib.Nms, config_lib.Runtime)
        for field in dataclasses.fields(section)
    ),
)


@contextlib.contextmanager
def in_use(model_dir: str) -> Iterator[None]:
    """Makes the folder and keeps every other run out of it.

    Raises:
      UserError: the folder cannot be written, or another run is in it.
    """
    with contextlib.ExitStack() as stack:
        with _written(model_dir):
            storage.make_folder(model_dir)
            stack.enter_context(lock.held(model_dir))
            for name in ("", *_FOLDERS):
                _check_writable(model_dir, name)
        yield


def check_usable(model_dir: str) -> None:
    """Raises UserError where in_use would; writes nothing.

    Whether an object store takes what is written only writing can tell.
    """
    with _written(model_dir):
        lock.check_free(model_dir)
        if storage.is_remote(model_dir):
            return
        below = [os.path.join(model_dir, name) for name in _FOLDERS]
        for folder in (_nearest(model_dir), *filter(os.path.lexists, below)):
            if not os.path.isdir(folder):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "Permission denied")


def _nearest(path: str) -> str:
    """Returns what is there of a path: itself, or the nearest above it."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


@contextlib.contextmanager
def _written(model_dir: str) -> Iterator[None]:
    """Turns a folder's refusal to be written into one message.

    Raises:
      UserError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--model_dir={model_dir} cannot be written ({error.strerror})."
            " Choose a folder that this user may write.",
        ) from error


def _check_writable(model_dir: str, name: str) -> None:
    """Writes a file into a folder of the run, if it is there, and removes it.

    Raises:
      OSError: it cannot be written.
    """
    folder = storage.join(model_dir, name) if name else model_dir
    # What is in a folder's place is found by writing below it.
    if name and not (storage.is_folder(folder) or storage.is_file(folder)):
        return
    path = storage.join(folder, _PROBE)
    whole.write_file(path, b"Can this be written?\n")
    storage.remove(path)


def remove_leftovers(model_dir: str) -> None:
    """Removes what a run that was killed had not finished, on a disk."""
    if storage.is_remote(model_dir):
        return
    for name in _FOLDERS[:2]:
        whole.remove_leftovers(storage.join(model_dir, name))


def free_bytes(model_dir: str) -> int | None:
    """Returns the room on the disk, None in an object store."""
    if storage.is_remote(model_dir):
        return None
    return shutil.disk_usage(_nearest(model_dir)).free


def taken_bytes(model_dir: str) -> int:
    """Returns what checkpoints take on the disk, finished or not."""
    if storage.is_remote(model_dir):
        return 0
    sizes = {}  # the best one may be a link to one of the newest
    for name in _FOLDERS[:2]:
        for folder, _, files in os.walk(os.path.join(model_dir, name)):
            for file in files:
                status = os.lstat(os.path.join(folder, file))
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def check_space(model_dir: str, checkpoint_bytes: int) -> None:
    """Raises UserError if there is no room for two checkpoints.

    The last one goes only when the next is whole, so both must fit. An object
    store has room.

    Args:
      model_dir: the run's folder.
      checkpoint_bytes: of one checkpoint.
    """
    free = free_bytes(model_dir)
    if free is not None and free < 2 * checkpoint_bytes:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--model_dir={model_dir} has {free / 2**20:.0f} MiB of room;"
            f" two checkpoints take {2 * checkpoint_bytes / 2**20:.0f} MiB."
            " Make room, or choose a folder on another disk.",
        )


def _read(path: str) -> bytes | None:
    """Returns a file's content, None without one."""
    with whole.reached(path):
        try:
            return storage.read_bytes(path)
        except FileNotFoundError:
            return None


def _is_free(name: str) -> bool:
    return name in _FREE_LEAVES or name.split(".")[0] in _FREE_SECTIONS


def read_config(model_dir: str) -> config_lib.Config | None:
    """Returns the configuration that the folder belongs to, if there is one.

    Raises:
      UserError: it cannot be read.
    """
    path = storage.join(model_dir, _CONFIG)
    content = _read(path)
    if content is None:
        return None
    try:
        return serialize.from_json(content.decode())
    except (UnicodeDecodeError, config_lib.HParamError) as error:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"{path} cannot be read as a configuration ({error}). Choose"
            " another --model_dir.",
        ) from error


def check_config(model_dir: str, config: config_lib.Config) -> list[str]:
    """Compares the configuration with the one that the folder belongs to.

    Returns:
      A line for each difference that a resumed run may have.

    Raises:
      UserError: a difference that it may not have.
    """
    before = read_config(model_dir)
    if before is None:
        return []
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
    path = storage.join(model_dir, schema.MANIFEST_NAME)
    content = _read(path)
    if content is None:
        return
    try:
        before = schema.parse_manifest(content.decode(), path)
    except (UnicodeDecodeError, schema.ManifestError) as error:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"{path} cannot be read as a manifest ({error}). Choose another"
            " --model_dir.",
        ) from error
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
        storage.join(model_dir, _CONFIG), serialize.to_json(config)
    )
    report.write_whole(
        storage.join(model_dir, schema.MANIFEST_NAME), manifest.to_json()
    )
