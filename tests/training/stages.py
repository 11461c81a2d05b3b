"""What writing does, call by call, so that each call can be made to fail."""

from __future__ import annotations

import builtins
import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

# Everything that storage, whole and shutil write, rename and remove with.
_CALLS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("mkdir", "open", "fsync", "close", "link")),
    *((os, name) for name in ("rename", "replace", "unlink", "rmdir")),
    (builtins, "open"),
    (shutil, "copyfile"),
    (tf.raw_ops, "SaveV2"),
)
# The same in an object store.
_STORE_CALLS: tuple[tuple[Any, str], ...] = (
    *((tf.io.gfile, name) for name in ("GFile", "copy", "makedirs", "remove")),
    *((tf.io.gfile, name) for name in ("rename", "rmtree", "listdir")),
    (tf.raw_ops, "SaveV2"),
)


class Killed(BaseException):
    """Stands for a process that ends here; no handler of errors sees it."""


class _File:
    """A file being written that stops half-way to say so."""

    def __init__(self, file: Any, before: Callable[[str], None]) -> None:
        self._file, self._before = file, before

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._before("write")
        self._file.write(content[half:])


class Watch:
    """The calls of one operation.

    Attributes:
      calls: name and arguments of each, in order.
      flushed: inodes of the files and folders that were flushed.
    """

    def __init__(
        self, action: Callable[[int], None], is_store: bool = False
    ) -> None:
        self._places = _STORE_CALLS if is_store else _CALLS
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.flushed: set[int] = set()
        self._action = action
        self._is_inside = False

    def before(self, name: str, *arguments: Any) -> None:
        """Notes a call; the action gets its number, from 0, and may raise."""
        if self._is_inside:  # what the action itself does
            return
        self._is_inside = True
        try:
            self.calls.append((name, arguments))
            self._action(len(self.calls) - 1)
        finally:
            self._is_inside = False

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Any:
        def watched(*arguments: Any, **named: Any) -> Any:
            if name == "fsync":
                self.before(name, os.readlink(f"/proc/self/fd/{arguments[0]}"))
                self.flushed.add(os.fstat(arguments[0]).st_ino)
            else:
                self.before(name, *arguments, *named.values())
            result = call(*arguments, **named)
            if call is open and "w" in arguments[1:2][0]:
                return _File(result, lambda what: self.before(what))
            return result

        return watched

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watch]:
        """Sees every call."""
        with pytest.MonkeyPatch.context() as patch:
            for place, name in self._places:
                call = getattr(place, name)
                patch.setattr(place, name, self._wrapped(name, call))
            yield self


def fail_at(number: int, error: BaseException, is_store: bool = False) -> Watch:
    """Returns a watch that lets one call fail."""

    def action(index: int) -> None:
        if index == number:
            raise error

    return Watch(action, is_store)


def count(operation: Callable[[], object]) -> int:
    """Returns how many calls an operation makes."""
    with Watch(lambda _: None).watching() as watch:
        operation()
    return len(watch.calls)


def snapshots(
    folder: pathlib.Path, to: pathlib.Path, operation: Callable[[], object]
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Does an operation and copies the folder before each of its calls.

    Returns:
      Copies as a process finds them after a kill, and copies as a power cut
      may leave them: what was written and not flushed is empty.
    """
    before = {path.stat().st_ino for path in folder.rglob("*")}
    killed, cut = [], []

    def action(index: int) -> None:
        killed.append(to / f"{index}-killed")
        cut.append(to / f"{index}-cut")
        shutil.copytree(folder, killed[-1])
        shutil.copytree(folder, cut[-1])
        for path in folder.rglob("*"):
            if path.stat().st_ino not in before | watch.flushed:
                copy = cut[-1] / path.relative_to(folder)
                if copy.is_file():
                    copy.write_bytes(b"")

    with Watch(action).watching() as watch:
        operation()
    return killed, cut
