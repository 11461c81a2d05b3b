"""Records of other tools: what is said of them, and what can be done."""

from __future__ import annotations

import json
import pathlib

import pytest
import tensorflow as tf
from pycocotools import coco

from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.evaluation import ground_truth
from tests.tfrecord_tools import made_foreign
from tfrecord_tools import schema

CAR = ("car", 1, (2.0, 3.0, 12.0, 23.0))
BUS = ("bus", 2, (0.0, 0.0, 40.0, 30.0))
Captured = pytest.CaptureFixture[str]


def _official(folder: pathlib.Path) -> None:
    """Writes two shards for train and one for val."""
    made_foreign.write(
        folder / "train-00000-of-00002.tfrecord",
        [
            made_foreign.coco_record(11, [CAR, BUS]),
            made_foreign.coco_record(12, []),
        ],
    )
    made_foreign.write(
        folder / "train-00001-of-00002.tfrecord",
        [made_foreign.pascal_record(13, [BUS])],
    )
    made_foreign.write(
        folder / "val-00000-of-00001.tfrecord",
        [made_foreign.coco_record(14, [CAR, BUS], crowd=[0, 1])],
    )


def test_official_records_have_no_errors(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    _official(tmp_path)
    assert made_foreign.validate_folder(tmp_path) == 0
    out = capsys.readouterr().out
    assert "Records of another tool" in out
    assert "  1 'car'                1         1\n" in out
    assert "  2 'bus'                2         1\n" in out
    assert "image/object/difficult is missing in 3 records" in out
    assert "image/object/is_crowd is missing in 1 records" in out
    assert "image/object/area is missing in 1 records" in out
    assert "needs a manifest (dataset.json)" in out
    assert "--write_manifest --classes=car,bus" in out
    assert "error" not in out.replace("no errors", "").replace("No errors", "")
    assert not (tmp_path / schema.MANIFEST_NAME).exists()


def test_records_with_a_manifest_can_be_trained_on(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    _official(tmp_path)
    flags = ("--write_manifest", "--classes=car,bus")
    assert made_foreign.validate_folder(tmp_path, *flags) == 0
    for split, images in (("train", 3), ("val", 1)):
        source = source_lib.open_source(f"{tmp_path}/{split}*.tfrecord", "x")
        source_lib.check_records(source)
        assert source.split == split
        assert source.classes == ("car", "bus")
        assert source.counts.images == images
    train = source_lib.open_source(f"{tmp_path}/train*.tfrecord", "x")
    val = source_lib.open_source(f"{tmp_path}/val*.tfrecord", "x")
    source_lib.check_pair(train, val)
    assert train.counts.objects == {"car": 1, "bus": 2}
    assert train.counts.max_boxes_per_image == 2
    assert train.manifest.image_size == (30, 40)
    truth = coco.COCO(str(tmp_path / "val.json"))
    first, second = truth.loadAnns(truth.getAnnIds(imgIds=[14]))
    assert first["bbox"] == pytest.approx([2, 3, 10, 20], abs=1e-4)
    assert first["area"] == pytest.approx(200, abs=1e-2)
    assert (first["category_id"], first["iscrowd"]) == (1, 0)
    assert (second["category_id"], second["iscrowd"]) == (2, 1)
    assert truth.loadImgs([14])[0]["file_name"] == "000000000014.jpg"
    loaded = ground_truth.load(str(tmp_path / "train.json"))
    assert sorted(loaded.file_names) == [11, 12, 13]
    capsys.readouterr()
    # Now the manifest is one to be checked against.
    assert made_foreign.validate_folder(tmp_path) == 0
    assert "detections scores AP" in capsys.readouterr().out
    assert made_foreign.validate_folder(tmp_path, *flags) == 64
    assert "is there and names the classes" in capsys.readouterr().err


def test_no_manifest_for_records_with_errors(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    _official(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    flags = ("--write_manifest", "--classes=bus,car")
    assert made_foreign.validate_folder(tmp_path, *flags) == 65
    out = capsys.readouterr().out
    assert "class id 1 is called 'car', and is 'bus' in the data set" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert made_foreign.validate_folder(tmp_path, "--write_manifest") == 64
    assert "needs --classes" in capsys.readouterr().err


def test_ids_counted_from_0(tmp_path: pathlib.Path, capsys: Captured) -> None:
    box = (1.0, 1.0, 9.0, 9.0)
    made_foreign.write(
        tmp_path / "train-00000-of-00001.tfrecord",
        [
            made_foreign.coco_record(1, [("car", 0, box), ("car", 0, box)]),
            made_foreign.coco_record(2, [("truck", 1, box), ("car", 0, box)]),
            made_foreign.coco_record(3, [("Pedestrian", 3, box)]),
        ],
    )
    assert made_foreign.validate_folder(tmp_path) == 65
    captured = capsys.readouterr()
    assert "3 objects have id 0 ('car')" in captured.out
    assert "trained as background and never detected" in captured.out
    assert (
        "('car' 0 becomes 1, 'truck' 1 becomes 2, 'Pedestrian' 3 becomes 4)"
        in captured.out
    )
    assert "  3 'Pedestrian'         1" in captured.out
    assert "error: records with class id 0: 2" in captured.out
    assert (
        "train-00000-of-00001.tfrecord, record 0 (000000000001.jpg): class id"
        " 0. Ids start at 1 (0 is background and no class) (its text is 'car')"
        "; 2 of its 2 objects" in captured.out
    )
    assert "not fit for training" in captured.err
    # With the classes that were meant, the other ids are wrong as well.
    flag = "--classes=car,truck,pedestrian"
    assert made_foreign.validate_folder(tmp_path, flag) == 65
    out = capsys.readouterr().out
    assert "class id 1 is called 'truck', and is 'car'" in out
    assert "class id 3 is called 'Pedestrian', and is 'pedestrian'" in out


def test_names_that_give_no_classes(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    box = (1.0, 1.0, 9.0, 9.0)
    record = made_foreign.coco_record(1, [("car", 1, box), ("bus", 3, box)])
    other = made_foreign.coco_record(2, [("van", 3, box)])
    del other["image/object/class/text"]
    third = made_foreign.coco_record(3, [("van", 3, box)])
    made_foreign.write(tmp_path / "a.tfrecord", [record, other, third])
    assert made_foreign.validate_folder(tmp_path) == 0
    out = capsys.readouterr().out
    assert "id 3 has 2 texts: 'bus', 'van'" in out
    assert "--classes=NAME,NAME,..." in out
    assert "image/object/class/text is missing in 1 records" in out


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("image/source_id", ["2008_000008"], "source_id is '2008_000008'"),
        ("image/source_id", None, "image/source_id is missing"),
        ("image/encoded", None, "image/encoded is missing"),
        ("image/encoded", [b"no image"], "neither JPEG nor PNG"),
        ("image/width", [30], "the image's width is 40, the record says 30"),
        ("image/height", ["30"], "image/height holds bytes, not int64"),
        ("image/object/bbox/xmin", [0.1, 0.2], "hold 1, 2, 1, 1 values"),
        ("image/object/bbox/xmin", [0.9], "expected min below max"),
        ("image/object/class/label", [1, 1], "1 boxes but 2 class ids"),
        ("image/object/is_crowd", [0, 0], "is_crowd holds 2 values for 1"),
    ],
)
def test_faults_of_one_record(
    tmp_path: pathlib.Path,
    capsys: Captured,
    key: str,
    values: list[object] | None,
    expected: str,
) -> None:
    record = made_foreign.coco_record(7, [CAR])
    if values is None:
        del record[key]
    else:
        record[key] = made_foreign.feature(values)
    good = made_foreign.coco_record(8, [CAR])
    made_foreign.write(tmp_path / "val.tfrecord", [good, record])
    assert made_foreign.validate_folder(tmp_path) == 65
    out = capsys.readouterr().out
    assert expected in out
    assert "val.tfrecord, record 1 (" in out
    assert "record 0" not in out


def test_what_does_not_hinder_training_is_a_warning(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    record = made_foreign.coco_record(7, [CAR])
    record["image/format"] = made_foreign.feature(["png"])
    record["image/key/sha256"] = made_foreign.feature(["00"])
    again = made_foreign.coco_record(7, [CAR])
    again["image/source_id"] = made_foreign.feature(["9"])
    made_foreign.write(tmp_path / "train.tfrecord", [record, again])
    assert made_foreign.validate_folder(tmp_path) == 0
    out = capsys.readouterr().out
    assert "warning: images of another format" in out
    assert "the image is jpeg, the record says 'png'" in out
    assert "warning: images with another checksum" in out
    assert "record 1 (000000000007.jpg) has the same image as" in out


def test_names_and_ids_may_repeat_in_other_splits(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    """Ids do in every split; names without a folder are no image's own."""
    for number, split in enumerate(("train", "val")):
        record = made_foreign.coco_record(1, [CAR])
        nameless = made_foreign.coco_record(2, [BUS])
        del nameless["image/filename"]
        for place, other in enumerate((record, nameless)):
            content = made_foreign.jpeg(10 * number + place)
            other["image/encoded"] = made_foreign.feature([content])
            del other["image/key/sha256"]
        made_foreign.write(tmp_path / f"{split}.tfrecord", [record, nameless])
    flags = ("--write_manifest", "--classes=car,bus")
    assert made_foreign.validate_folder(tmp_path, *flags) == 0
    out = capsys.readouterr().out
    assert "warning: images, files or groups that are in two splits: 1\n" in out
    assert "val.tfrecord, record 0 (000000000001.jpg) has the same file" in out
    names = ground_truth.load(str(tmp_path / "val.json")).file_names
    assert names == {1: "000000000001.jpg", 2: "2"}


def test_existing_coco_json_is_compared_and_kept(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    made_foreign.write(
        tmp_path / "val.tfrecord", [made_foreign.coco_record(5, [CAR])]
    )
    content = {
        "images": [
            {"id": 5, "file_name": "000000000005.jpg", "height": 30}
            | {"width": 40}
        ],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 1, "bbox": [2, 3, 10, 20]}
        ],
    }
    path = tmp_path / "val.json"
    path.write_text(json.dumps(content))
    before = path.read_text()
    flags = ("--write_manifest", "--classes=car")
    assert made_foreign.validate_folder(tmp_path, *flags) == 0
    assert path.read_text() == before
    (tmp_path / schema.MANIFEST_NAME).unlink()
    path.write_text(json.dumps({**content, "annotations": []}))
    assert made_foreign.validate_folder(tmp_path, *flags) == 65
    assert "has 1 objects, the COCO JSON 0" in capsys.readouterr().out


def test_files_that_hold_no_examples(
    tmp_path: pathlib.Path, capsys: Captured
) -> None:
    (tmp_path / "a.tfrecord").write_bytes(b"text, not records at all")
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as writer:
        writer.write(b"\xff\xff\xff")
    assert made_foreign.validate_folder(tmp_path) == 65
    out = capsys.readouterr().out
    assert "a.tfrecord, record 0: corrupted record at 0" in out
    assert "b.tfrecord, record 0: it is no tf.train.Example" in out
