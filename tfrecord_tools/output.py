"""The output folder: one writer at a time, and only whole files in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tfrecord_tools import command, data_set, journal, schema, storage

_ASIDE = ".aside"


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Holds the folder for one conversion and makes it if it is missing.

    Raises:
      command.UserError: another conversion holds it, or it cannot be made.
    """
    is_new = not storage.is_folder(folder)
    with data_set.disk_errors(folder):
        storage.make_folder(folder)
    try:
        if storage.is_remote(folder):
            print(
                f"note: {folder} cannot be locked, as object stores know no"
                " locks. Run one conversion at a time in it."
            )
            yield
        else:
            with _lock(folder):
                yield
    finally:
        if is_new and not storage.names(folder):
            storage.remove_tree(folder)


@contextlib.contextmanager
def _lock(folder: str) -> Iterator[None]:
    with data_set.disk_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            # On the folder itself: no file is left behind, and the system lets
            # go of it however this process ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise command.UserError(
                command.ExitCode.EXISTS,
                f"--output_dir={folder} is in use by another conversion. Wait"
                " until it is done, or choose another folder.",
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def partial(folder: str) -> Iterator[str]:
    """Gives the folder inside the output folder where files are made.

    It is removed at the end, unless a stop leaves finished shards in it.
    """
    path = storage.join(folder, data_set.PARTIAL)
    with data_set.disk_errors(folder), journal.kept_if_of_use(path):
        yield path


@contextlib.contextmanager
def aside(folder: str) -> Iterator[str]:
    """Gives a place inside the output folder for what is set aside meanwhile.

    It is made by who needs it and removed at the end.
    """
    path = storage.join(folder, _ASIDE)
    storage.remove_tree(path)  # of a run that was killed
    try:
        yield path
    finally:
        storage.remove_tree(path)


def is_done(
    folder: str,
    arguments: Mapping[str, Any],
    wanted: tuple[str, ...],
    overwrite: bool,
) -> bool:
    """Tells whether the folder holds what these arguments would write.

    Args:
      folder: the output folder, locked.
      arguments: as they will stand in the manifest.
      wanted: names of formats.FORMATS.
      overwrite: whether other content may be replaced.

    Raises:
      command.UserError: it holds something else, and overwrite is not set; or
        a folder that is no data set's is in the way.
    """
    with data_set.disk_errors(folder):
        data_set.undo_moves(folder)
        names = data_set.own_names(folder)
    manifest, why = data_set.read_manifest(folder, names)
    if manifest is not None:
        why = _difference(folder, manifest, arguments)
    if names and not why:
        # Asked for again, it may be replaced, but need not be.
        return not overwrite
    if names and not overwrite:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"--output_dir={folder} is not empty and is not replaced: {why}."
            " Choose another folder, or give --overwrite to replace the data"
            " set in this one.",
        )
    _check_others(folder, data_set.folders(wanted), manifest)
    return False


def _check_others(
    folder: str, wanted: list[str], manifest: schema.Manifest | None
) -> None:
    """Checks that no folder of somebody else's would be replaced."""
    ours = [] if manifest is None else data_set.folders(manifest.formats)
    there = set(storage.names(folder))
    for name in wanted:
        if name in there and name not in ours:
            raise command.UserError(
                command.ExitCode.EXISTS,
                f"--output_dir={folder} holds {name}, which is no data set's"
                f" and would be replaced by this one's {name}. Choose another"
                " folder, or move it away.",
            )


def _difference(
    folder: str, manifest: schema.Manifest, arguments: Mapping[str, Any]
) -> str:
    """Returns how a finished data set differs from these arguments, or ""."""
    # As JSON, because the manifest's went through it.
    now = json.loads(json.dumps(arguments))
    before = manifest.arguments
    changed = [
        name
        for name in sorted({*now, *before})
        if now.get(name) != before.get(name)
    ]
    if changed == ["input_fingerprint"]:
        return "its input files have changed since it was written"
    if changed:
        return (
            "it was written with other arguments ("
            + "; ".join(
                f"{name} {before.get(name)!r}, now {now.get(name)!r}"
                for name in changed
                if name != "input_fingerprint"
            )
            + ")"
        )
    for part in manifest.splits.values():
        for shard in part.shards:
            path = storage.join(folder, shard.name)
            if not storage.is_file(path) or (
                storage.status(path)[0] != shard.bytes
            ):
                return f"its shard {shard.name} is missing or was changed"
    there = set(storage.names(folder))
    for name in data_set.names(manifest):
        if name not in there:
            return f"its {name} is missing"
    return ""
