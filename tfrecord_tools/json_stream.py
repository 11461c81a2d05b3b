"""Reads a JSON object of long lists item by item, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

_CHUNK = 1 << 20
_AFTER = tuple(" \t\r\n,:]}")  # what may follow a value
_SPACE = re.compile(r"[ \t\r\n]*")


class _Reader:
    """A window over a text file that moves on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._is_end = False

    def _more(self) -> None:
        rest = self._text[self._at :]
        # At least as much again: a long value is not scanned too often.
        block = self._file.read(max(_CHUNK, len(rest)))
        self._is_end = not block
        self._text, self._at = rest + block, 0

    def peek(self) -> str:
        """Returns the next character that is no space, "" at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._text) or self._is_end:
                return self._text[self._at : self._at + 1]
            self._more()

    def take(self, expected: str) -> str:
        """Returns the next character, one of those expected.

        Raises:
          ValueError: it is another one.
        """
        found = self.peek()
        if not found or found not in expected:
            raise ValueError(f"one of {expected!r} expected, found {found!r}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Returns the next value, whole.

        Raises:
          ValueError: there is none.
        """
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._is_end:
                    raise
            else:
                # A number may go on beyond the window's end: 1 of 1.5, cut
                # before or behind the point.
                if self._text[end : end + 1] in _AFTER or self._is_end:
                    self._at = end
                    return value
            self._more()


def items(file: TextIO) -> Iterator[tuple[str, Any]]:
    """Yields key and item for every item of the lists in a JSON object.

    A value that is no list is yielded whole.

    Raises:
      ValueError: the text is not a JSON object.
    """
    reader = _Reader(file)
    reader.take("{")
    if reader.peek() == "}":
        return
    while True:
        key = reader.value()
        if not isinstance(key, str):
            raise ValueError(f"a key expected, found {key!r}")
        reader.take(":")
        if reader.peek() == "[":
            for item in _list_items(reader):
                yield key, item
        else:
            yield key, reader.value()
        if reader.take(",}") == "}":
            return


def _list_items(reader: _Reader) -> Iterator[Any]:
    reader.take("[")
    if reader.peek() == "]":
        reader.take("]")
        return
    while True:
        yield reader.value()
        if reader.take(",]") == "]":
            return
