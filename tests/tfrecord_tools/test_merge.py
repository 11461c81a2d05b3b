"""The command that writes COCO JSON alone."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import command, merge


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    made.add("drive one/a")
    made.add("b", [])
    made.add("c")
    return made


def _json(dataset: made_dataset.Dataset, split: str) -> dict[str, Any]:
    text = (dataset.output / f"{split}.json").read_text()
    content: dict[str, Any] = json.loads(text)
    return content


def _merge(dataset: made_dataset.Dataset, *flags: str) -> int:
    argv = [
        "merge",
        f"--input_dir={dataset.input}",
        f"--output_dir={dataset.output}",
        "--num_workers=1",
        *flags,
    ]
    return command.run(merge.main, merge.FLAGS, "usage", argv)


def test_merge_writes_one_coco_file_for_each_split(
    dataset: made_dataset.Dataset,
) -> None:
    split = ("--val_fraction=0.4", "--seed=0")
    assert _merge(dataset, *split) == 0
    assert dataset.final_names() == [
        "dataset.json",
        "report.html",
        "train.json",
        "val.json",
    ]
    content = _json(dataset, "train")
    assert [c["name"] for c in content["categories"]] == [
        "car",
        "truck",
        "bus",
        "pedestrian",
    ]
    ids = {i["file_name"]: i["id"] for i in content["images"]}
    assert set(ids) == {"drive one/a.jpg", "b.jpg"}
    by_hand = [[1, 2, 20, 20], [5, 5, 20, 25], [10, 8, 50, 32], [30, 10, 6, 20]]
    boxes = [
        a["bbox"]
        for a in content["annotations"]
        if a["image_id"] == ids["drive one/a.jpg"]
    ]
    np.testing.assert_allclose(boxes, by_hand, atol=1e-9)
    merged = {n: _json(dataset, n) for n in ("train", "val")}
    account = dataset.manifest().accounts
    # What convert writes beside its records.
    assert dataset.convert("--overwrite", *split) == 0
    assert {n: _json(dataset, n) for n in ("train", "val")} == merged
    assert dataset.manifest().accounts == account


def test_merge_checks_classes_and_has_no_flags_for_images(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _merge(dataset, "--classes=car,Bus") == 64
    assert "did you mean 'bus'" in capsys.readouterr().err
    assert _merge(dataset, "--image_size=9x9") == 64
    assert "Unknown command line flag" in capsys.readouterr().err
