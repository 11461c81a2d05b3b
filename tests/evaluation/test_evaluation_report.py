"""The report as text and as a file that reads back equal."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from efficientdet_aimmo.evaluation import coco, metrics, report
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from tfrecord_tools import command


def _report(step: int) -> report.Report:
    box = [0.0, 0.0, 50.0, 50.0]
    truth = ground_truth_lib.parse(
        {
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "categories": [
                {"id": i, "name": name}
                for i, name in enumerate(["car", "pedestrian", "bus"], 1)
            ],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": box},
                {"id": 2, "image_id": 1, "category_id": 2, "bbox": box},
            ],
        },
        "val.json",
    )
    found = coco.ImageDetections(
        np.array([[0, 0, 50, 50], [90, 90, 99, 99]], np.float32),
        np.array([0.875, 0.75], np.float32),
        np.array([0, 0], np.int32),
    )
    result = coco.evaluate(truth, {1: found})
    return report.Report(
        step=step,
        ground_truth="val.json",
        metrics=result,
        alarms=tuple(metrics.alarms(result)),
    )


def test_text() -> None:
    assert report.text(_report(120)) == (
        """\
Step 120: 1 images, 2 objects, 2 detections.

class       objects     AP   AP50   AP75  precision  recall     F1  threshold
-----------------------------------------------------------------------------
car               1  1.000  1.000  1.000      1.000   1.000  1.000      0.875
pedestrian        1  0.000  0.000  0.000        n/a   0.000  0.000        n/a
bus               0    n/a    n/a    n/a        n/a     n/a    n/a        n/a
-----------------------------------------------------------------------------
all               2  0.500  0.500  0.500      1.000   0.500  0.667      0.875

AP by object size: small n/a, medium 0.500, large n/a. AR100 0.500.
Precision, recall and F1: IoU 0.5, all areas, up to 100 detections per class\
 and image;
each class at the threshold of its best F1, 'all' at the common one.
All thresholds were chosen on this split.

At the common threshold 0.875:
class       right  wrong  missed  precision  recall     F1
car             1      0       0      1.000   1.000  1.000
pedestrian      0      0       1        n/a   0.000  0.000
bus             0      0       0        n/a     n/a    n/a
all             1      0       1      1.000   0.500  0.667
ALARM: class 'pedestrian' has 1 objects and not one detection of any score."""
    )


def test_file_reads_back_equal(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "eval"
    path = report.write(_report(120), str(folder))
    assert path == str(folder / "00000120.json")
    assert report.read(path) == _report(120)
    again = report.write(_report(120), str(tmp_path))
    assert pathlib.Path(again).read_bytes() == pathlib.Path(path).read_bytes()
    # Nothing is left beside it, and no number that JSON does not have.
    assert [item.name for item in folder.iterdir()] == ["00000120.json"]
    content = json.loads(pathlib.Path(path).read_text())
    assert content["metrics"]["classes"][2]["ap"] is None
    assert content["metrics"]["classes"][0]["name"] == "car"


def test_latest_is_the_highest_step(tmp_path: pathlib.Path) -> None:
    assert report.latest(str(tmp_path / "none")) is None
    assert report.latest(str(tmp_path)) is None
    for step in (90, 100000000, 1000):
        report.write(_report(step), str(tmp_path))
    (tmp_path / "events.out.tfevents.1").write_text("")
    found = report.latest(str(tmp_path))
    assert found is not None
    assert found.step == 100000000


@pytest.mark.parametrize("content", ["", "[]", '{"step": 1}'])
def test_file_that_is_no_report(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "00000001.json"
    path.write_text(content)
    with pytest.raises(command.UserError, match="Evaluate again") as caught:
        report.read(str(path))
    assert caught.value.exit_code == command.ExitCode.DATA


def test_folder_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "eval").write_text("a file where the folder should be")
    with pytest.raises(command.UserError, match="cannot be written") as caught:
        report.write(_report(1), str(tmp_path / "eval"))
    assert caught.value.exit_code == command.ExitCode.DISK
