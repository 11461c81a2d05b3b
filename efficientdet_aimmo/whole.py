"""Files and folders that are whole or absent, wherever the writing ends.

On this machine what is new is written beside its place, flushed and renamed;
what is old is renamed before it is removed. An object store has no renaming in
one step, but an object can be seen only when all of it is there. So a folder's
files are written in their place there, and its meta.json, which holds the
checksums of all, comes last and goes first: without it there is no folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfrecord_tools import command, storage

META = "meta.json"
_FILES = "files"  # in META: the checksum of every other file
_CHECKSUM = "checksum"  # in META: of its own text without this last field
_WRITING = ".writing-"
_REMOVING = ".removing-"


class DamageError(ValueError):
    """A folder that is damaged, or was never one of these."""


@contextlib.contextmanager
def reached(path: str) -> Iterator[None]:
    """Turns an object store's refusals to be read into one message.

    Raises:
      UserError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise _unreached(path, error) from error


def write_file(path: str, content: bytes) -> None:
    """Writes a file anew; the old one is there until the new one is whole.

    Raises:
      OSError: the disk is full or not writable; the old file is intact.
    """
    folder, name = os.path.split(path)
    if storage.is_remote(path):
        storage.write_bytes(path, content)
        return
    _make_folder(folder or os.curdir)
    # With the process's number, as not all who write here hold a lock.
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        storage.write_bytes(beside, content)
        storage.flush(beside)
        os.rename(beside, path)
    except OSError:
        _give_room_back(beside)
        raise
    storage.flush(folder or os.curdir)


def write_folder(
    path: str, content: Mapping[str, Any], write: Callable[[str], None]
) -> None:
    """Makes a folder of files and META; replaces one that is there.

    Args:
      path: the folder.
      content: what META holds beside the checksums.
      write: gets a folder and writes all files but META into it.

    Raises:
      OSError: the disk is full or not writable; no folder of that name is left.
    """

    def fill(folder: str) -> None:
        write(folder)
        _write_meta(folder, content)

    _place(path, fill)


def copy_folder(source: str, target: str) -> None:
    """Copies a folder that write_folder made; replaces one that is there.

    The copy takes no room where the disk has links.

    Raises:
      OSError: the disk is full or not writable; no folder of that name is left.
    """

    def fill(folder: str) -> None:
        names = [n for n in storage.names(source) if n != META]
        for name in [*names, META]:
            _copy(storage.join(source, name), storage.join(folder, name))

    _place(target, fill)


def read_folder(path: str) -> dict[str, Any]:
    """Returns what a folder's META holds after checking every file.

    Raises:
      DamageError: the folder is damaged, or write_folder did not make it.
      UserError: the object store cannot be reached.
    """
    is_remote = storage.is_remote(path)
    try:
        content = _read_meta(storage.join(path, META))
        for name, expected in content[_FILES].items():
            if storage.sha256(storage.join(path, name)) != expected:
                raise DamageError(
                    f"{path}/{name} is damaged: its checksum differs."
                )
        return content
    except OSError as error:
        # What a store does not hand out now is there all the same; what this
        # machine's own disk does not is lost.
        if is_remote and error.errno != errno.ENOENT:
            raise _unreached(path, error) from error
        raise _not_whole(path, error) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_whole(path, error) from error


def has_meta(path: str) -> bool:
    """Returns whether a folder has its META, without which it is none."""
    return storage.is_file(storage.join(path, META))


def remove_folder(path: str) -> None:
    """Removes a folder; does nothing without one.

    Raises:
      OSError: it cannot be removed; it may be gone in part, but is no folder
        of that name, or without META, then.
    """
    if storage.is_remote(path):
        storage.remove(storage.join(path, META))
        storage.remove_tree(path)
        return
    parent, name = os.path.split(path)
    aside = os.path.join(parent, _REMOVING + name)
    storage.remove_tree(aside)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
    storage.remove_tree(aside)


def remove_leftovers(parent: str) -> None:
    """Removes what runs that were killed left beside the folders."""
    for name in storage.names(parent):
        if name.startswith((".writing", _REMOVING)):
            storage.remove_tree(storage.join(parent, name))


def _place(path: str, fill: Callable[[str], None]) -> None:
    if storage.is_remote(path):
        remove_folder(path)
        storage.make_folder(path)
        fill(path)
        return
    parent, name = os.path.split(path)
    _make_folder(parent)
    remove_leftovers(parent)
    beside = os.path.join(parent, _WRITING + name)
    os.mkdir(beside)
    try:
        fill(beside)
        for file in storage.names(beside):
            storage.flush(os.path.join(beside, file))
        storage.flush(beside)
        remove_folder(path)
        os.rename(beside, path)
    except OSError:
        _give_room_back(beside)
        raise
    storage.flush(parent)


def _make_folder(path: str) -> None:
    """Makes a local folder so that its name survives a power cut, too."""
    if not os.path.isdir(path):
        above = os.path.dirname(os.path.abspath(path))
        _make_folder(above)
        os.mkdir(path)
        storage.flush(above)


def _give_room_back(path: str) -> None:
    """Removes what could not be finished; a disk that refuses that is told."""
    with contextlib.suppress(OSError):  # the first error says it
        if os.path.isdir(path):
            storage.remove_tree(path)
        else:
            storage.remove(path)


def _copy(source: str, target: str) -> None:
    if not storage.is_remote(target):
        try:
            os.link(source, target)
        except OSError:  # a file system without links, or its limit
            storage.copy(source, target)
        return
    storage.copy(source, target)


def _write_meta(folder: str, content: Mapping[str, Any]) -> None:
    files = {
        name: storage.sha256(storage.join(folder, name))
        for name in storage.names(folder)
    }
    text = _with_checksum({**content, _FILES: files})
    storage.write_bytes(storage.join(folder, META), text)


def _with_checksum(content: Mapping[str, Any]) -> bytes:
    """Returns META's text, whose last field is the checksum of the others."""
    checksum = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, _CHECKSUM: checksum}).encode()


def _read_meta(path: str) -> dict[str, Any]:
    """Returns META's content; the first versions wrote no checksum of it."""
    text = storage.read_bytes(path)
    try:
        content: dict[str, Any] = json.loads(text)
        if not isinstance(content, dict):
            raise TypeError("it is no object")
    except (ValueError, RecursionError, TypeError) as error:
        raise _not_whole(path, error) from error
    is_old = content.pop(_CHECKSUM, None) is None
    # To the letter, so that no bit of the file may differ.
    if not is_old and _with_checksum(content) != text:
        raise DamageError(f"{path} is damaged: its checksum differs.")
    return content


def _unreached(path: str, error: OSError) -> command.UserError:
    return command.UserError(
        command.ExitCode.DISK,
        f"{path} cannot be read ({error.strerror}). Check that it can be"
        " reached and that this user may read it, and give the same command.",
    )


def _not_whole(path: str, error: Exception) -> DamageError:
    return DamageError(
        f"{path} is no whole checkpoint ({type(error).__name__}: {error})."
    )
