"""The output folder: one writer at a time, and only whole files in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from tfrecord_tools import command, schema

_PARTIAL = ".partial"
_OWN_NAME = re.compile(
    r"(train|val)(-\d{5}-of-\d{5}\.tfrecord|\.json)|dataset\.json"
    r"|report\.html"
)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the folder for one conversion and makes it if it is missing.

    Raises:
      command.UserError: another conversion holds it, or it cannot be made.
    """
    is_new = not folder.exists()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
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
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


@contextlib.contextmanager
def disk_errors(folder: pathlib.Path) -> Iterator[None]:
    """Turns the system's refusals to write into one message.

    Raises:
      command.UserError: a system call failed.
    """
    try:
        yield
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"{folder} cannot be written: {error.strerror}"
            f" ({error.filename or 'while writing'}). Make room or choose"
            " another --output_dir, and run the same command again.",
        ) from error


@contextlib.contextmanager
def partial(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives an empty folder inside the output folder, removed at the end."""
    path = folder / _PARTIAL
    with disk_errors(folder):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _own_names(folder: pathlib.Path) -> list[str]:
    return sorted(
        p.name for p in folder.iterdir() if _OWN_NAME.fullmatch(p.name)
    )


def is_done(
    folder: pathlib.Path, arguments: Mapping[str, Any], overwrite: bool
) -> bool:
    """Tells whether the folder holds what these arguments would write.

    Args:
      folder: the output folder, locked.
      arguments: as they will stand in the manifest.
      overwrite: whether other content may be replaced.

    Raises:
      command.UserError: it holds something else, and overwrite is not set.
    """
    _remove_unfinished(folder)
    names = _own_names(folder)
    if not names or overwrite:
        return False
    why = f"it holds {names[0]} and no {schema.MANIFEST_NAME}"
    if schema.MANIFEST_NAME in names:
        path = folder / schema.MANIFEST_NAME
        try:
            manifest = schema.parse_manifest(path.read_text(), str(path))
            why = _difference(folder, manifest, arguments)
        except (schema.ManifestError, ValueError) as error:
            why = str(error)
    if why:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"--output_dir={folder} is not empty and is not replaced: {why}."
            " Choose another folder, or give --overwrite to replace the data"
            " set in this one.",
        )
    return True


def _difference(
    folder: pathlib.Path,
    manifest: schema.Manifest,
    arguments: Mapping[str, Any],
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
    for name, part in manifest.splits.items():
        for shard in part.shards:
            path = folder / shard.name
            if not path.is_file() or path.stat().st_size != shard.bytes:
                return f"its shard {shard.name} is missing or was changed"
        if not (folder / f"{name}.json").is_file():
            return f"its {name}.json is missing"
    return ""


def _remove_unfinished(folder: pathlib.Path) -> None:
    """Removes what a conversion that was killed while renaming left behind."""
    manifest = folder / _PARTIAL / schema.MANIFEST_NAME
    if not manifest.is_file() or (folder / schema.MANIFEST_NAME).exists():
        return
    written = schema.parse_manifest(manifest.read_text(), str(manifest))
    with disk_errors(folder):
        for name in _names(written):
            (folder / name).unlink(missing_ok=True)


def _names(manifest: schema.Manifest) -> list[str]:
    shards = [s.name for part in manifest.splits.values() for s in part.shards]
    truths = [f"{name}.json" for name in manifest.splits]
    return [*shards, *truths, schema.REPORT_NAME]


def commit(
    folder: pathlib.Path, partial: pathlib.Path, manifest: schema.Manifest
) -> None:
    """Moves a finished data set to its final names, the manifest last.

    Args:
      folder: the output folder; its older data set, if any, is removed.
      partial: where the files are.
      manifest: what is there.

    Raises:
      command.UserError: the disk refuses.
    """
    with disk_errors(folder):
        written = partial / (schema.MANIFEST_NAME + ".part")
        written.write_text(manifest.to_json())
        names = _names(manifest)
        for path in [written, *(partial / name for name in names)]:
            flush(path)
        # From here on the names in it are known to be ours.
        os.replace(written, partial / schema.MANIFEST_NAME)
        # The old manifest goes first: without it nothing is a data set.
        (folder / schema.MANIFEST_NAME).unlink(missing_ok=True)
        for name in _own_names(folder):
            (folder / name).unlink()
        for name in [*names, schema.MANIFEST_NAME]:
            os.replace(partial / name, folder / name)
        flush(folder)


def flush(path: pathlib.Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
