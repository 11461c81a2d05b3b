"""Records that were changed after their conversion: each finding."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest
import tensorflow as tf

from tests.tfrecord_tools import made_changes, made_dataset, made_foreign
from tfrecord_tools import schema

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Returns a converted data set, not to be changed."""
    return made_changes.convert(tmp_path_factory.mktemp("validate"))


@pytest.fixture
def folder(converted: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """Returns a copy of the data set."""
    return shutil.copytree(converted, tmp_path / "copy")


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        (schema.LABEL, [0, 2, 3, 4], "class id 0. Ids start at 1"),
        (schema.LABEL, [1, 2, 3, 5], "class id 5. Ids start at 1"),
        (schema.LABEL, [-1, 2, 3, 4], "class id -1"),
        (
            schema.LABEL,
            [2, 1, 3, 4],
            "class id 2 is called 'car', and is 'truc",
        ),
        (schema.LABEL, [1, 2, 3], "4 boxes but 3 class ids"),
        (schema.TEXT, ["car", "truck"], "text holds 2 values for 4 ids"),
        (schema.AREA, [], "area holds int64, not float"),
        (schema.YMIN, [0.9, 0.1, 0.1, 0.1], "box 0 is [y_min, x_min, y_max,"),
        (schema.XMAX, [1.5, 1.0, 1.0, 1.0], "all within 0 and 1"),
        (schema.XMAX, [float("nan"), 1.0, 1.0, 1.0], "all within 0 and 1"),
        (schema.YMIN, [0.1, 0.1], "ymin, xmin, ymax, xmax hold 2, 4, 4, 4"),
        (schema.ENCODED, [b"\xff\xd8\xff\xe0 cut"], "images that cannot be"),
        (schema.ENCODED, [made_foreign.jpeg(1)], "the record says"),
        (schema.ENCODED, [made_foreign.jpeg(1, 64, 48)[:-60]], "image file is"),
        (schema.FORMAT, ["png"], "image is jpeg, the record says 'png'"),
        (schema.WIDTH, [48], "the image's width is 64, the record says 48"),
        (schema.HEIGHT, [1, 2], "image/height holds 2 values, expected one"),
        (schema.SHA256, ["ab"], "the record says ab"),
        (schema.SOURCE_ID, ["x"], "source_id is 'x'"),
        (schema.SOURCE_ID, ["77"], "the COCO JSON has no image of id 77"),
        (schema.FILENAME, ["z.jpg"], "COCO JSON calls image 1 otherwise"),
        (schema.IS_CROWD, [1, 0, 0, 0], "object 0 of class id 1 with y_min"),
        (schema.DIFFICULT, [0, 1, 0, 0], "object 1 of class id 2 with y_min"),
        (schema.YMAX, [0.2, 0.6, 0.8, 0.6], "is not in the COCO JSON, to 0.5"),
    ],
)
def test_record_that_was_changed(
    folder: pathlib.Path,
    capsys: Captured,
    key: str,
    values: list[Any],
    expected: str,
) -> None:
    made_changes.rewrite(folder, made_changes.setter("a.jpg", key, values))
    out = made_changes.faults(folder, capsys)
    assert expected in out
    name = "z.jpg" if key == schema.FILENAME else "a.jpg"
    assert f"({name}): " in out
    assert "(b.jpg)" not in out


def test_missing_keys_are_errors_in_our_records(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(examples: list[tf.train.Example]) -> None:
        del made_changes.named(examples, "a.jpg").features.feature[
            schema.DIFFICULT
        ]

    made_changes.rewrite(folder, change)
    assert f"{schema.DIFFICULT} is missing" in made_changes.faults(
        folder, capsys
    )


def test_png_without_its_end(folder: pathlib.Path, capsys: Captured) -> None:
    path = folder.parent / "a.png"
    made_dataset.pixels(1).save(path)
    content = path.read_bytes()[:-12]
    made_changes.rewrite(
        folder, made_changes.setter("a.jpg", schema.ENCODED, [content])
    )
    assert "the image's end is missing" in made_changes.faults(folder, capsys)


def test_all_records_of_a_kind_are_counted(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(examples: list[tf.train.Example]) -> None:
        for example in examples:
            example.features.feature[schema.FORMAT].CopyFrom(
                made_foreign.feature(["png"])
            )

    made_changes.rewrite(folder, change)
    out = made_changes.faults(folder, capsys, "--max_examples=2")
    assert "error: images of another format than the record says: 3\n" in out
    assert out.count("the record says 'png'") == 2
    assert "  and 1 more\n" in out


def test_damage_leaves_the_other_files_to_be_checked(
    folder: pathlib.Path, capsys: Captured
) -> None:
    path = folder / made_changes.SHARD
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    made_changes.rewrite(
        folder,
        made_changes.setter("c.jpg", schema.LABEL, [0, 2, 3, 4]),
        made_changes.VAL_SHARD,
    )
    out = made_changes.faults(folder, capsys)
    assert f"{made_changes.SHARD}, record 1: corrupted record at" in out
    assert "[Op" not in out
    assert "val-00000-of-00001.tfrecord, record 0 (c.jpg): class id 0" in out


def test_shard_that_was_cut(folder: pathlib.Path, capsys: Captured) -> None:
    path = folder / made_changes.SHARD
    path.write_bytes(path.read_bytes()[:-20])
    out = made_changes.faults(folder, capsys)
    assert f"{made_changes.SHARD}, record 2: " in out
    assert "train.json: image" in out
    assert "has no record" in out


def test_ids_images_and_names_that_are_there_twice(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def double(examples: list[tf.train.Example]) -> None:
        examples.append(examples[0])

    made_changes.rewrite(folder, double)
    out = made_changes.faults(folder, capsys)
    assert "has the same source_id as" in out
    assert "warning: images that are there more than once: 1\n" in out
    assert f"{made_changes.SHARD}, record 3" in out


@pytest.mark.parametrize("is_same_image", [True, False])
def test_image_in_two_splits(
    folder: pathlib.Path, capsys: Captured, is_same_image: bool
) -> None:
    found: list[tf.train.Example] = []
    made_changes.rewrite(
        folder,
        lambda examples: found.append(made_changes.named(examples, "a.jpg")),
    )
    keys = (
        (schema.ENCODED, schema.SHA256) if is_same_image else (schema.FILENAME,)
    )

    def change(examples: list[tf.train.Example]) -> None:
        for key in keys:
            examples[0].features.feature[key].CopyFrom(
                found[0].features.feature[key]
            )

    made_changes.rewrite(folder, change, made_changes.VAL_SHARD)
    out = made_changes.faults(folder, capsys)
    what = "image" if is_same_image else "file name"
    name = "c.jpg" if is_same_image else "a.jpg"
    assert "error: images, files or groups that are in two splits: 1\n" in out
    assert f"val-00000-of-00001.tfrecord, record 0 ({name}) has the same" in out
    assert f"has the same {what} as {made_changes.SHARD}" in out
