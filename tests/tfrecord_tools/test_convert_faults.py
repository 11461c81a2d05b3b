"""The command on bad data: message, reason and exit code of each fault."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from tests.tfrecord_tools import made_dataset

# A single fault is far above the default share in a data set this small.
ALLOW = "--max_rejects=0.9"


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    made.add("good")
    return made


def _check_rejected(
    dataset: made_dataset.Dataset, reason: str, file: str, detail: str
) -> None:
    """Converts, and checks that one image alone is rejected, for a reason."""
    assert dataset.convert(ALLOW) == 0
    manifest = dataset.manifest()
    account = manifest.accounts["images"]
    assert account["rejected"] == {reason: 1}
    assert account["written"] == 1
    (example,) = manifest.rejects["images"][reason]
    assert example["file"] == file
    assert detail in example["detail"]


def test_corrupt_json(dataset: made_dataset.Dataset) -> None:
    dataset.add("bad").write_text('{"filename": "bad.jpg", ')
    _check_rejected(dataset, "not_json", "bad.json", "Expecting")
    # Its image is not counted a second time as one without annotation.
    assert dataset.manifest().accounts["images"]["in"] == 2


def test_missing_image(dataset: made_dataset.Dataset) -> None:
    dataset.annotate("bad", made_dataset.ALL_CLASSES)
    _check_rejected(dataset, "image_missing", "bad.json", "'bad.jpg'")
    objects = dataset.manifest().accounts["objects"]
    assert objects["rejected"] == {"image_rejected": 4}
    assert objects["in"] == 8


def test_image_that_is_none(dataset: made_dataset.Dataset) -> None:
    dataset.add("bad")
    (dataset.input / "bad.jpg").write_text("no image")
    _check_rejected(dataset, "not_an_image", "bad.json", "cannot identify")
    objects = dataset.manifest().accounts["objects"]
    assert objects["rejected"] == {"image_rejected": 4}


def test_image_cut_off(dataset: made_dataset.Dataset) -> None:
    dataset.add("bad")
    path = dataset.input / "bad.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    _check_rejected(
        dataset, "image_cut_off_or_damaged", "bad.json", "truncated"
    )


def test_size_in_the_annotation_disagrees(
    dataset: made_dataset.Dataset,
) -> None:
    dataset.add("bad", size="48*64")
    _check_rejected(
        dataset,
        "size_mismatch",
        "bad.json",
        "the annotation says 48x64, the image is 64x48",
    )


def test_image_larger_than_max_pixels(
    dataset: made_dataset.Dataset,
) -> None:
    dataset.add("bad")
    made_dataset.pixels(1, 65, 48).save(dataset.input / "bad.jpg")
    assert dataset.convert(ALLOW, f"--max_pixels={64 * 48}") == 0
    rejects = dataset.manifest().rejects["images"]
    assert list(rejects) == ["image_too_large"]


def test_two_annotations_of_one_image(dataset: made_dataset.Dataset) -> None:
    shutil.copy(dataset.input / "good.json", dataset.input / "z.json")
    _check_rejected(
        dataset, "duplicate_annotation", "z.json", "good.json is an annotation"
    )


def test_same_file_name_in_two_drives_is_legal(
    dataset: made_dataset.Dataset,
) -> None:
    # Once beside the annotation, once in a tree of its own.
    for drive in ("d1", "d2"):
        dataset.add(f"{drive}/cam/same")
        dataset.add(f"labels/{drive}/cam/same2")
        folder = dataset.input / f"images/{drive}/cam"
        folder.mkdir(parents=True)
        (dataset.input / f"labels/{drive}/cam/same2.jpg").rename(
            folder / "same2.jpg"
        )
    assert dataset.convert() == 0
    assert dataset.manifest().accounts["images"]["written"] == 5
    truth = json.loads((dataset.output / "train.json").read_text())
    assert sorted(i["file_name"] for i in truth["images"]) == [
        "d1/cam/same.jpg",
        "d2/cam/same.jpg",
        "good.jpg",
        "images/d1/cam/same2.jpg",
        "images/d2/cam/same2.jpg",
    ]


def test_same_file_name_and_no_way_to_tell(
    dataset: made_dataset.Dataset,
) -> None:
    for folder in ("x", "y"):
        (dataset.input / folder).mkdir()
        made_dataset.pixels(1).save(dataset.input / folder / "bad.jpg")
    dataset.annotate("bad", [])
    _check_rejected(
        dataset, "image_ambiguous", "bad.json", "x/bad.jpg, y/bad.jpg"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "/etc/outside.jpg",
        "a/../../outside.jpg",
        "..\\outside.jpg",
        "C:\\outside.jpg",
    ],
)
def test_file_name_that_leaves_the_folder(
    dataset: made_dataset.Dataset, name: str
) -> None:
    made_dataset.pixels(1).save(dataset.input.parent / "outside.jpg")
    dataset.annotate("bad", [], filename=name)
    _check_rejected(
        dataset, "filename_leaves_folder", "bad.json", "without '..'"
    )


def test_link_that_leaves_the_folder(dataset: made_dataset.Dataset) -> None:
    made_dataset.pixels(1).save(dataset.input.parent / "outside.jpg")
    (dataset.input / "bad.jpg").symlink_to(dataset.input.parent / "outside.jpg")
    dataset.annotate("bad", [])
    _check_rejected(dataset, "image_leaves_folder", "bad.json", "bad.jpg")


def test_annotation_linked_from_elsewhere(
    dataset: made_dataset.Dataset,
) -> None:
    outside = dataset.add("bad").rename(dataset.input.parent / "outside.json")
    (dataset.input / "bad.json").symlink_to(outside)
    _check_rejected(
        dataset, "annotation_leaves_folder", "bad.json", "--input_dir"
    )


def test_too_many_rejects(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.annotate("missing", [])
    dataset.add("bad1").write_text("[")
    dataset.add("bad2").write_text("[")
    assert dataset.convert() == 65
    err = capsys.readouterr().err
    assert (
        "error: 3 of 4 annotated images are rejected, more than"
        " --max_rejects=0.01 allows:\n  not_json: 2, such as bad1.json" in err
    )
    assert "  image_missing: 1, such as missing.json" in err
    assert dataset.final_names() == []


def test_too_many_rejects_found_while_writing(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("bad", size="48*64")
    assert dataset.convert() == 65
    assert "size_mismatch: 1, such as bad.json" in capsys.readouterr().err
    assert dataset.final_names() == []


def test_class_that_no_annotation_has(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = "--classes=car,truck,bus,Pedestrian"
    assert dataset.convert(classes) == 64
    assert (
        "error: no annotation has class 'Pedestrian', did you mean"
        " 'pedestrian' (1 objects)?" in capsys.readouterr().err
    )
    assert dataset.final_names() == []
    assert dataset.convert(classes, "--allow_empty_classes") == 0
    manifest = dataset.manifest()
    assert manifest.splits["train"].objects["Pedestrian"] == 0
    assert manifest.accounts["objects"]["filtered"] == {"class:adult": 1}
    assert "no object of class 'Pedestrian'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--imput_dir=x", "Unknown command line flag 'imput_dir'"),
        ("--image_size=960", "--image_size=960 is not WIDTHxHEIGHT"),
        ("--image_size=0x512", "is not WIDTHxHEIGHT"),
        ("--num_shards=0", "num_shards"),
        ("--max_rejects=2", "max_rejects"),
        ("--input_dir=/none", "--input_dir=/none is not a folder"),
        ("--input_dir=", "--input_dir is missing"),
        ("--image_dir=/none", "--image_dir=/none is not a folder"),
        ("--val_list=v.txt", "--val_list needs --train_list"),
        ("--train_list=/none", "--train_list=/none cannot be read"),
        ("--val_fraction=1.5", "--val_fraction=1.5 is not between"),
        ("rest", "Unexpected argument 'rest'"),
    ],
)
def test_wrong_flags(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    message: str,
) -> None:
    assert dataset.convert(flag) == 64
    assert message in capsys.readouterr().err
    assert dataset.final_names() == []


def test_output_and_input_in_one_folder(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert(f"--output_dir={dataset.input}/.") == 64
    assert "--input_dir and --output_dir are both" in capsys.readouterr().err


def test_no_annotations(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made_dataset.Dataset(tmp_path).convert() == 65
    assert (
        "holds no annotation file (*.json, *.xml, data.yaml)"
        in capsys.readouterr().err
    )


def test_every_image_of_a_split_is_rejected(
    dataset: made_dataset.Dataset,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset.add("bad", size="1*1")
    (tmp_path / "t").write_text("good")
    (tmp_path / "v").write_text("bad")
    lists = [f"--train_list={tmp_path}/t", f"--val_list={tmp_path}/v"]
    assert dataset.convert(ALLOW, *lists) == 65
    assert "Split 'val' has no image left" in capsys.readouterr().err
    assert dataset.final_names() == []
