"""COCO and YOLO outputs, read back by other means than ours."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import schema

CLASSES = ["car", "truck", "bus", "pedestrian"]
# Boxes at the edges, of a fraction of a pixel, and one that is cut.
OBJECTS = [
    *made_dataset.ALL_CLASSES,
    made_dataset.box("car", 0, 0, 64, 48),
    made_dataset.box("car", 63.25, 47.5, 64, 48),
    made_dataset.box("adult", -5, -5, 3.5, 4.25),
]
# Label, then x_min, y_min, x_max, y_max in pixels of the 64x48 image.
BY_HAND = [
    (1, 1, 2, 21, 22),
    (2, 5, 5, 25, 30),
    (3, 10, 8, 60, 40),
    (4, 30, 10, 36, 30),
    (1, 0, 0, 64, 48),
    (1, 63.25, 47.5, 64, 48),
    (4, 0, 0, 3.5, 4.25),
]


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    made.add("drive one/a", OBJECTS)
    made.add("b", [])
    made.add("c", made_dataset.ALL_CLASSES)
    return made


def _json(dataset: made_dataset.Dataset, split: str) -> dict[str, Any]:
    text = (dataset.output / f"{split}.json").read_text()
    content: dict[str, Any] = json.loads(text)
    return content


def _coco_boxes(
    content: dict[str, Any], image_id: int
) -> list[tuple[float, ...]]:
    return [
        (a["category_id"], x, y, x + width, y + height)
        for a in content["annotations"]
        if a["image_id"] == image_id
        for x, y, width, height in [a["bbox"]]
    ]


def _yolo_boxes(text: str, width: int, height: int) -> list[tuple[float, ...]]:
    found: list[tuple[float, ...]] = []
    for line in text.splitlines():
        label, x, y, w, h = line.split(" ")
        left, top = float(x) - float(w) / 2, float(y) - float(h) / 2
        found.append(
            (
                int(label) + 1,
                left * width,
                top * height,
                (left + float(w)) * width,
                (top + float(h)) * height,
            )
        )
    return found


def _expected(scale_x: float, scale_y: float) -> np.ndarray:
    return np.array(BY_HAND) * [1, scale_x, scale_y, scale_x, scale_y]


@pytest.mark.parametrize(
    ("flags", "size", "scales"),
    [
        ((), (64, 48), (1, 1)),
        (("--image_size=100x33",), (100, 33), (100 / 64, 33 / 48)),
        (
            ("--image_size=90x96", "--resize=letterbox"),
            (90, 96),
            (90 / 64, 68 / 48),
        ),
        (
            ("--image_size=90x21", "--resize=letterbox"),
            (90, 21),
            (28 / 64, 21 / 48),
        ),
    ],
)
def test_all_formats_hold_the_same_boxes(
    dataset: made_dataset.Dataset,
    flags: tuple[str, ...],
    size: tuple[int, int],
    scales: tuple[float, float],
) -> None:
    assert dataset.convert("--output_format=yolo,coco,tfrecord", *flags) == 0
    expected = _expected(*scales)
    content = _json(dataset, "train")
    names = {i["original"]: i for i in content["images"]}
    image = names["drive one/a.jpg"]
    coco = np.array(_coco_boxes(content, image["id"]))
    np.testing.assert_allclose(coco, expected, atol=1e-4)

    stem = pathlib.PurePath(image["file_name"]).stem
    text = (dataset.output / "labels/train" / f"{stem}.txt").read_text()
    np.testing.assert_allclose(_yolo_boxes(text, *size), expected, atol=1e-4)
    stored = Image.open(dataset.output / "images/train" / image["file_name"])
    assert stored.size == size == (image["width"], image["height"])

    record = _records(dataset)["drive one/a.jpg"]
    assert record[schema.ENCODED] == [
        (dataset.output / "images/train" / image["file_name"]).read_bytes()
    ]
    boxes = [
        record[schema.LABEL],
        np.array(record[schema.XMIN]) * size[0],
        np.array(record[schema.YMIN]) * size[1],
        np.array(record[schema.XMAX]) * size[0],
        np.array(record[schema.YMAX]) * size[1],
    ]
    np.testing.assert_allclose(np.stack(boxes, -1), expected, atol=1e-4)


def _records(dataset: made_dataset.Dataset) -> dict[str, dict[str, Any]]:
    paths = [str(p) for p in dataset.output.glob("train-*.tfrecord")]
    found = {}
    for record in tf.data.TFRecordDataset(paths).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        values = {
            key: list(getattr(f, f.WhichOneof("kind")).value)
            for key, f in features.items()
            if f.WhichOneof("kind")
        }
        found[values[schema.FILENAME][0].decode()] = values
    return found


def test_folders_of_yolo(dataset: made_dataset.Dataset) -> None:
    assert dataset.convert("--output_format=yolo", "--eval_on_train") == 0
    assert dataset.final_names() == [
        "data.yaml",
        "dataset.json",
        "images",
        "labels",
        "report.html",
    ]
    described = yaml.safe_load((dataset.output / "data.yaml").read_text())
    assert described == {
        "train": "images/train",
        "val": "images/val",
        "nc": 4,
        "names": CLASSES,
    }
    for split in ("train", "val"):
        images = sorted((dataset.output / described[split]).iterdir())
        labels = sorted((dataset.output / "labels" / split).iterdir())
        assert [p.name for p in images] == [f"{i:012d}.jpg" for i in (1, 2, 3)]
        assert [p.stem for p in labels] == [p.stem for p in images]
    # b.jpg, without objects: a file all the same.
    assert (dataset.output / "labels/val/000000000001.txt").read_text() == ""
    manifest = dataset.manifest()
    assert manifest.formats == ("yolo",)
    assert manifest.splits["train"].shards == ()
    assert manifest.splits["train"].images == 3


def test_formats_alone_are_those_of_all(
    dataset: made_dataset.Dataset,
) -> None:
    split = ("--val_fraction=0.4", "--seed=3")
    assert dataset.convert("--output_format=tfrecord,coco,yolo", *split) == 0
    together = _tree(dataset)
    manifest = dataset.manifest()
    for name in ("tfrecord", "coco", "yolo"):
        dataset.output = dataset.input.parent / name
        assert dataset.convert(f"--output_format={name}", *split) == 0
        alone = _tree(dataset)
        # These two say what the others are.
        for path in set(alone) - {"dataset.json", "report.html"}:
            if name != "tfrecord" or not path.endswith(".json"):
                assert alone[path] == together[path], path
        assert dataset.manifest().accounts == manifest.accounts
        assert dataset.manifest().split_rule == manifest.split_rule
    val = json.loads(together["val.json"])
    assert [i["original"] for i in val["images"]] == ["c.jpg"]
    # The same images and boxes, whatever the images' files are called.
    dataset.output = dataset.input.parent / "tfrecord"
    content = _json(dataset, "train")
    for image in content["images"]:
        image["original"] = image.pop("file_name")
    other = json.loads(together["train.json"])
    for image in other["images"]:
        del image["file_name"]
    assert content == other


def _tree(dataset: made_dataset.Dataset) -> dict[str, bytes]:
    return {
        str(p.relative_to(dataset.output)): p.read_bytes()
        for p in dataset.output.rglob("*")
        if p.is_file()
    }


def test_checksums_are_those_of_the_files(
    dataset: made_dataset.Dataset,
) -> None:
    assert dataset.convert("--output_format=tfrecord,yolo") == 0
    checksums = dataset.manifest().checksums
    assert set(checksums) == {"data.yaml", "images/train", "train.json"}
    for name in ("data.yaml", "train.json"):
        content = (dataset.output / name).read_bytes()
        assert checksums[name] == hashlib.sha256(content).hexdigest()


def test_png_to_jpeg(dataset: made_dataset.Dataset) -> None:
    (dataset.input / "b.jpg").unlink()
    picture = made_dataset.pixels(8)
    picture.save(dataset.input / "b.png")
    kept = (dataset.input / "c.jpg").read_bytes()
    flags = ("--output_format=tfrecord", "--jpeg_quality=90")
    assert dataset.convert(*flags) == 0
    assert _records(dataset)["b.png"][schema.FORMAT] == [b"png"]
    assert dataset.convert(*flags, "--image_format=jpeg", "--overwrite") == 0
    record = _records(dataset)["b.png"]
    assert record[schema.FORMAT] == [b"jpeg"]
    stored = Image.open(io.BytesIO(record[schema.ENCODED][0]))
    assert stored.format == "JPEG"
    difference = np.asarray(stored, int) - np.asarray(picture, int)
    assert np.abs(difference).mean() < 2
    # A JPEG's bytes stay as they are.
    assert _records(dataset)["c.jpg"][schema.ENCODED] == [kept]


def test_letterbox_stands_in_the_manifest(
    dataset: made_dataset.Dataset,
) -> None:
    made_dataset.pixels(1, 30, 60).save(dataset.input / "b.jpg")
    dataset.annotate("b", [], size="30*60")
    assert dataset.convert("--image_size=90x96", "--resize=letterbox") == 0
    manifest = dataset.manifest()
    assert manifest.image_size == (96, 90)
    assert manifest.resize == {
        "mode": "letterbox",
        "position": "top left",
        "fill": [124, 116, 104],
        "content": {"64x48": "90x68", "30x60": "48x96"},
    }
    assert dataset.convert("--image_size=90x96", "--overwrite") == 0
    assert dataset.manifest().resize == {"mode": "stretch"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output_format=voc"], "has 'voc'; expected tfrecord, coco, yolo"),
        (["--output_format="], "has ''"),
        (["--resize=letterbox"], "give --image_size=WIDTHxHEIGHT too"),
        (["--resize=crop"], "resize"),
        (["--beam_args=--runner=X"], "Give --engine=beam too"),
        (["--engine=spark"], "engine"),
    ],
)
def test_wrong_flags(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    assert dataset.convert(*flags) == 64
    assert message in capsys.readouterr().err
    assert dataset.final_names() == []
