from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import aimmo, annotation


def _parse(top: Any) -> annotation.Annotation:
    return aimmo.parse_bytes(json.dumps(top).encode(), "a.json")


def _parse_object(item: Any) -> annotation.Annotation:
    return _parse({"annotations": [item]})


def test_fields(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    item = made_dataset.box("truck_l", 3, 4, 50.5, 40, id="x-1", truncation=2)
    path.write_text(
        json.dumps(
            {
                "filename": "a.png",
                "parent_path": "/batch/day/drive/FR-View-CMR-Wide",
                "size": "1920*1024",
                "annotations": [item],
            }
        )
    )
    assert aimmo.parse_annotation(str(path)) == annotation.Annotation(
        file=str(path),
        variant="A",
        image_name="a.png",
        image_size=(1024, 1920),
        drive="batch/day/drive",
        objects=(
            annotation.Object(
                annotation_id="x-1",
                class_name="truck_l",
                box=(4.0, 3.0, 40.0, 50.5),
                is_truncated=True,
                fields={
                    "id": "x-1",
                    "type": "bbox",
                    "label": "vehicle",
                    "attribute": "truck_l",
                    "occlusion": "0",
                    "truncation": "2",
                    "isfake": "0",
                },
            ),
        ),
        filtered=(),
        rejected=(),
        fields={
            "filename": "a.png",
            "parent_path": "/batch/day/drive/FR-View-CMR-Wide",
            "size": "1920*1024",
            "camera": "FR-View-CMR-Wide",
        },
    )


def test_box_is_over_all_points_whatever_the_first_corner() -> None:
    item = made_dataset.box("car", 0, 0, 1, 1)
    item["points"] = [[30, 5], [30, 25], [10, 25], [10, 5]]
    assert _parse_object(item).objects[0].box == (5.0, 10.0, 25.0, 30.0)
    item["points"] = [[20, 5], [35, 15], [20, 25], [8, 15]]
    assert _parse_object(item).objects[0].box == (5.0, 8.0, 25.0, 35.0)


def test_class_is_the_attribute_else_the_label() -> None:
    item = made_dataset.box("", 0, 0, 5, 5, label="bus")
    assert _parse_object(item).objects[0].class_name == "bus"
    del item["attribute"]
    assert _parse_object(item).objects[0].class_name == "bus"


def test_null_annotations_are_an_image_without_objects() -> None:
    parsed = _parse({"annotations": None})
    assert parsed.num_objects == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"isfake": 1}, "isfake"),
        ({"isfake": True}, "isfake"),
        ({"type": "poly_seg"}, "type:poly_seg"),
        ({"type": "poly_seg", "points": [[[1, 2], [3, 4]]]}, "type:poly_seg"),
    ],
)
def test_objects_left_out(change: dict[str, Any], reason: str) -> None:
    parsed = _parse_object({**made_dataset.box("car", 1, 1, 9, 9), **change})
    assert parsed.filtered == (reason,)
    assert parsed.num_objects == 1


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"points": None}, "too_few_points", "'points' is None"),
        ({"points": []}, "too_few_points", "at least 2 points"),
        ({"points": [[1, 2]]}, "too_few_points", "[[1, 2]]"),
        ({"points": [["1", 2], [3, 4]]}, "points_not_numbers", "['1', 2]"),
        ({"points": [[True, 2], [3, 4]]}, "points_not_numbers", "[True, 2]"),
        ({"points": [[1, 2, 3], [3, 4]]}, "points_not_numbers", "[x, y]"),
        ({"points": [[[[1, 2]], [[3, 4]]]]}, "points_not_numbers", "[x, y]"),
        ({"points": [[[1, 2]]]}, "too_few_points", "[[1, 2]]"),
        ({"points": [1, 2, 3, 4]}, "points_not_numbers", "point 1"),
        ({"points": [[float("nan"), 2], [3, 4]]}, "points_not_finite", "nan"),
        ({"points": [[10**400, 2], [3, 4]]}, "points_not_finite", "1000"),
        ({"type": None}, "no_type", "None"),
        ({"isfake": "no"}, "isfake_not_a_number", "'no'"),
        ({"truncation": [1]}, "truncation_not_a_number", "[1]"),
        ({"attribute": 3}, "no_class", "3"),
        ({"attribute": None, "label": None}, "no_class", "None"),
        ({"attribute": "\ud800"}, "no_class", "ud800"),
    ],
)
def test_objects_with_faults(
    change: dict[str, Any], reason: str, detail: str
) -> None:
    good = made_dataset.box("adult", 2, 2, 8, 8)
    bad = {**made_dataset.box("car", 1, 1, 9, 9), "id": "bad", **change}
    parsed = _parse({"annotations": [bad, good]})
    (fault,) = parsed.rejected
    assert (fault.annotation_id, fault.reason) == ("bad", reason)
    assert detail in fault.detail
    assert [o.class_name for o in parsed.objects] == ["adult"]


