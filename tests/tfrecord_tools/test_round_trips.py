"""One data set in every format: equal boxes and equal counts."""

from __future__ import annotations

import collections
import json
import pathlib

import numpy as np
import pytest

from tests.tfrecord_tools import written_formats
from tfrecord_tools import command, convert, schema

STREET = pathlib.Path(__file__).parents[2] / "examples/aimmo_street"


def _convert(
    input_dir: pathlib.Path, output_dir: pathlib.Path
) -> schema.Manifest:
    argv = [
        "convert",
        f"--input_dir={input_dir}",
        f"--image_dir={STREET / 'images'}",
        f"--output_dir={output_dir}",
        "--classes=car,truck,bus,pedestrian",
        "--num_workers=1",
        "--num_shards=1",
    ]
    assert command.run(convert.main, convert.FLAGS, "usage", argv) == 0
    path = output_dir / schema.MANIFEST_NAME
    return schema.parse_manifest(path.read_text(), str(path))


def _boxes(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns class, x, y, width, height of each image's boxes, sorted."""
    truth = json.loads((folder / "train.json").read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    rows = collections.defaultdict(list)
    for item in truth["annotations"]:
        row = (item["category_id"], *item["bbox"])
        rows[names[item["image_id"]]].append(row)
    return {
        name: np.array(sorted(rows[name])).reshape(-1, 5)
        for name in names.values()
    }


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[schema.Manifest, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("aimmo_a")
    return _convert(STREET / "labels", folder), _boxes(folder)


def test_variant_a(
    expected: tuple[schema.Manifest, dict[str, np.ndarray]],
) -> None:
    manifest, boxes = expected
    assert manifest.source["format"] == "aimmo"
    assert manifest.source["variants"] == {"A": 32}
    assert manifest.source["coordinates"] == "pixels"
    by_hand = {
        picture.file_name: len(picture.boxes)
        for picture in written_formats.pictures(STREET / "labels")
    }
    assert {name: len(rows) for name, rows in boxes.items()} == by_hand


@pytest.mark.parametrize("name", written_formats.WRITERS)
def test_same_boxes_in_every_format(
    name: str,
    expected: tuple[schema.Manifest, dict[str, np.ndarray]],
    tmp_path: pathlib.Path,
) -> None:
    made = tmp_path / "in"
    made.mkdir()
    written_formats.WRITERS[name](STREET / "labels", made)
    manifest = _convert(made, tmp_path / "out")
    manifest_a, boxes_a = expected
    boxes = _boxes(tmp_path / "out")
    assert boxes.keys() == boxes_a.keys()
    for image, rows in boxes_a.items():
        np.testing.assert_array_equal(boxes[image][:, 0], rows[:, 0])
        np.testing.assert_allclose(boxes[image], rows, atol=0.01)
    train, train_a = manifest.splits["train"], manifest_a.splits["train"]
    assert train.objects == train_a.objects
    assert train.images == train_a.images
    assert manifest.accounts["objects"]["clipped"] == 0
    assert manifest.accounts["images"]["rejected"] == {}
    variants = {
        "aimmo_b": {"B": 32},
        "aimmo_c": {"C": 32},
        "aimmo_d": {"D": 32},
    }
    assert manifest.source["format"] == name.split("_")[0]
    assert manifest.source["variants"] == variants.get(name, {})
    assert manifest.source["coordinates"] == {
        "aimmo_b": "normalised",
        "yolo": "normalised",
        "voc": "pixels_from_1",
    }.get(name, "pixels")
