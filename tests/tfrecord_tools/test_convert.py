"""The command on good data: records, ground truth, manifest, accounts."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import coco, cocoeval

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import schema


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    return made_dataset.Dataset(tmp_path)


def _records(
    dataset: made_dataset.Dataset, split: str
) -> list[tf.train.Example]:
    paths = sorted(str(p) for p in dataset.output.glob(f"{split}-*.tfrecord"))
    return [
        tf.train.Example.FromString(record)
        for record in tf.data.TFRecordDataset(paths).as_numpy_iterator()
    ]


def _values(example: tf.train.Example, key: str) -> list[Any]:
    feature = example.features.feature[key]
    return list(getattr(feature, feature.WhichOneof("kind")).value)


def test_record_holds_what_the_annotation_says(
    dataset: made_dataset.Dataset,
) -> None:
    objects = [
        *made_dataset.ALL_CLASSES,
        made_dataset.box("child", 48, 24, 64, 48, truncation=3),
    ]
    dataset.add("drive/a", objects)
    assert dataset.convert() == 0
    (example,) = _records(dataset, "train")
    keys = {
        value
        for name, value in vars(schema).items()
        if isinstance(value, str) and value.startswith("image/")
    }
    assert set(example.features.feature) == keys
    content = (dataset.input / "drive/a.jpg").read_bytes()
    expected = {
        schema.ENCODED: [content],
        schema.FORMAT: [b"jpeg"],
        schema.FILENAME: [b"drive/a.jpg"],
        schema.HEIGHT: [48],
        schema.WIDTH: [64],
        schema.SOURCE_ID: [b"1"],
        schema.LABEL: [1, 2, 3, 4, 4],
        schema.TEXT: [b"car", b"truck", b"bus", b"pedestrian", b"pedestrian"],
        schema.TRUNCATED: [0, 0, 0, 0, 1],
        schema.IS_CROWD: [0] * 5,
        schema.DIFFICULT: [0] * 5,
        schema.AREA: [400.0, 500.0, 1600.0, 120.0, 384.0],
    }
    assert {key: _values(example, key) for key in expected} == expected
    boxes = np.stack(
        [
            _values(example, key)
            for key in (schema.YMIN, schema.XMIN, schema.YMAX, schema.XMAX)
        ],
        -1,
    )
    by_hand = np.array(
        [
            [2, 1, 22, 21],
            [5, 5, 30, 25],
            [8, 10, 40, 60],
            [10, 30, 30, 36],
            [24, 48, 48, 64],
        ]
    ) / [48, 64, 48, 64]
    np.testing.assert_allclose(boxes, by_hand, rtol=1e-6)


def test_manifest_and_accounts(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add(
        "a",
        [
            *made_dataset.ALL_CLASSES,
            made_dataset.box("car", 0, 0, 9, 9, isfake=1),
            made_dataset.box("face", 0, 0, 9, 9),
            made_dataset.box("face", 9, 9, 9, 9),
            made_dataset.box("car", 0, 0, 9, 9, type="poly_seg"),
            made_dataset.box("car", 3, 3, 3, 9, id="flat"),
            made_dataset.box("car", 64, 3, 80, 9, id="beside"),
            made_dataset.box("car", -9, -4, 10, 20),
        ],
    )
    dataset.add("b", None)
    made_dataset.pixels(9).save(dataset.input / "alone.png")
    assert dataset.convert() == 0
    manifest = dataset.manifest()
    assert manifest.accounts == {
        "images": {
            "in": 3,
            "written": 2,
            "filtered": {"no_annotation": 1},
            "rejected": {},
        },
        "objects": {
            "in": 11,
            "written": 5,
            "filtered": {"class:face": 2, "isfake": 1, "type:poly_seg": 1},
            "rejected": {"outside_image": 1, "zero_area": 1},
            "clipped": 1,
        },
    }
    assert manifest.rejects["objects"]["outside_image"] == [
        {
            "file": "a.json",
            "annotation_id": "beside",
            "detail": "x 64 to 80, y 3 to 9 in an image of 64x48",
        }
    ]
    train = manifest.splits["train"]
    assert (train.images, train.max_boxes_per_image) == (2, 5)
    assert train.objects == {"car": 2, "truck": 1, "bus": 1, "pedestrian": 1}
    assert manifest.image_size is None
    assert manifest.split_rule == {"rule": "all_train"}
    out = capsys.readouterr().out
    assert "objects: 11 in = 5 written + 4 left out + 2 rejected" in out
    assert "left out: class:face 2, isfake 1, type:poly_seg 1" in out
    assert "such as a.json, annotation beside: x 64 to 80" in out
    assert "boxes cut at the image's edge: 1" in out
    truth = json.loads((dataset.output / "train.json").read_text())
    clipped = [a for a in truth["annotations"] if a["bbox"][:2] == [0, 0]]
    assert [a["bbox"] for a in clipped] == [[0, 0, 10, 20]]


def test_image_size_stretches_images_and_boxes(
    dataset: made_dataset.Dataset,
) -> None:
    dataset.add("a")
    assert dataset.convert("--image_size=128x24") == 0
    (example,) = _records(dataset, "train")
    image = tf.io.decode_jpeg(_values(example, schema.ENCODED)[0])
    assert image.shape == (24, 128, 3)
    assert _values(example, schema.HEIGHT) == [24]
    assert _values(example, schema.WIDTH) == [128]
    assert _values(example, schema.XMAX)[0] == pytest.approx(21 / 64)
    truth = json.loads((dataset.output / "train.json").read_text())
    assert truth["annotations"][0]["bbox"] == [2.0, 1.0, 40.0, 10.0]
    assert truth["images"][0]["width"] == 128
    assert dataset.manifest().image_size == (24, 128)


def test_ground_truth_given_as_detections_scores_one(
    dataset: made_dataset.Dataset,
) -> None:
    for index in range(3):
        dataset.add(f"image{index}")
    dataset.add("empty", [])
    assert dataset.convert("--image_size=100x100") == 0
    path = dataset.output / "train.json"
    content = json.loads(path.read_text())
    assert [c["id"] for c in content["categories"]] == [1, 2, 3, 4]
    ids = [
        int(_values(e, schema.SOURCE_ID)[0]) for e in _records(dataset, "train")
    ]
    assert (
        sorted(ids)
        == [
            image["id"]
            for image in sorted(content["images"], key=lambda i: i["id"])
        ]
        == [1, 2, 3, 4]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(path))
        detections = truth.loadRes(
            [
                {
                    "image_id": a["image_id"],
                    "category_id": a["category_id"],
                    "bbox": a["bbox"],
                    "score": 0.9,
                }
                for a in content["annotations"]
            ]
        )
        evaluation = cocoeval.COCOeval(truth, detections, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU, recall, class, area, detections]: all areas, up to 100.
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    per_class = precision.mean(axis=(0, 1))
    assert per_class.shape == (4,)
    np.testing.assert_allclose(per_class, 1.0, atol=1e-9)


def test_shards_are_even_and_checked(dataset: made_dataset.Dataset) -> None:
    for index in range(7):
        dataset.add(f"image{index}")
    assert dataset.convert("--num_shards=3") == 0
    shards = dataset.manifest().splits["train"].shards
    assert [s.name for s in shards] == [
        f"train-{i:05d}-of-00003.tfrecord" for i in range(3)
    ]
    assert sorted(s.records for s in shards) == [2, 2, 3]
    for shard in shards:
        path = dataset.output / shard.name
        assert path.stat().st_size == shard.bytes
    assert dataset.final_names() == [
        "dataset.json",
        "report.html",
        *[s.name for s in shards],
        "train.json",
    ]


def test_two_workers_write_the_same_as_one(
    dataset: made_dataset.Dataset,
) -> None:
    for index in range(5):
        dataset.add(f"image{index}")
    assert dataset.convert("--image_size=32x32") == 0
    alone = dataset.manifest()
    flags = ("--image_size=32x32", "--overwrite", "--num_workers=2")
    assert dataset.convert(*flags) == 0
    assert dataset.manifest() == alone


def test_images_are_found_in_image_dir(
    dataset: made_dataset.Dataset, tmp_path: pathlib.Path
) -> None:
    dataset.add("a")
    (tmp_path / "images/x").mkdir(parents=True)
    (dataset.input / "a.jpg").rename(tmp_path / "images/x/a.jpg")
    assert dataset.convert(f"--image_dir={tmp_path / 'images'}") == 0
    (example,) = _records(dataset, "train")
    assert _values(example, schema.FILENAME) == [b"x/a.jpg"]


def test_lists_split_and_what_is_in_none_is_left_out(
    dataset: made_dataset.Dataset,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b", "c", "d"):
        dataset.add(name)
    (tmp_path / "t.txt").write_text("a.jpg\nb\n\nunheard-of\n")
    (tmp_path / "v.txt").write_text("./c.jpg\n")
    lists = [f"--train_list={tmp_path}/t.txt", f"--val_list={tmp_path}/v.txt"]
    assert dataset.convert(*lists) == 0
    manifest = dataset.manifest()
    assert {n: s.images for n, s in manifest.splits.items()} == {
        "train": 2,
        "val": 1,
    }
    assert manifest.accounts["images"]["filtered"] == {"not_in_split": 1}
    assert manifest.accounts["objects"]["filtered"] == {"image_filtered": 4}
    assert [_values(e, schema.FILENAME) for e in _records(dataset, "val")] == [
        [b"c.jpg"]
    ]
    out = capsys.readouterr().out
    assert (
        "1 entries of --train_list name no usable image, such as unheard-of"
        in out
    )


def test_eval_on_train_gives_both_splits_the_same_images(
    dataset: made_dataset.Dataset,
) -> None:
    for name in ("a", "b"):
        dataset.add(name)
    assert dataset.convert("--eval_on_train") == 0
    manifest = dataset.manifest()
    assert manifest.split_rule == {"rule": "all_train", "eval_on_train": True}
    train, val = manifest.splits["train"], manifest.splits["val"]
    assert train.objects == val.objects
    assert [s.sha256 for s in train.shards] == [s.sha256 for s in val.shards]
    assert _records(dataset, "train") == _records(dataset, "val")
    assert manifest.accounts["images"]["written"] == 2
    texts = [
        (dataset.output / f"{n}.json").read_text() for n in ("train", "val")
    ]
    assert texts[0] == texts[1]


def test_output_inside_the_input_is_not_read_as_input(
    dataset: made_dataset.Dataset,
) -> None:
    dataset.add("a")
    inside = dataset.input / "records"
    assert dataset.convert(f"--output_dir={inside}") == 0
    again = dataset.convert(f"--output_dir={inside}", "--overwrite")
    assert again == 0
    dataset.output = inside
    assert dataset.manifest().accounts["images"]["in"] == 1
