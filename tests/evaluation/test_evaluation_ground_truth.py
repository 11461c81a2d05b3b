"""What a COCO ground truth must be."""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from efficientdet_aimmo.evaluation import ground_truth
from tfrecord_tools import command

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 4, "file_name": "a.jpg"},
        {"id": 2, "file_name": "b.jpg"},
    ],
    "categories": [{"id": 2, "name": "bus"}, {"id": 1, "name": "car"}],
    "annotations": [
        {
            "id": 11,
            "image_id": 2,
            "category_id": 2,
            "bbox": [10, 20, 30, 40],
            "iscrowd": 1,
        }
    ],
}


def test_classes_and_objects(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "val.json"
    path.write_text(json.dumps(CONTENT))
    truth = ground_truth.load(str(path))
    assert truth.class_names == ("car", "bus")
    assert truth.file_names == {4: "a.jpg", 2: "b.jpg"}
    objects = truth.objects()
    assert objects[4].boxes.shape == (0, 4)
    np.testing.assert_array_equal(objects[2].boxes, [[20, 10, 60, 40]])
    np.testing.assert_array_equal(objects[2].classes, [1])
    np.testing.assert_array_equal(objects[2].is_crowd, [True])
    assert truth.annotations[0]["area"] == 1200.0


def _changed(*path: Any, value: Any) -> Any:
    content = copy.deepcopy(CONTENT)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "val.json: holds a list."),
        (_changed("images", value={}), "val.json: has no list 'images'."),
        (_changed("images", value=[]), "has no images: nothing can be"),
        (
            _changed("categories", 0, "id", value=0),
            "category ids are [0, 1], expected 1, 2, 3, ...",
        ),
        (
            _changed("images", 0, "id", value="4"),
            "image id '4' is no integer.",
        ),
        (_changed("images", 0, "id", value=2), "image id 2 is given twice."),
        (
            _changed("annotations", 0, "bbox", value=[1, 2, 3]),
            "annotation 11 has the bbox [1, 2, 3].",
        ),
        (
            _changed("annotations", 0, "bbox", value=[1, 2, 3, float("nan")]),
            "annotation 11 has the bbox [1, 2, 3, nan].",
        ),
        (
            _changed("annotations", 0, "bbox", value=["x", 2, 3, 4]),
            "annotation 11 has the bbox ['x', 2, 3, 4].",
        ),
        (
            _changed("annotations", 0, "image_id", value=5),
            "annotation 11 is of the unknown image 5.",
        ),
        (
            _changed("annotations", 0, "category_id", value=0),
            "annotation 11 has the category 0.",
        ),
        (
            _changed("annotations", 0, value={"id": 11}),
            "an entry is incomplete (KeyError: 'bbox').",
        ),
    ],
)
def test_faults(content: Any, message: str) -> None:
    with pytest.raises(command.UserError) as caught:
        ground_truth.parse(content, "val.json")
    assert caught.value.exit_code == command.ExitCode.DATA
    assert message in str(caught.value)
    assert "Convert again, or check --val_json_file." in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    missing = str(tmp_path / "none.json")
    with pytest.raises(command.UserError, match="No such file") as caught:
        ground_truth.load(missing)
    assert caught.value.exit_code == command.ExitCode.DATA
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    with pytest.raises(command.UserError, match="is not JSON") as caught:
        ground_truth.load(str(broken))
    assert caught.value.exit_code == command.ExitCode.DATA
