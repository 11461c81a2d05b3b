"""One record, and what is wrong with it by itself.

Imports no TensorFlow, as worker processes import it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from tfrecord_tools import image_checks, object_faults, schema

_ONE = {
    schema.ENCODED: "bytes",
    schema.FORMAT: "bytes",
    schema.FILENAME: "bytes",
    schema.SOURCE_ID: "bytes",
    schema.SHA256: "bytes",
    schema.HEIGHT: "int64",
    schema.WIDTH: "int64",
}
_CORNERS = (schema.YMIN, schema.XMIN, schema.YMAX, schema.XMAX)
_PER_OBJECT = {
    **dict.fromkeys(_CORNERS, "float"),
    schema.LABEL: "int64",
    schema.TEXT: "bytes",
    schema.AREA: "float",
    schema.IS_CROWD: "int64",
    schema.DIFFICULT: "int64",
    schema.TRUNCATED: "int64",
}
KEYS = {**_ONE, **_PER_OBJECT}
# Without these nothing can be trained on; labels and boxes may be absent where
# there are no objects.
NEEDED = (schema.ENCODED, schema.SOURCE_ID)
_WHOLE_NUMBER = re.compile(rb"[0-9]{1,18}")


class Record(NamedTuple):
    """A record as it is on disk.

    Attributes:
      place: a number that the caller knows it by.
      shard: name of its file.
      number: its place there, from 0.
      features: kind and values by key.
    """

    place: int
    shard: str
    number: int
    features: dict[str, tuple[str, list[Any]]]

    @property
    def source_id(self) -> int | None:
        """The image's number; None if there is no whole number."""
        kind, values = self.features.get(schema.SOURCE_ID, ("", []))
        text = values[0] if kind == "bytes" and values else b""
        return int(text) if _WHOLE_NUMBER.fullmatch(text) else None


class Fault(NamedTuple):
    """What is wrong with a record; `text` says where, too."""

    kind: str
    text: str
    is_warning: bool


def where(shard: str, number: int, name: str) -> str:
    """Returns where a record is, for a message; numbers count from 0."""
    return f"{shard}, record {number}" + (f" ({name})" if name else "")


def _shown(content: bytes) -> str:
    return repr(content.decode(errors="backslashreplace"))


class Examination:
    """The faults of one record, collected.

    Attributes:
      name: the image's file name, or what else tells records apart.
      faults: those that were found.
    """

    def __init__(self, record: Record, is_ours: bool) -> None:
        """Starts with no fault.

        Args:
          record: the record.
          is_ours: whether a conversion of these tools wrote it: all keys must
            be there, and what is a warning in other tools' is an error.
        """
        self._features = record.features
        self._is_ours = is_ours
        self.faults: list[Fault] = []
        self.name = ""
        self.name = self.text(schema.FILENAME) or (
            f"source_id {self.text(schema.SOURCE_ID) or '?'}"
        )
        self._where = where(record.shard, record.number, self.name)

    def fault(self, kind: str, text: str, is_warning: bool = False) -> None:
        """Enters a fault; `kind` is one of findings.TITLES."""
        sentence = f"{self._where}: {text}"
        self.faults.append(Fault(kind, sentence, is_warning))

    def values(self, key: str) -> list[Any]:
        """Returns the key's values, [] if it is absent or of another type."""
        kind, values = self._features.get(key, ("", []))
        return values if kind == KEYS[key] else []

    def text(self, key: str) -> str:
        """Returns the first value as text, "" without one."""
        values = self.values(key)
        return values[0].decode(errors="backslashreplace") if values else ""

    def number(self, key: str) -> int | None:
        """Returns the first value, None without one."""
        values = self.values(key)
        return values[0] if values else None

    def keys(self) -> tuple[str, ...]:
        """Checks which keys there are; returns those missing."""
        missing = []
        for key, kind in KEYS.items():
            found, values = self._features.get(key, ("", []))
            if not found:
                missing.append(key)
                if self._is_ours or key in NEEDED:
                    self.fault("key_missing", f"{key} is missing")
            elif found != kind:
                self.fault("key_type", f"{key} holds {found}, not {kind}")
            elif key in _ONE and len(values) != 1:
                text = f"{key} holds {len(values)} values, expected one"
                self.fault("key_type", text)
        return tuple(missing)

    def objects(self, classes: tuple[str, ...] | None) -> np.ndarray:
        """Checks the objects; returns the boxes, [N, 4] in sides."""
        labels = np.array(self.values(schema.LABEL), np.int64)
        corners = [self.values(key) for key in _CORNERS]
        lengths = {len(values) for values in corners}
        if len(lengths) > 1:
            text = ", ".join(map(str, map(len, corners)))
            self.fault("lengths", f"ymin, xmin, ymax, xmax hold {text} values")
            return np.zeros((0, 4))
        array = np.array(corners, np.float64).reshape(4, -1)
        texts = self.values(schema.TEXT)
        for fault in object_faults.find(labels, array, classes):
            detail = fault.text
            if fault.kind == "class_id_0" and len(texts) == len(labels):
                first = texts[int(np.argmax(labels == 0))]
                detail += f" (its text is {_shown(first)})"
            if fault.number > 1:
                detail += f"; {fault.number} of its {len(labels)} objects"
            self.fault(fault.kind, detail)
        for key in _PER_OBJECT:
            number = len(self.values(key))
            is_absent = number == 0 and not self._is_ours
            if key in _CORNERS or number == len(labels) or is_absent:
                continue
            self.fault(
                "lengths", f"{key} holds {number} values for {len(labels)} ids"
            )
        return array.T

    def class_texts(self, classes: tuple[str, ...]) -> None:
        """Checks that each object's text is the name of its id."""
        labels = self.values(schema.LABEL)
        for label, content in zip(
            labels, self.values(schema.TEXT), strict=False
        ):
            if not 1 <= label <= len(classes):
                continue  # a fault already
            expected = classes[label - 1]
            if content != expected.encode():
                self.fault(
                    "class_text",
                    f"class id {label} is called {_shown(content)}, and is"
                    f" {expected!r} in the data set",
                )
                return

    def image(self) -> image_checks.Image | None:
        """Checks the image against what the record says of it."""
        content = self.values(schema.ENCODED)
        if len(content) != 1:
            return None
        found = image_checks.decode(content[0])
        if found.fault:
            self.fault("image", found.fault)
        said = self.text(schema.FORMAT).lower().replace("jpg", "jpeg")
        if said and found.format and said != found.format:
            self.fault(
                "image_format",
                f"the image is {found.format}, the record says {said!r}",
                not self._is_ours,
            )
        sizes = (self.number(schema.HEIGHT), self.number(schema.WIDTH))
        for side, expected, actual in zip(
            ("height", "width"), sizes, (found.height, found.width), strict=True
        ):
            if actual and expected is not None and expected != actual:
                self.fault(
                    "image_size",
                    f"the image's {side} is {actual}, the record says"
                    f" {expected}",
                )
        sha256 = self.text(schema.SHA256)
        if sha256 and sha256 != found.sha256:
            self.fault(
                "image_sha256",
                f"the image's checksum is {found.sha256}, the record says"
                f" {sha256}",
                not self._is_ours,
            )
        return found

    def source_id(self, number: int | None) -> None:
        """Checks that there is a number if there is an id at all."""
        if number is None and self.values(schema.SOURCE_ID):
            self.fault(
                "source_id",
                f"source_id is {self.text(schema.SOURCE_ID)!r}. Evaluation"
                " finds an image's ground truth by it; a whole number as text"
                " was expected",
            )
