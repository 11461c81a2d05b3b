from __future__ import annotations

import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import entries, label_map, prepare

SETTINGS = prepare.Settings(
    labels=label_map.make_label_map(["car"], []),
    image_size=None,
    resize="stretch",
    image_format="keep",
    jpeg_quality=95,
    max_pixels=10_000,
)


def _prepare(
    tmp_path: pathlib.Path, *boxes: tuple[float, float, float, float]
) -> prepare.Prepared:
    """Prepares one image with boxes of x_min, y_min, x_max, y_max."""
    dataset = made_dataset.Dataset(tmp_path)
    dataset.add("a", [made_dataset.box("car", *box) for box in boxes])
    result = prepare.prepare(SETTINGS, _task(dataset))
    assert isinstance(result, prepare.Prepared)
    return result


def _task(dataset: made_dataset.Dataset) -> prepare.Task:
    reading = entries.Reading(format="aimmo", folder=str(dataset.input))
    summary = prepare.summarize(reading, entries.Entry(file="a.json"))
    assert isinstance(summary, prepare.Summary)
    return prepare.Task(
        reading=reading,
        entry=summary.entry,
        coordinates="pixels",
        checksum=summary.checksum,
        image_path=str(dataset.input / "a.jpg"),
    )


def test_boxes_at_the_edge_are_not_cut(tmp_path: pathlib.Path) -> None:
    prepared = _prepare(tmp_path, (0, 0, 64, 48), (63, 47, 64, 48))
    assert [o.box for o in prepared.objects] == [
        (0, 0, 48, 64),
        (47, 63, 48, 64),
    ]
    assert prepared.num_clipped == 0


def test_boxes_partly_outside_are_cut(tmp_path: pathlib.Path) -> None:
    prepared = _prepare(
        tmp_path, (-5, -6, 10, 12), (60, 40, 70, 50), (-1, -1, 99, 99)
    )
    assert [o.box for o in prepared.objects] == [
        (0, 0, 12, 10),
        (40, 60, 48, 64),
        (0, 0, 48, 64),
    ]
    assert prepared.num_clipped == 3


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((3, 3, 3, 9), "zero_area"),
        ((3, 9, 9, 9), "zero_area"),
        # Equal once they are 32-bit fractions of the image.
        ((30, 3, 30 + 1e-7, 9), "zero_area"),
        ((64, 3, 70, 9), "outside_image"),
        ((3, 48, 9, 60), "outside_image"),
        ((-9, 3, 0, 9), "outside_image"),
        ((3, -9, 9, 0), "outside_image"),
        ((1e300, 3, 2e300, 9), "outside_image"),
    ],
)
def test_boxes_of_no_use(
    tmp_path: pathlib.Path,
    box: tuple[float, float, float, float],
    reason: str,
) -> None:
    prepared = _prepare(tmp_path, box, (1, 1, 5, 5))
    assert [r.reason for r in prepared.rejected] == [reason]
    assert [o.box for o in prepared.objects] == [(1, 1, 5, 5)]


def test_annotation_written_meanwhile_is_rejected(
    tmp_path: pathlib.Path,
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    dataset.add("a", [])
    task = _task(dataset)
    dataset.annotate("a", made_dataset.ALL_CLASSES)
    result = prepare.prepare(SETTINGS, task)
    assert isinstance(result, prepare.Rejected)
    assert result.reason == "annotation_changed"


def test_drive_is_the_image_s_folder_where_the_annotation_names_none(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("")
    reading = entries.Reading(format="yolo", folder=str(tmp_path))
    drives = []
    for entry in (
        entries.Entry(file="labels/a.txt", image="images/a.jpg"),
        entries.Entry(
            file="images/b.jpg", image="images/b.jpg", is_absent=True
        ),
        entries.Entry(file="c.jpg", image="c.jpg", is_absent=True),
    ):
        summary = prepare.summarize(reading, entry)
        assert isinstance(summary, prepare.Summary)
        drives.append(summary.drive)
    assert drives == ["images", "images", "."]
