"""Files and folders, on this machine or in an object store.

A path is text. One with a scheme, as gs://, goes through TensorFlow's file
systems, and TensorFlow is imported only then, as every worker
process would need some 400 MB for it; all others go through the operating
system. Either way what fails raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

_NODE = re.compile(r"^\{\{.*?\}\} ")  # which operation of TensorFlow's
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_BLOCK_BYTES = 1024 * 1024
_NUM_THREADS = 32

Result = TypeVar("Result")


def is_remote(path: str) -> bool:
    """Tells whether a path has a scheme."""
    return _SCHEME.match(path) is not None


def join(folder: str, *parts: str) -> str:
    """Returns the path of something below a folder."""
    if is_remote(folder):
        return "/".join([folder.rstrip("/"), *parts])
    return os.path.join(folder, *parts)


def absolute(path: str) -> str:
    """Returns the one path that all ways to write it lead to."""
    if is_remote(path):
        scheme, rest = path.split("://", 1)
        return f"{scheme}://{os.path.normpath(rest)}"
    return os.path.realpath(path)


def _gfile() -> types.ModuleType:
    import tensorflow as tf

    gfile: types.ModuleType = tf.io.gfile
    return gfile


@contextlib.contextmanager
def as_os_errors(path: str) -> Iterator[None]:
    """Turns TensorFlow's errors on files into the system's.

    Raises:
      OSError: instead of an error of TensorFlow's.
    """
    import tensorflow as tf

    numbers = {
        tf.errors.NotFoundError: errno.ENOENT,
        tf.errors.PermissionDeniedError: errno.EACCES,
        tf.errors.AlreadyExistsError: errno.EEXIST,
        tf.errors.ResourceExhaustedError: errno.ENOSPC,
    }
    try:
        yield
    except tf.errors.OpError as error:
        number = numbers.get(type(error), errno.EIO)
        message = _NODE.sub("", error.message).split("\n")[0]
        raise OSError(number, message, path) from error


def read_bytes(path: str) -> bytes:
    """Returns a file's content."""
    if is_remote(path):
        with as_os_errors(path), _gfile().GFile(path, "rb") as file:
            return bytes(file.read())
    with open(path, "rb") as file:
        return file.read()


def read_range(path: str, offset: int, length: int) -> bytes:
    """Returns part of a file's content; less where the file ends.

    Args:
      path: the file.
      offset: bytes before the part.
      length: bytes of it.
    """
    if is_remote(path):
        with as_os_errors(path), _gfile().GFile(path, "rb") as file:
            file.seek(offset)
            return bytes(file.read(length))
    with open(path, "rb") as local:
        local.seek(offset)
        return local.read(length)


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file anew."""
    if is_remote(path):
        _make_way(path)
        with as_os_errors(path), _gfile().GFile(path, "wb") as file:
            file.write(content)
        return
    with open(path, "wb") as file:
        file.write(content)


def sha256(path: str) -> str:
    """Returns the SHA-256 of a file's content, as hex digits."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        if is_remote(path):
            stack.enter_context(as_os_errors(path))
            file = stack.enter_context(_gfile().GFile(path, "rb"))
        else:
            file = stack.enter_context(open(path, "rb"))
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def status(path: str) -> tuple[int, int]:
    """Returns a file's size in bytes and its modification time in ns."""
    if is_remote(path):
        with as_os_errors(path):
            remote = _gfile().stat(path)
            return int(remote.length), int(remote.mtime_nsec)
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns


def statuses(paths: Sequence[str]) -> Iterator[tuple[int, int] | None]:
    """Yields the status of each file; None for one that cannot be read."""
    is_slow = any(is_remote(path) for path in paths)
    yield from (_in_threads if is_slow else map)(_status_or_none, paths)


def _status_or_none(path: str) -> tuple[int, int] | None:
    try:
        return status(path)
    except OSError:
        return None


def _in_threads(
    function: Callable[[str], Result], paths: Sequence[str]
) -> Iterator[Result]:
    """Yields function(path) for each path, in order.

    For calls that wait for another machine: one after the other, 100,000 files
    would take an hour.
    """
    with futures.ThreadPoolExecutor(_NUM_THREADS) as executor:
        yield from executor.map(function, paths)


