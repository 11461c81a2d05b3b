"""What worker processes do: check records, one by one and with the COCO JSON.

Imports no TensorFlow: each worker would need some 400 MB for it.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

import numpy as np

from tfrecord_tools import (
    coco_file,
    image_checks,
    object_faults,
    oracle,
    schema,
)

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
_TOLERANCE = 0.5  # pixels between a record's box and the COCO JSON's


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Records to check.

    Attributes:
      split: whose records these are.
      records: the records.
      truths: what the COCO JSON says of each; None if there is no such file.
      classes: the class names in the order of their ids, None if not known.
      is_ours: whether a conversion of these tools wrote the records: all keys
        must be there, and what is a warning in other tools' is an error.
    """

    split: str
    records: list[Record]
    truths: list[coco_file.Truth | None] | None
    classes: tuple[str, ...] | None
    is_ours: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """A record after its checks, without its image.

    `boxes` are [N, 4] float64, y_min, x_min, y_max, x_max in pixels as stored.
    """

    place: int
    name: str
    source_id: int | None
    content_digest: int
    height: int
    width: int
    labels: np.ndarray
    texts: tuple[str, ...]
    boxes: np.ndarray
    is_crowd: np.ndarray
    missing: tuple[str, ...]
    faults: tuple[Fault, ...]


class Result(NamedTuple):
    """The records of a task, and the oracle's word on all of them.

    scores: least of AP, AP50 and AP75 by class id; {} without a COCO JSON.
    """

    split: str
    records: list[Checked]
    scores: dict[int, float]


def where(shard: str, number: int, name: str) -> str:
    """Returns where a record is, for a message; numbers count from 0."""
    return f"{shard}, record {number} ({name})"


class _Examination:
    """The faults of one record, collected."""

    def __init__(self, record: Record, task: Task) -> None:
        self._features = record.features
        self._is_ours = task.is_ours
        self.faults: list[Fault] = []
        self.name = ""
        self.name = self.text(schema.FILENAME) or (
            f"source_id {self.text(schema.SOURCE_ID) or '?'}"
        )
        self._where = where(record.shard, record.number, self.name)

    def fault(self, kind: str, text: str, is_warning: bool = False) -> None:
        sentence = f"{self._where}: {text}"
        self.faults.append(Fault(kind, sentence, is_warning))

    def values(self, key: str) -> list[Any]:
        """Returns the key's values, [] if it is absent or of another type."""
        kind, values = self._features.get(key, ("", []))
        return values if kind == KEYS[key] else []

    def text(self, key: str) -> str:
        values = self.values(key)
        return values[0].decode(errors="backslashreplace") if values else ""

    def number(self, key: str) -> int | None:
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


def _shown(content: bytes) -> str:
    return repr(content.decode(errors="backslashreplace"))


def _check(
    record: Record, truth: coco_file.Truth | None, task: Task
) -> Checked:
    exam = _Examination(record, task)
    missing = exam.keys()
    sides = exam.objects(task.classes)
    if task.classes is not None:
        exam.class_texts(task.classes)
    found = exam.image()
    source_id = record.source_id
    exam.source_id(source_id)
    height = found.height if found else 0
    width = found.width if found else 0
    labels = np.array(exam.values(schema.LABEL), np.int64)
    crowd = np.array(exam.values(schema.IS_CROWD), bool)
    if len(labels) != len(sides):
        labels, sides = labels[:0], sides[:0]
    if len(crowd) != len(labels):
        crowd = np.zeros(len(labels), bool)
    checked = Checked(
        place=record.place,
        name=exam.name,
        source_id=source_id,
        content_digest=found.digest if found else 0,
        height=height,
        width=width,
        labels=labels,
        texts=tuple(
            t.decode(errors="backslashreplace")
            for t in exam.values(schema.TEXT)
        ),
        boxes=sides * np.array([height, width, height, width], np.float64),
        is_crowd=crowd,
        missing=missing,
        faults=(),
    )
    if task.truths is not None and source_id is not None:
        _compare(checked, truth, exam)
    return dataclasses.replace(checked, faults=tuple(exam.faults))


def _compare(
    checked: Checked, truth: coco_file.Truth | None, exam: _Examination
) -> None:
    """Compares a record with what the COCO JSON says of its image."""
    if truth is None:
        text = f"the COCO JSON has no image of id {checked.source_id}"
        exam.fault("coco_record", text)
        return
    if checked.height and (truth.height, truth.width) != (
        checked.height,
        checked.width,
    ):
        exam.fault(
            "coco_record",
            f"the image is {checked.width}x{checked.height}, the COCO JSON says"
            f" {truth.width}x{truth.height}",
        )
    if not checked.name.startswith("source_id ") and (
        coco_file.digest(checked.name) != truth.name_digest
    ):
        exam.fault(
            "coco_record",
            f"the COCO JSON calls image {checked.source_id} otherwise",
        )
    if len(truth.labels) != len(checked.labels):
        exam.fault(
            "coco_record",
            f"the record has {len(checked.labels)} objects, the COCO JSON"
            f" {len(truth.labels)}",
        )
        return
    index = _unmatched(checked, truth)
    if index is not None:
        box = checked.boxes[index].round(1).tolist()
        exam.fault(
            "coco_record",
            f"object {index} of class id {checked.labels[index]} with y_min,"
            f" x_min, y_max, x_max {box} pixels is not in the COCO JSON, to"
            f" {_TOLERANCE} pixels",
        )


def _unmatched(checked: Checked, truth: coco_file.Truth) -> int | None:
    """Returns the first object without an equal one in the COCO JSON."""
    is_free = np.ones(len(truth.labels), bool)
    for index, (label, box, crowd) in enumerate(
        zip(checked.labels, checked.boxes, checked.is_crowd, strict=True)
    ):
        differences = np.abs(truth.boxes - box).max(1)
        fits = is_free & (truth.labels == label) & (truth.is_crowd == crowd)
        fits &= differences <= _TOLERANCE
        if not fits.any():
            return index
        is_free[np.argmin(np.where(fits, differences, np.inf))] = False
    return None


def check(task: Task) -> Result:
    """Returns the records of a task, checked."""
    truths = task.truths or [None] * len(task.records)
    checked = [
        _check(record, truth, task)
        for record, truth in zip(task.records, truths, strict=True)
    ]
    scores = {}
    if task.truths is not None and task.classes is not None:
        pairs = [
            (found.labels[~found.is_crowd], found.boxes[~found.is_crowd], truth)
            for found, truth in zip(checked, truths, strict=True)
            if truth is not None
        ]
        scores = oracle.average_precisions(pairs, len(task.classes))
    return Result(task.split, checked, scores)
