"""Data sets of a conversion that were changed afterwards: each finding."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.tfrecord_tools import made_dataset, made_foreign
from tfrecord_tools import command, schema, validate

Captured = pytest.CaptureFixture[str]
Change = Callable[[list[tf.train.Example]], None]
SHARD = "train-00000-of-00001.tfrecord"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Returns a data set: a and b in train, c in val."""
    dataset = made_dataset.Dataset(tmp_path_factory.mktemp("validate"))
    lists = []
    for split, names in (("train", "ab"), ("val", "c")):
        path = dataset.input.parent / split
        path.write_text("\n".join(names))
        lists.append(f"--{split}_list={path}")
    for name in "abc":
        dataset.add(name)
    dataset.add("empty", [])
    with (dataset.input.parent / "train").open("a") as file:
        file.write("\nempty\n")
    assert dataset.convert(*lists) == 0
    return dataset.output


@pytest.fixture
def folder(converted: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """Returns a copy of the data set."""
    return shutil.copytree(converted, tmp_path / "copy")


def _edit(folder: pathlib.Path, change: Callable[[Any], None]) -> None:
    path = folder / schema.MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _rewrite(folder: pathlib.Path, change: Change, shard: str = SHARD) -> None:
    """Changes a shard's records, and the manifest's word on its bytes."""
    path = folder / shard
    examples = [
        tf.train.Example.FromString(content)
        for content in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    change(examples)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
    content = path.read_bytes()

    def adapt(manifest: Any) -> None:
        entry = manifest["splits"][shard.split("-")[0]]["shards"][0]
        entry["bytes"] = len(content)
        entry["sha256"] = hashlib.sha256(content).hexdigest()

    _edit(folder, adapt)


def _named(examples: list[tf.train.Example], name: str) -> tf.train.Example:
    return next(
        e
        for e in examples
        if e.features.feature[schema.FILENAME].bytes_list.value[0]
        == name.encode()
    )


def _setter(name: str, key: str, values: list[Any]) -> Change:
    def change(examples: list[tf.train.Example]) -> None:
        feature = _named(examples, name).features.feature[key]
        feature.CopyFrom(made_foreign.feature(values))

    return change


def _edit_truth(
    folder: pathlib.Path, change: Callable[[Any], None], split: str = "train"
) -> None:
    path = folder / f"{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _faults(folder: pathlib.Path, capsys: Captured, *flags: str) -> str:
    """Returns what the command prints of records with errors."""
    assert made_foreign.validate_folder(folder, *flags) == 65
    captured = capsys.readouterr()
    assert "not fit for training" in captured.err
    return captured.out


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
    _rewrite(folder, _setter("a.jpg", schema.LABEL, [1, 2, 0, 9]))
    one = _faults(folder, capsys)
    assert _faults(folder, capsys, "--num_workers=2") == one


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
        (schema.FORMAT, ["png"], "image is jpeg, the record says 'png'"),
        (schema.WIDTH, [48], "the image's width is 64, the record says 48"),
        (schema.HEIGHT, [1, 2], "image/height holds 2 values, expected one"),
        (schema.SHA256, ["ab"], "the record says ab"),
        (schema.SOURCE_ID, ["x"], "source_id is 'x'"),
        (schema.SOURCE_ID, ["77"], "the COCO JSON has no image of id 77"),
        (schema.FILENAME, ["z.jpg"], "COCO JSON calls image 1 otherwise"),
        (schema.IS_CROWD, [1, 0, 0, 0], "object 0 of class id 1 with y_min"),
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
    _rewrite(folder, _setter("a.jpg", key, values))
    out = _faults(folder, capsys)
    assert expected in out
    name = "z.jpg" if key == schema.FILENAME else "a.jpg"
    assert f"({name}): " in out
    assert "(b.jpg)" not in out


def test_missing_keys_are_errors_in_our_records(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(examples: list[tf.train.Example]) -> None:
        del _named(examples, "a.jpg").features.feature[schema.DIFFICULT]

    _rewrite(folder, change)
    assert f"{schema.DIFFICULT} is missing" in _faults(folder, capsys)


def test_png_without_its_end(folder: pathlib.Path, capsys: Captured) -> None:
    path = folder.parent / "a.png"
    made_dataset.pixels(1).save(path)
    content = path.read_bytes()[:-12]
    _rewrite(folder, _setter("a.jpg", schema.ENCODED, [content]))
    assert "the image's end is missing" in _faults(folder, capsys)


def test_all_records_of_a_kind_are_counted(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(examples: list[tf.train.Example]) -> None:
        for example in examples:
            example.features.feature[schema.FORMAT].CopyFrom(
                made_foreign.feature(["png"])
            )

    _rewrite(folder, change)
    out = _faults(folder, capsys, "--max_examples=2")
    assert "error: images of another format than the record says: 3\n" in out
    assert out.count("the record says 'png'") == 2
    assert "  and 1 more\n" in out


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("bytes", 5, f"{SHARD} has bytes"),
        ("records", 4, f"{SHARD} has records 3, the manifest says 4"),
        ("sha256", "00", f"{SHARD} has the SHA-256"),
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

    _edit(folder, change)
    assert expected in _faults(folder, capsys)


def test_shard_too_few_and_one_too_many(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(manifest: Any) -> None:
        shards = manifest["splits"]["train"]["shards"]
        shards.append({**shards[0], "name": "train-2.tfrecord"})

    _edit(folder, change)
    shutil.copyfile(folder / SHARD, folder / "train-3.tfrecord")
    out = _faults(folder, capsys)
    assert "train-2.tfrecord is not among the files" in out
    assert "train-3.tfrecord is not in the manifest" in out


def test_manifest_with_other_counts(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def change(manifest: Any) -> None:
        manifest["splits"]["train"]["images"] = 7
        manifest["splits"]["train"]["max_boxes_per_image"] = 3
        manifest["splits"]["val"]["objects"]["bus"] = 0

    _edit(folder, change)
    out = _faults(folder, capsys)
    assert "split 'train': images 3, the manifest says 7" in out
    assert "most objects an image 4, the manifest says 3" in out
    assert "split 'val': objects of 'bus' 1, the manifest says 0" in out


def test_damage_leaves_the_other_files_to_be_checked(
    folder: pathlib.Path, capsys: Captured
) -> None:
    path = folder / SHARD
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    _rewrite(
        folder,
        _setter("c.jpg", schema.LABEL, [0, 2, 3, 4]),
        "val-00000-of-00001.tfrecord",
    )
    out = _faults(folder, capsys)
    assert f"{SHARD}, record 1: corrupted record at" in out
    assert "[Op" not in out
    assert "val-00000-of-00001.tfrecord, record 0 (c.jpg): class id 0" in out


def test_shard_that_was_cut(folder: pathlib.Path, capsys: Captured) -> None:
    path = folder / SHARD
    path.write_bytes(path.read_bytes()[:-20])
    out = _faults(folder, capsys)
    assert f"{SHARD}, record 2: " in out
    assert "train.json: image" in out
    assert "has no record" in out


def test_ids_images_and_names_that_are_there_twice(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def double(examples: list[tf.train.Example]) -> None:
        examples.append(examples[0])

    _rewrite(folder, double)
    out = _faults(folder, capsys)
    assert "has the same source_id as" in out
    assert "warning: images that are there more than once: 1\n" in out
    assert f"{SHARD}, record 3" in out


@pytest.mark.parametrize("is_same_image", [True, False])
def test_image_in_two_splits(
    folder: pathlib.Path, capsys: Captured, is_same_image: bool
) -> None:
    found: list[tf.train.Example] = []
    _rewrite(folder, lambda examples: found.append(_named(examples, "a.jpg")))
    keys = (
        (schema.ENCODED, schema.SHA256) if is_same_image else (schema.FILENAME,)
    )

    def change(examples: list[tf.train.Example]) -> None:
        for key in keys:
            examples[0].features.feature[key].CopyFrom(
                found[0].features.feature[key]
            )

    _rewrite(folder, change, "val-00000-of-00001.tfrecord")
    out = _faults(folder, capsys)
    what = "image" if is_same_image else "file name"
    name = "c.jpg" if is_same_image else "a.jpg"
    assert "error: images, files or groups that are in two splits: 1\n" in out
    assert f"val-00000-of-00001.tfrecord, record 0 ({name}) has the same" in out
    assert f"has the same {what} as {SHARD}" in out


def test_class_without_objects(folder: pathlib.Path, capsys: Captured) -> None:
    """Absent from val: a warning; only in val: it cannot be learned."""
    kept: list[tf.train.Example] = []
    _rewrite(
        folder, lambda examples: kept.append(_named(examples, "empty.jpg"))
    )

    def take(count: int) -> Change:
        def change(examples: list[tf.train.Example]) -> None:
            for example in examples:
                for key, feature in example.features.feature.items():
                    values = getattr(feature, feature.WhichOneof("kind")).value
                    if "/object/" in key and values:
                        del values[count:]

        return change

    _rewrite(folder, take(3), "val-00000-of-00001.tfrecord")
    out = _faults(folder, capsys)
    assert "warning: classes without objects: 1\n" in out
    assert "split 'val' has no object of class 'pedestrian'" in out
    _rewrite(folder, take(2))
    out = _faults(folder, capsys)
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

    _edit_truth(folder, change)
    out = _faults(folder, capsys)
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
    _edit_truth(folder, change)
    assert expected in _faults(folder, capsys)


def test_coco_json_that_cannot_be_read(
    folder: pathlib.Path, capsys: Captured
) -> None:
    (folder / "train.json").write_text('{"images": [{"id": ')
    (folder / "val.json").unlink()
    out = _faults(folder, capsys)
    assert "train.json cannot be used: " in out
    assert "val.json is missing" in out


def test_a_box_half_a_pixel_off_is_the_same(
    folder: pathlib.Path, capsys: Captured
) -> None:
    def move(by: float) -> Callable[[Any], None]:
        def change(truth: Any) -> None:
            truth["annotations"][0]["bbox"][0] += by

        return change

    _edit_truth(folder, move(0.4))
    assert "is not in the COCO" not in _faults_or_none(folder, capsys)
    _edit_truth(folder, move(0.2))
    assert "is not in the COCO JSON" in _faults(folder, capsys)


def _faults_or_none(folder: pathlib.Path, capsys: Captured) -> str:
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
