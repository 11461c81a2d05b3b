from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import annotation, coco, coco_folder, entries


def _found(tmp_path: pathlib.Path, **files: Any) -> entries.Found:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / f"{name}.json").write_text(text)
    names = sorted(f"{name}.json" for name in files)
    return coco_folder.find(str(tmp_path), names, [], str(tmp_path / "aside"))


def _parse(found: entries.Found, entry: entries.Entry) -> annotation.Annotation:
    content = entries.read(found.reading.folder, entry)
    return coco.parse_bytes(content, entry.file)


def _top(annotations: list[Any], **other: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "x/a.jpg", "width": 64, "height": 48},
            {"id": "b", "file_name": "b.jpg"},
        ],
        "categories": [{"id": 9, "name": "bus"}, {"id": 2, "name": "car"}],
        "annotations": annotations,
        **other,
    }


def _box(**other: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "image_id": 7,
        "category_id": 2,
        "bbox": [1, 2, 10, 20.5],
        "iscrowd": 1,
        "segmentation": [[0] * 1000],
        **other,
    }


def test_each_image_is_set_aside(tmp_path: pathlib.Path) -> None:
    found = _found(tmp_path, c=_top([_box(), _box(image_id="b")]))
    assert found.class_names == ("car", "bus")
    assert [e.file for e in found.entries] == [
        "c.json, image 7",
        "c.json, image 'b'",
    ]
    first, second = (_parse(found, entry) for entry in found.entries)
    assert first == annotation.Annotation(
        file="c.json, image 7",
        image_name="x/a.jpg",
        is_image_path=True,
        image_size=(48, 64),
        drive="x",
        objects=(
            annotation.Object(
                annotation_id="1",
                class_name="car",
                box=(2.0, 1.0, 22.5, 11.0),
                is_truncated=False,
                is_crowd=True,
                fields={
                    "id": "1",
                    "image_id": "7",
                    "category_id": "2",
                    "iscrowd": "1",
                    "class_name": "car",
                },
            ),
        ),
        filtered=(),
        rejected=(),
        fields={
            "id": "7",
            "file_name": "x/a.jpg",
            "width": "64",
            "height": "48",
        },
    )
    assert (second.image_size, second.num_objects) == (None, 1)
    # Polygons are not carried along.
    assert max(p.stat().st_size for p in (tmp_path / "aside").iterdir()) < 600


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": None}, "no_box"),
        ({"bbox": [1, 2, 3]}, "box_not_numbers"),
        ({"bbox": ["1", 2, 3, 4]}, "box_not_numbers"),
        ({"bbox": [1, 2, 3, True]}, "box_not_numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "box_not_finite"),
        ({"bbox": [1, 2, 3, 10**400]}, "box_not_finite"),
        ({"bbox": [1, 2, -3, 4]}, "negative_size"),
        ({"category_id": 3}, "unknown_category"),
        ({"category_id": [2]}, "unknown_category"),
        ({"category_id": True}, "unknown_category"),
        ({"iscrowd": "no"}, "iscrowd_not_a_number"),
    ],
)
def test_objects_with_faults(
    tmp_path: pathlib.Path, change: dict[str, Any], reason: str
) -> None:
    found = _found(tmp_path, c=_top([_box(**change), _box(id=2)]))
    parsed = _parse(found, found.entries[0])
    assert [(r.annotation_id, r.reason) for r in parsed.rejected] == [
        ("1", reason)
    ]
    assert parsed.num_objects == 2


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (_box(image_id=8), "unknown_image"),
        (_box(image_id=None), "unknown_image"),
        (_box(image_id={}), "unknown_image"),
        ("box", "object_not_a_record"),
    ],
)
def test_objects_of_no_image(
    tmp_path: pathlib.Path, item: Any, reason: str
) -> None:
    found = _found(tmp_path, c=_top([item, _box()]))
    assert found.loose.rejected == {reason: 1}
    assert found.loose.num_in == 1
    found.loose.check("objects")


@pytest.mark.parametrize(
    ("categories", "reason"),
    [
        ([{"id": 2, "name": "a"}, {"id": 2, "name": "b"}], "category_id"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "category_name"),
    ],
)
def test_duplicate_categories(
    tmp_path: pathlib.Path, categories: list[Any], reason: str
) -> None:
    found = _found(tmp_path, c=_top([_box()], categories=categories))
    (fault,) = _parse(found, found.entries[0]).rejected
    assert fault.reason == f"duplicate_{reason}"


def test_images_with_faults(tmp_path: pathlib.Path) -> None:
    images = [
        {"id": 7, "file_name": "a.jpg"},
        {"id": 7, "file_name": "b.jpg"},
        {"file_name": "c.jpg"},
        "d.jpg",
        {"id": 8, "file_name": 3},
        {"id": 9, "file_name": "e.jpg", "width": "64", "height": 48},
    ]
    found = _found(tmp_path, c=_top([_box()], images=images))
    assert [(f, fault.reason) for f, fault in found.faults] == [
        ("c.json, image 1 in the list", "duplicate_image_id"),
        ("c.json, image 2 in the list", "duplicate_image_id"),
        ("c.json, image 3 in the list", "no_image_id"),
        ("c.json, image 4 in the list", "no_image_id"),
    ]
    assert found.loose.rejected == {"image_rejected": 1}
    reasons = []
    for entry in found.entries:
        with pytest.raises(annotation.AnnotationFault) as caught:
            _parse(found, entry)
        reasons.append(caught.value.reason)
    assert reasons == ["filename_not_text", "size_not_understood"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not_json"),
        ("[]", "not_an_annotation"),
        ("{}", "categories_not_a_list"),
        ({"categories": []}, "images_not_a_list"),
        ({"categories": [], "images": []}, "annotations_not_a_list"),
    ],
)
def test_files_with_faults(
    tmp_path: pathlib.Path, content: Any, reason: str
) -> None:
    found = _found(tmp_path, c=content, good=_top([_box()]))
    assert [(f, fault.reason) for f, fault in found.faults] == [
        ("c.json", reason)
    ]
    assert len(found.entries) == 2


def test_files_called_train_and_val_are_the_split(
    tmp_path: pathlib.Path,
) -> None:
    one = _top([], images=[{"id": 1, "file_name": "a.jpg"}])
    found = _found(
        tmp_path,
        instances_train2017=one,
        instances_val2017=one,
        captions_val2017=one,
    )
    assert found.has_splits
    assert [e.split for e in found.entries] == ["train", "val"]
    assert found.facts["not_read"] == ["captions_val2017.json"]
    found = _found(tmp_path / "aside", c=one, train=one)
    assert not found.has_splits
    assert [e.split for e in found.entries] == [None, None]


def test_path_below_the_folder_goes_before_a_mere_name(
    tmp_path: pathlib.Path,
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    for name in ("a.jpg", "sub/a.jpg"):
        (dataset.input / name).parent.mkdir(exist_ok=True)
        made_dataset.pixels(len(name)).save(dataset.input / name)
    top = _top(
        [_box()],
        images=[
            {"id": 7, "file_name": "a.jpg"},
            {"id": 8, "file_name": "sub/a.jpg"},
        ],
    )
    (dataset.input / "c.json").write_text(json.dumps(top))
    assert dataset.convert() == 0
    truth = json.loads((dataset.output / "train.json").read_text())
    names = {i["id"]: i["file_name"] for i in truth["images"]}
    (box,) = truth["annotations"]
    assert names[box["image_id"]] == "a.jpg"
    assert dataset.manifest().splits["train"].objects == {"car": 1, "bus": 0}