def is_file(path: str) -> bool:
    """Tells whether there is a file."""
    if is_remote(path):
        with as_os_errors(path):
            return _gfile().exists(path) and not _gfile().isdir(path)
    return os.path.isfile(path)


def is_folder(path: str) -> bool:
    """Tells whether there is a folder."""
    if is_remote(path):
        with as_os_errors(path):
            return bool(_gfile().isdir(path))
    return os.path.isdir(path)


def names(folder: str) -> list[str]:
    """Returns the names of what is in a folder, sorted; none if it is not."""
    if not is_folder(folder):
        return []
    if is_remote(folder):
        with as_os_errors(folder):
            found = _gfile().listdir(folder)
        return sorted(name.rstrip("/") for name in found)
    return sorted(os.listdir(folder))


def walk(
    folder: str, on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields each folder with the names of folders and files in it.

    The list of folders may be shortened by the caller: what is taken out is not
    entered. Linked folders are not entered.

    Args:
      folder: where to begin.
      on_error: called with what a folder that cannot be read raises.
    """
    if not is_remote(folder):
        yield from os.walk(folder, onerror=on_error)
        return
    try:
        found = names(folder)
        paths = [join(folder, name) for name in found]
        flags = _in_threads(is_folder, paths)
        folders = [n for n, flag in zip(found, flags, strict=True) if flag]
    except OSError as error:
        on_error(error)
        return
    yield folder, folders, sorted(set(found) - set(folders))
    for name in folders:
        yield from walk(join(folder, name), on_error)


def make_folder(path: str) -> None:
    """Makes a folder and those above it, unless they are there."""
    if is_remote(path):
        with as_os_errors(path):
            _gfile().makedirs(path)
        return
    os.makedirs(path, exist_ok=True)


def rename(source: str, target: str) -> None:
    """Gives a file or folder another name; replaces a file that has it.

    In one step on this machine. In an object store it is a copy and a removal:
    who reads there goes by the manifest, which comes last.
    """
    if not is_remote(source):
        os.replace(source, target)
        return
    if is_folder(source):
        for parent, _, files in walk(source, raise_error):
            below = parent[len(source) :].strip("/")
            place = join(target, below) if below else target
            make_folder(place)
            for name in files:
                rename(join(parent, name), join(place, name))
        remove_tree(source)
        return
    with as_os_errors(source):
        _gfile().rename(source, target, overwrite=True)


def _make_way(path: str) -> None:
    """Removes a file where a new one would be written behind it.

    TensorFlow's file system in memory does that. A store replaces an object in
    one step, and so it must stay: who is killed here loses nothing.
    """
    if path.startswith("ram://"):
        remove(path)


def copy(source: str, target: str) -> None:
    """Copies a file, from or to either kind of place."""
    if not is_remote(source) and not is_remote(target):
        shutil.copyfile(source, target)
        return
    _make_way(target)
    with as_os_errors(source):
        _gfile().copy(source, target, overwrite=True)


def copy_tree(source: str, target: str) -> None:
    """Copies a folder with all that is in it."""
    for parent, _, files in walk(source, raise_error):
        below = os.path.relpath(parent, source)
        place = target if below == os.curdir else join(target, below)
        make_folder(place)
        for name in files:
            copy(join(parent, name), join(place, name))


def remove(path: str) -> None:
    """Removes a file; does nothing if there is none."""
    if is_remote(path):
        if is_file(path):
            with as_os_errors(path):
                _gfile().remove(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: str) -> None:
    """Removes a folder with all that is in it; does nothing without one."""
    with contextlib.suppress(FileNotFoundError):
        if not is_remote(path):
            shutil.rmtree(path)
        elif is_folder(path):
            with as_os_errors(path):
                _gfile().rmtree(path)


def flush(path: str) -> None:
    """Waits until a file or folder is on the disk itself.

    An object is whole as soon as it can be seen.
    """
    if is_remote(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def raise_error(error: OSError) -> None:
    """Raises what a folder that cannot be read raises: for walk()."""
    raise error