def test_object_that_is_no_record_and_one_given_twice() -> None:
    item = made_dataset.box("car", 1, 1, 9, 9)
    parsed = _parse({"annotations": ["car", item, {**item, "id": 7}]})
    assert [(f.annotation_id, f.reason) for f in parsed.rejected] == [
        ("number 1 in the list", "object_not_a_record"),
        ("7", "duplicate_object"),
    ]
    assert parsed.num_objects == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_json"),
        (b'{"annotations": [', "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[]", "not_an_annotation"),
        (b"null", "not_an_annotation"),
        (b"{}", "annotations_missing"),
        (b'{"annotations": {}}', "annotations_not_a_list"),
        (b'{"annotations": 3}', "annotations_not_a_list"),
        (b'{"annotations": [], "filename": 3}', "filename_not_text"),
        (b'{"annotations": [], "filename": "\\ud800"}', "filename_not_text"),
        (b'{"annotations": [], "parent_path": []}', "parent_path_not_text"),
        (b'{"annotations": [], "size": "big"}', "size_not_understood"),
        (b'{"annotations": [], "size": [64, 48]}', "size_not_understood"),
    ],
)
def test_files_with_faults(content: bytes, reason: str) -> None:
    with pytest.raises(annotation.AnnotationFault) as caught:
        aimmo.parse_bytes(content, "a.json")
    assert caught.value.reason == reason


def test_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        annotation.AnnotationFault, match="annotation_unreadable: No such file"
    ):
        aimmo.parse_annotation(str(tmp_path / "none.json"))


def test_byte_order_mark_is_no_fault() -> None:
    content = b'\xef\xbb\xbf{"annotations": []}'
    assert aimmo.parse_bytes(content, "a.json").num_objects == 0


def test_single_values_are_fields_as_text() -> None:
    content = json.dumps(
        {
            "filename": "a.png",
            "parent_path": "/batch/day/drive/FR-View-CMR-Wide",
            "weather": "sunny",
            "crowd_level": 2,
            "is_checked": True,
            "gps": [1, 2],
            "annotations": [
                {
                    "id": "x",
                    "type": "bbox",
                    "attribute": "car",
                    "points": [[0, 0], [4, 0], [4, 4], [0, 4]],
                    "occlusion": 3,
                    "scenario": None,
                }
            ],
        }
    ).encode()
    found = aimmo.parse_bytes(content, "a.json")
    assert found.fields == {
        "filename": "a.png",
        "parent_path": "/batch/day/drive/FR-View-CMR-Wide",
        "weather": "sunny",
        "crowd_level": "2",
        "is_checked": "true",
        "camera": "FR-View-CMR-Wide",
    }
    assert found.objects[0].fields == {
        "id": "x",
        "type": "bbox",
        "attribute": "car",
        "occlusion": "3",
    }


@pytest.mark.parametrize(
    ("top", "item", "variant", "size"),
    [
        ({"size": "64*48"}, {"attribute": "car"}, "A", (48, 64)),
        ({"weather": "sunny"}, {"attribute": "car"}, "B", None),
        ({"metadata": {"height": 48, "width": 64}}, {}, "C", (48, 64)),
        ({"metadata": {}}, {"attributes": {}}, "C", None),
        ({}, {"attributes": {}, "type": "poly_seg"}, "D", None),
        (
            {"metadata": {"height": 48, "width": 64}},
            {"points": [[[1, 2], [3, 4]]]},
            "D",
            (48, 64),
        ),
    ],
)
def test_variants(
    top: dict[str, Any],
    item: dict[str, Any],
    variant: str,
    size: tuple[int, int] | None,
) -> None:
    sound = {"type": "bbox", "label": "bus", "points": [[1, 2], [3, 4]]}
    parsed = _parse({**top, "annotations": [{**sound, **item}]})
    assert (parsed.variant, parsed.image_size) == (variant, size)
    assert [o.class_name for o in parsed.objects] == (
        [] if parsed.filtered else [item.get("attribute", "bus")]
    )
    assert parsed.num_objects == 1


def test_points_one_level_deeper_are_read() -> None:
    item = made_dataset.box("car", 0, 0, 1, 1)
    item["points"] = [[[10, 5], [30, 5]], [[30, 25], [10, 40]]]
    assert _parse_object(item).objects[0].box == (5.0, 10.0, 40.0, 30.0)


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"annotations": [{"id": 1, "bbox": [1, 2, 3, 4]}]}, "unknown_variant"),
        ({"annotations": [], "categories": []}, "unknown_variant"),
        ({"annotations": [], "metadata": 3}, "metadata_not_understood"),
        (
            {"annotations": [], "metadata": {"height": "48", "width": 64}},
            "metadata_not_understood",
        ),
        (
            {
                "annotations": [],
                "size": "64*48",
                "metadata": {"height": 64, "width": 48},
            },
            "size_contradicts_itself",
        ),
    ],
)
def test_files_of_no_variant(top: dict[str, Any], reason: str) -> None:
    with pytest.raises(annotation.AnnotationFault) as caught:
        _parse(top)
    assert caught.value.reason == reason


def test_attributes_of_the_platform_export_are_fields() -> None:
    item = {
        "type": "bbox",
        "label": "car",
        "attributes": {"occlusion": 2},
        "points": [[1, 2], [3, 4]],
    }
    top = {"attributes": {"weather": "fog"}, "annotations": [item]}
    parsed = _parse(top)
    assert parsed.fields == {"weather": "fog"}
    assert parsed.objects[0].fields["occlusion"] == "2"
