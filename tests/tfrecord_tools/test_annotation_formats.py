"""Which format a folder holds, and what is the same in all of them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.tfrecord_tools import made_dataset, made_formats


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    return made_dataset.Dataset(tmp_path)


def _truth(dataset: made_dataset.Dataset, split: str = "train") -> Any:
    return json.loads((dataset.output / f"{split}.json").read_text())


def test_two_formats_in_a_folder_are_not_guessed(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    made_formats.coco(dataset, "b.json")
    assert dataset.convert() == 64
    error = capsys.readouterr().err
    assert "may be aimmo or coco" in error
    assert "b.json has images and categories" in error
    assert "--format=aimmo or --format=coco" in error
    # The file of the other format is rejected by name, not read wrongly.
    assert dataset.convert("--format=aimmo", "--max_rejects=0.9") == 0
    rejects = dataset.manifest().rejects["images"]
    assert [e["file"] for e in rejects["unknown_variant"]] == ["b.json"]


def test_a_yaml_file_without_names_shows_nothing(
    dataset: made_dataset.Dataset,
) -> None:
    dataset.add("a")
    (dataset.input / "config.yaml").write_text("&a [*a, \n")
    assert dataset.convert() == 0
    assert dataset.manifest().source["format"] == "aimmo"
    made_formats.yolo(dataset, "names: [car]\n")
    assert dataset.convert("--overwrite") == 64


def test_the_guess_and_its_reason_are_said(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    made_formats.image(dataset, "a.jpg")
    made_formats.voc(
        dataset, "a.xml", "a.jpg", [{"name": "car", "box": (1, 1, 9, 9)}]
    )
    assert dataset.convert() == 0
    out = capsys.readouterr().out
    assert "format: voc (a.xml is an <annotation>)" in out
    assert "coordinates: pixels_from_1" in out
    source = dataset.manifest().source
    assert source["format"] == "voc"
    assert source["format_from"] == "a.xml is an <annotation>"


def test_classes_are_all_names_and_class_map_holds_for_all(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    made_formats.image(dataset, "a.jpg")
    names = ("van", "truck_s", "car")
    objects = [
        {"name": name, "box": (1, 1, 9 + i, 9)} for i, name in enumerate(names)
    ]
    made_formats.voc(dataset, "a.xml", "a.jpg", objects)
    assert dataset.convert("--class_map=van:car") == 0
    manifest = dataset.manifest()
    # By alphabet, without van; AIMMO's truck_s is not a truck here.
    assert manifest.classes == ("car", "truck_s")
    assert manifest.splits["train"].objects == {"car": 2, "truck_s": 1}
    assert "classes: car, truck_s (all of the data set, by alphabet)" in (
        capsys.readouterr().out
    )


def test_aimmo_s_mapping_is_for_aimmo_alone(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    made_formats.image(dataset, "a.jpg")
    objects = [{"name": "truck_s", "box": (1, 1, 9, 9)}]
    made_formats.voc(dataset, "a.xml", "a.jpg", objects)
    assert dataset.convert("--classes=truck") == 64
    assert "did you mean 'truck_s' (1 objects)" in capsys.readouterr().err
    assert dataset.convert("--classes=truck", "--class_map=truck_s:truck") == 0
    assert dataset.manifest().splits["train"].objects == {"truck": 1}


def test_objects_of_no_image_are_in_the_account(
    dataset: made_dataset.Dataset,
) -> None:
    made_formats.image(dataset, "a.jpg")
    boxes = [
        made_formats.coco_box(1, 0, 0, 9, 9),
        made_formats.coco_box(2, 0, 0, 9, 9, image_id=77),
        made_formats.coco_box(3, 5, 5, -9, 9),
        made_formats.coco_box(4, 5, 5, 9, 9, category_id=77),
    ]
    made_formats.coco(dataset, "c.json", annotations=boxes)
    assert dataset.convert() == 0
    manifest = dataset.manifest()
    account = manifest.accounts["objects"]
    assert (account["in"], account["written"]) == (4, 1)
    assert account["rejected"] == {
        "negative_size": 1,
        "unknown_category": 1,
        "unknown_image": 1,
    }
    assert manifest.rejects["objects"]["unknown_image"] == [
        {"file": "c.json", "annotation_id": "2", "detail": "'image_id' is 77"}
    ]


@pytest.mark.parametrize("kind", ["aimmo", "coco", "voc"])
def test_an_image_name_that_leaves_the_folder(
    dataset: made_dataset.Dataset, kind: str
) -> None:
    made_dataset.pixels(1).save(dataset.input.parent / "secret.jpg")
    name = "../secret.jpg"
    if kind == "aimmo":
        dataset.annotate("a", made_dataset.ALL_CLASSES, filename=name)
    elif kind == "voc":
        made_formats.voc(
            dataset, "a.xml", name, [{"name": "car", "box": (1, 1, 9, 9)}]
        )
    else:
        image = {"id": 1, "file_name": name}
        made_formats.coco(
            dataset,
            "c.json",
            images=[image, {"id": 2, "file_name": "/etc/passwd"}],
            annotations=[made_formats.coco_box(1, 0, 0, 9, 9)],
        )
    assert dataset.convert("--max_rejects=1", "--allow_empty_classes") == 65
    assert dataset.final_names() == []
    made_formats.image(dataset, "good.jpg")
    if kind == "aimmo":
        dataset.annotate("good", made_dataset.ALL_CLASSES)
    elif kind == "voc":
        made_formats.voc(dataset, "good.xml", "good.jpg", [])
    else:
        made_formats.coco(
            dataset,
            "good.json",
            images=[{"id": 1, "file_name": "good.jpg"}],
        )
    assert dataset.convert("--max_rejects=1") == 0
    account = dataset.manifest().accounts["images"]
    assert set(account["rejected"]) == {"filename_leaves_folder"}


@pytest.mark.parametrize("key", ["train", "path"])
def test_a_yolo_path_that_leaves_the_folder(
    dataset: made_dataset.Dataset,
    key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_formats.image(dataset, "images/a.jpg")
    other = "" if key == "train" else "train: images\n"
    made_formats.yolo(dataset, f"names: [car]\n{other}{key}: ../images\n")
    assert dataset.convert() == 65
    error = capsys.readouterr().err
    assert f"data.yaml: {key!r} is '../images'" in error


def test_same_file_name_in_two_folders(dataset: made_dataset.Dataset) -> None:
    for folder in ("d1", "d2"):
        made_formats.image(dataset, f"{folder}/JPEGImages/x.jpg")
        box = (1, 1, 9 if folder == "d1" else 5, 9)
        made_formats.voc(
            dataset,
            f"{folder}/Annotations/x.xml",
            "x.jpg",
            [{"name": "car", "box": box}],
        )
    assert dataset.convert() == 0
    truth = _truth(dataset)
    names = {i["id"]: i["file_name"] for i in truth["images"]}
    widths = {names[a["image_id"]]: a["bbox"][2] for a in truth["annotations"]}
    assert widths == {"d1/JPEGImages/x.jpg": 9, "d2/JPEGImages/x.jpg": 5}


def test_a_second_run_does_nothing_and_leaves_nothing_aside(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    made_formats.image(dataset, "a.jpg")
    made_formats.coco(
        dataset, "c.json", annotations=[made_formats.coco_box(1, 0, 0, 9, 9)]
    )
    assert dataset.convert("--num_workers=2") == 0
    names = dataset.final_names()
    assert names == [
        "dataset.json",
        "report.html",
        "train-00000-of-00001.tfrecord",
        "train.json",
    ]
    assert dataset.convert() == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert dataset.final_names() == names
