"""A data set of a conversion against its manifest and COCO JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.tfrecord_tools import made_changes, made_foreign
from tfrecord_tools import command, schema, validate

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Returns a converted data set, not to be changed."""
    return made_changes.convert(tmp_path_factory.mktemp("validate"))


@pytest.fixture
def folder(converted: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """Returns a copy of the data set."""
    return shutil.copytree(converted, tmp_path / "copy")


def test_converted_records_have_no_errors(
    folder: pathlib.Path, capsys: Captured
) -> None:
    assert made_foreign.validate_folder(folder) == 0
    captured = capsys.readouterr()
    assert "  1 car                  2         1\n" in captured.out
    assert "AP50 and AP75 of at least 1.0000 for 4 classes" in captured.out
    assert "No errors in 2 files" in captured.out
    assert "warning" not in captured.out
    assert "Checking records: 4 of 4" in captured.err


def test_street_records_have_no_errors(
    street_records: pathlib.Path, capsys: Captured
) -> None:
    assert made_foreign.validate_folder(street_records) == 0
    out = capsys.readouterr().out
    assert "val has the images of train, as --eval_on_train" in out


def test_processes_say_the_same(folder: pathlib.Path, capsys: Captured) -> None:
    made_changes.rewrite(
        folder, made_changes.setter("a.jpg", schema.LABEL, [1, 2, 0, 9])
    )
    one = made_changes.faults(folder, capsys)
    assert made_changes.faults(folder, capsys, "--num_workers=2") == one


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("bytes", 5, f"{made_changes.SHARD} has bytes"),
        (
            "records",
            4,
            f"{made_changes.SHARD} has records 3, the manifest says 4",
        ),
        ("sha256", "00", f"{made_changes.SHARD} has the SHA-256"),
    ],
)
def test_manifest_of_other_shards(
    folder: pathlib.Path,
    capsys: Captured,
    field: str,
    value: object,
    expected: str,
) -> None:
    def change(manifest: Any) -> None:
        manifest["splits"]["train"]["shards"][0][field] = value

    made_changes.edit(folder, change)
    assert expected in made_changes.faults(folder, capsys)


def test_shard_too_few_and_one_too_many(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(manifest: Any) -> None:
        shards = manifest["splits"]["train"]["shards"]
        shards.append({**shards[0], "name": "train-2.tfrecord"})

    made_changes.edit(folder, change)
    shutil.copyfile(folder / made_changes.SHARD, folder / "train-3.tfrecord")
    out = made_changes.faults(folder, capsys)
    assert "train-2.tfrecord is not among the files" in out
    assert "train-3.tfrecord is not in the manifest" in out


def test_manifest_with_other_counts(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(manifest: Any) -> None:
        manifest["splits"]["train"]["images"] = 7
        manifest["splits"]["train"]["max_boxes_per_image"] = 3
        manifest["splits"]["val"]["objects"]["bus"] = 0

    made_changes.edit(folder, change)
    out = made_changes.faults(folder, capsys)
    assert "split 'train': images 3, the manifest says 7" in out
    assert "most objects an image 4, the manifest says 3" in out
    assert "split 'val': objects of 'bus' 1, the manifest says 0" in out


def test_groups_that_the_conversion_left_in_two_splits(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(manifest: Any) -> None:
        pair = {"first": "a.jpg", "second": "c.jpg", "distance": 1}
        manifest["split_rule"].update(
            groups_in_several_splits={"count": 2, "examples": ["day/1"]},
            near_duplicates={"pairs": 7, "examples": [pair]},
        )

    made_changes.edit(folder, change)
    assert made_foreign.validate_folder(folder) == 0
    out = capsys.readouterr().out
    assert "2 groups (drives) have images in several splits, such as d" in out
    assert "7 pairs of images of two splits look the same, such as a" in out


def test_class_without_objects(folder: pathlib.Path, capsys: Captured) -> None:
    """Absent from val: a warning; only in val: it cannot be learned."""
    kept: list[tf.train.Example] = []
    made_changes.rewrite(
        folder,
        lambda examples: kept.append(made_changes.named(examples, "empty.jpg")),
    )

    def take(count: int) -> made_changes.Change:
        def change(examples: list[tf.train.Example]) -> None:
            for example in examples:
                for key, feature in example.features.feature.items():
                    values = getattr(feature, feature.WhichOneof("kind")).value
                    if "/object/" in key and values:
                        del values[count:]

        return change

    made_changes.rewrite(folder, take(3), made_changes.VAL_SHARD)
    out = made_changes.faults(folder, capsys)
    assert "warning: classes without objects: 1\n" in out
    assert "split 'val' has no object of class 'pedestrian'" in out
    made_changes.rewrite(folder, take(2))
    out = made_changes.faults(folder, capsys)
    assert "error: classes without objects: 1\n" in out
    assert "split 'train' has no object of class 'bus', others have: it" in out
    assert "no split has an object of class 'pedestrian'" in out


def _swap(box: list[float]) -> list[float]:
    return [box[1], box[0], box[3], box[2]]


def _centre(box: list[float]) -> list[float]:
    return [box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]]


@pytest.mark.parametrize("convention", [_swap, _centre])
def test_boxes_of_another_convention(
    folder: pathlib.Path,
    capsys: Captured,
    convention: Callable[[list[float]], list[float]],
) -> None:
    def change(truth: Any) -> None:
        for item in truth["annotations"]:
            item["bbox"] = convention(item["bbox"])

    made_changes.edit_truth(folder, change)
    out = made_changes.faults(folder, capsys)
    assert "error: classes that ground truth does not score 1 for: 4\n" in out
    assert "split 'train', class 'car': the records' boxes as detections" in out
    assert "split 'val', class" not in out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda t: t["images"].append({**t["images"][0], "id": 9}),
            "image 9 has",
        ),
        (lambda t: t["images"].append(t["images"][0]), "is given twice"),
        (lambda t: t["images"][0].update(id="1"), "'1' is no whole number"),
        (lambda t: t["images"][0].update(width=5), "the COCO JSON says 5x48"),
        (lambda t: t["annotations"].pop(), "4 objects, the COCO JSON 3"),
        (lambda t: t["annotations"][0].update(bbox=[1]), "bbox [1]"),
        (lambda t: t["annotations"][0].update(image_id=88), "of image id 88"),
        (
            lambda t: t["annotations"][0].update(category_id=2),
            "not in the COCO",
        ),
        (lambda t: t["categories"].pop(), "has the categories {1: 'car', 2:"),
        (lambda t: t.pop("images"), "it has no images"),
    ],
)
def test_coco_json_that_was_changed(
    folder: pathlib.Path,
    capsys: Captured,
    change: Callable[[Any], None],
    expected: str,
) -> None:
    made_changes.edit_truth(folder, change)
    assert expected in made_changes.faults(folder, capsys)


