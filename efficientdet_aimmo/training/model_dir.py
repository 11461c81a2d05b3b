"""The folder of a run: one run at a time, one configuration for ever."""

from __future__ import annotations

import contextlib
import dataclasses
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
        try:
            storage.make_folder(model_dir)
            stack.enter_context(lock.held(model_dir))
            for name in ("", *_FOLDERS):
                _check_writable(model_dir, name)
        except OSError as error:
            raise command.UserError(
                command.ExitCode.DISK,
                f"--model_dir={model_dir} cannot be written ({error.strerror})."
                " Choose a folder that this user may write.",
            ) from error
        yield


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


def check_space(model_dir: str, checkpoint_bytes: int) -> None:
    """Raises UserError if there is no room for two checkpoints.

    The last one goes only when the next is whole, so both must fit. What a run
    that was killed had not finished goes first. An object store has room.

    Args:
      model_dir: the run's folder, there already.
      checkpoint_bytes: of one checkpoint.
    """
    if storage.is_remote(model_dir):
        return
    for name in _FOLDERS[:2]:
        whole.remove_leftovers(storage.join(model_dir, name))
    free = shutil.disk_usage(model_dir).free
    if free < 2 * checkpoint_bytes:
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
