from __future__ import annotations

import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import annotation, yolo

NAMES = {0: "car", 3: "bus"}


def _parse(text: str) -> annotation.Annotation:
    return yolo.parse_bytes(text.encode(), "a.txt", NAMES)


def test_boxes() -> None:
    found = _parse("0 0.5 0.25 0.5 0.125\n\n3\t1 1 0.5 0.5\r\n")
    assert [(o.class_name, o.box) for o in found.objects] == [
        ("car", (0.1875, 0.25, 0.3125, 0.75)),
        ("bus", (0.75, 0.75, 1.25, 1.25)),
    ]
    assert [o.annotation_id for o in found.objects] == ["line 1", "line 3"]
    assert _parse("").num_objects == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.5", "line_not_understood"),
        ("0 0.5 0.5 0.5 0.5 0.9", "line_not_understood"),
        ("car 0.5 0.5 0.5 0.5", "no_class"),
        ("-1 0.5 0.5 0.5 0.5", "no_class"),
        ("1 0.5 0.5 0.5 0.5", "unknown_class_number"),
        ("0 0.5 0.5 a 0.5", "box_not_numbers"),
        ("0 0.5 0.5 nan 0.5", "box_not_finite"),
        ("0 0.5 0.5 -0.5 0.5", "negative_size"),
        ("0 320 240 64 48", "box_not_normalised"),
    ],
)
def test_objects_with_faults(line: str, reason: str) -> None:
    found = _parse(f"{line}\n0 0.5 0.5 0.5 0.5\n")
    (fault,) = found.rejected
    assert (fault.annotation_id, fault.reason) == ("line 1", reason)
    assert found.num_objects == 2


def test_segments_are_left_out() -> None:
    found = _parse("0 0.1 0.1 0.9 0.1 0.5 0.9\n0 .1 .2 .3 .4 .5 .6 .7 .8\n")
    assert found.filtered == ("type:segment", "type:segment")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"0 \0 0 0 0"])
def test_files_that_are_no_text(content: bytes) -> None:
    with pytest.raises(annotation.AnnotationFault, match="not_text"):
        yolo.parse_bytes(content, "a.txt", NAMES)


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    for number, name in enumerate(("train/a", "train/b", "val/c", "d")):
        path = made.input / f"images/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        made_dataset.pixels(number).save(path)
    for name in ("train/a", "val/c"):
        path = made.input / f"labels/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 0.5 0.5 0.25 0.25\n")
    (made.input / "README.txt").write_text("not a label")
    (made.input / "labels/classes.txt").write_text("car\n")
    _write(made, "names: [car]\ntrain: images/train\nval: [images/val]\n")
    return made


def _write(dataset: made_dataset.Dataset, text: str) -> None:
    (dataset.input / "data.yaml").write_text(text)


def _images(dataset: made_dataset.Dataset) -> dict[str, int]:
    splits = dataset.manifest().splits
    return {name: split.images for name, split in splits.items()}


def test_folders_are_the_split_and_an_image_without_text_has_no_box(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert() == 0
    assert _images(dataset) == {"train": 2, "val": 1}
    manifest = dataset.manifest()
    assert manifest.accounts["images"] == {
        "in": 4,
        "written": 3,
        "filtered": {"not_in_split": 1},
        "rejected": {},
    }
    assert manifest.splits["train"].objects == {"car": 1}
    assert "not_read: ['README.txt', 'labels/classes.txt']" in (
        capsys.readouterr().out
    )


def test_lists_of_images_are_the_split(dataset: made_dataset.Dataset) -> None:
    (dataset.input / "t.txt").write_text("./images/d.jpg\nimages/none.jpg\n")
    _write(dataset, "names: {0: car}\ntrain: t.txt\nval: images/val\n")
    assert dataset.convert("--allow_empty_classes") == 0
    assert _images(dataset) == {"train": 1, "val": 1}
    absent = dataset.manifest().source["listed_but_not_there"]
    assert absent["count"] == 1
    assert absent["examples"][0].endswith("images/none.jpg")


def test_text_without_an_image_and_with_two(
    dataset: made_dataset.Dataset,
) -> None:
    (dataset.input / "labels/lost.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    made_dataset.pixels(9).save(dataset.input / "images/train/a.png")
    _write(dataset, "names: [car]\n")
    assert dataset.convert("--max_rejects=0.9") == 0
    manifest = dataset.manifest()
    assert manifest.accounts["images"]["rejected"] == {
        "image_ambiguous": 1,
        "image_missing": 1,
    }
    assert manifest.accounts["images"]["written"] == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("names: car\n", "'names' is 'car'"),
        ("names: [car, car]\n", "class 1 is called 'car'"),
        ("names: [car, no]\n", "class 1 is called False"),
        ("names: [car]\nnc: 2\n", "'nc' is 2 and there are 1 names"),
        ("names: {car: 0}\n", "expected a list of class names"),
        ("names: [car]\nnames: [bus]\n", "the key 'names' is given again"),
        ("names: &a [car]\nother: *a\n", "aliases (*name) are not read"),
        ("names: [car\n", "data.yaml: not_yaml: "),
        ("names: [car]\ntrain: images/none\n", "where no image lies"),
        ("names: [car]\ntrain: images\nval: images\n", "into both train and"),
    ],
)
def test_data_yaml_with_faults(
    dataset: made_dataset.Dataset,
    data: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _write(dataset, data)
    assert dataset.convert() == 65
    assert message in capsys.readouterr().err


def test_no_data_yaml(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset.input / "data.yaml").unlink()
    assert dataset.convert("--format=yolo") == 65
    assert "no YAML file with 'names' at its top" in capsys.readouterr().err