def test_coco_json_that_cannot_be_read(
    folder: pathlib.Path, capsys: Captured
) -> None:
    (folder / "train.json").write_text('{"images": [{"id": ')
    (folder / "val.json").unlink()
    out = made_changes.faults(folder, capsys)
    assert "train.json cannot be used: " in out
    assert "val.json is missing" in out


def test_a_box_half_a_pixel_off_is_the_same(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def move(by: float) -> Callable[[Any], None]:
        def change(truth: Any) -> None:
            truth["annotations"][0]["bbox"][0] += by

        return change

    made_changes.edit_truth(folder, move(0.4))
    assert "is not in the COCO" not in _printed(folder, capsys)
    made_changes.edit_truth(folder, move(0.2))
    assert "is not in the COCO JSON" in made_changes.faults(folder, capsys)


def _printed(folder: pathlib.Path, capsys: Captured) -> str:
    made_foreign.validate_folder(folder)
    return capsys.readouterr().out


def test_part_of_a_data_set(folder: pathlib.Path, capsys: Captured) -> None:
    def run(*flags: str) -> int:
        argv = ["validate", "--num_workers=1", *flags]
        return command.run(validate.main, validate.FLAGS, "usage", argv)

    assert run(f"--input_pattern={folder}/val-*.tfrecord") == 0
    assert "no shard of split 'train'" in capsys.readouterr().out
    assert run(f"--input_pattern={folder}/x*.tfrecord") == 65
    assert "No file matches" in capsys.readouterr().err
    assert run() == 64
    assert "Give --data_dir=FOLDER or" in capsys.readouterr().err
    assert run(f"--data_dir={folder}/none") == 64
    assert "is not a folder" in capsys.readouterr().err
    assert run(f"--data_dir={folder}", "--classes=car") == 64
    (folder / schema.MANIFEST_NAME).write_text("{")
    assert run(f"--data_dir={folder}") == 65
    assert "is not a data set's manifest" in capsys.readouterr().err
    shutil.copytree(folder, folder / "below")
    assert run(f"--input_pattern={folder.parent}/**/*.tfrecord") == 65


def test_manifest_keeps_its_fields(folder: pathlib.Path) -> None:
    """What _edit relies on: the manifest is read back as it was written."""
    path = folder / schema.MANIFEST_NAME
    manifest = schema.parse_manifest(path.read_text(), "")
    assert json.loads(path.read_text()) == json.loads(
        json.dumps(dataclasses.asdict(manifest))
    )
