"""What worker processes do: check records, one by one and with the COCO JSON.

Imports no TensorFlow: each worker would need some 400 MB for it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tfrecord_tools import coco_file, oracle, record_exam, schema

_TOLERANCE = 0.5  # pixels between a record's box and the COCO JSON's


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
    records: list[record_exam.Record]
    truths: list[coco_file.Truth | None] | None
    classes: tuple[str, ...] | None
    is_ours: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """A record after its checks, without its image.

    `file_name` is "" where there is none; `boxes` are [N, 4] float64, y_min,
    x_min, y_max, x_max in pixels as stored.
    """

    place: int
    file_name: str
    source_id: int | None
    content_digest: int
    height: int
    width: int
    labels: np.ndarray
    texts: tuple[str, ...]
    boxes: np.ndarray
    is_crowd: np.ndarray
    is_difficult: np.ndarray
    missing: tuple[str, ...]
    faults: tuple[record_exam.Fault, ...]


class Result(NamedTuple):
    """The records of a task, and the oracle's word on all of them.

    scores: least of AP, AP50 and AP75 by class id; {} without a COCO JSON.
    """

    split: str
    records: list[Checked]
    scores: dict[int, float]


def _check(
    record: record_exam.Record, truth: coco_file.Truth | None, task: Task
) -> Checked:
    exam = record_exam.Examination(record, task.is_ours)
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
    marks = [
        np.array(exam.values(key), bool)
        for key in (schema.IS_CROWD, schema.DIFFICULT)
    ]
    if len(labels) != len(sides):
        labels, sides = labels[:0], sides[:0]
    crowd, difficult = (
        mark if len(mark) == len(labels) else np.zeros(len(labels), bool)
        for mark in marks
    )
    checked = Checked(
        place=record.place,
        file_name=exam.text(schema.FILENAME),
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
        is_difficult=difficult,
        missing=missing,
        faults=(),
    )
    if task.truths is not None and source_id is not None:
        _compare(checked, truth, exam)
    return dataclasses.replace(checked, faults=tuple(exam.faults))


def _compare(
    checked: Checked,
    truth: coco_file.Truth | None,
    exam: record_exam.Examination,
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
    if checked.file_name and (
        coco_file.digest(checked.file_name) != truth.name_digest
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
    for index, (label, box, crowd, difficult) in enumerate(
        zip(
            checked.labels,
            checked.boxes,
            checked.is_crowd,
            checked.is_difficult,
            strict=True,
        )
    ):
        differences = np.abs(truth.boxes - box).max(1)
        fits = is_free & (truth.labels == label) & (truth.is_crowd == crowd)
        fits &= truth.is_difficult == difficult
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
