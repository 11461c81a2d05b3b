"""COCO JSON item by item, and the oracle on made boxes."""

from __future__ import annotations

import io
import json
import pathlib
import sys
from typing import Any

import numpy as np
import pytest

from tfrecord_tools import coco_file, json_stream, oracle


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_items_are_those_of_the_json_module(
    monkeypatch: pytest.MonkeyPatch, indent: int | None, chunk: int
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    content: dict[str, Any] = {
        "info": {"a": [1, 2, {"b": "}]"}]},
        "empty": [],
        "number": -12.5e3,
        "list": [1, 'two \u00fc \\ "', [3], {"four": None}, 12345, True],
        "last": 7,
    }
    found: dict[str, Any] = {}
    text = json.dumps(content, indent=indent)
    for key, item in json_stream.items(io.StringIO(text)):
        found.setdefault(key, []).append(item)
    assert found == {
        key: value if isinstance(value, list) else [value]
        for key, value in content.items()
        if value != []
    }
    assert list(json_stream.items(io.StringIO(" {\n} "))) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a"',
        '{"a": [1, 2',
        '{"a": [1 2]}',
        '{"a": 1 "b": 2}',
        "{1: 2}",
        '{"a": tru}',
        '{"a": 1.x}',
    ],
)
def test_what_is_no_object_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        list(json_stream.items(io.StringIO(text)))


def _file(path: pathlib.Path, content: Any) -> coco_file.CocoFile:
    path.write_text(json.dumps(content))
    return coco_file.CocoFile(str(path))


def test_objects_are_found_by_image(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    ids = rng.permutation(50).tolist()
    owners = rng.choice(ids, 200).tolist()
    boxes = rng.uniform(0, 90, (200, 4)).round(2).tolist()
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": i + 1, "width": i + 2}
        for i in ids
    ]
    objects = [
        {"image_id": owner, "category_id": 1 + n % 3, "bbox": box}
        | {"iscrowd": n % 2, "difficult": n % 3 % 2}
        for n, (owner, box) in enumerate(zip(owners, boxes, strict=True))
    ]
    categories = [{"id": 2, "name": "b"}, {"id": 1, "name": "a"}]
    found = _file(
        tmp_path / "x.json",
        {"annotations": objects, "categories": categories, "images": images},
    )
    assert found.categories == {1: "a", 2: "b"}
    assert not found.was_asked_for.any()
    for number in ids:
        truth = found.find(number)
        assert truth is not None
        mine = [n for n, owner in enumerate(owners) if owner == number]
        assert (truth.height, truth.width) == (number + 1, number + 2)
        assert truth.name_digest == coco_file.digest(f"{number}.jpg")
        assert truth.labels.tolist() == [1 + n % 3 for n in mine]
        assert truth.is_crowd.tolist() == [n % 2 == 1 for n in mine]
        assert truth.is_difficult.tolist() == [n % 3 == 1 for n in mine]
        x, y, w, h = np.reshape([boxes[n] for n in mine], (-1, 4)).T
        np.testing.assert_allclose(
            truth.boxes, np.stack([y, x, y + h, x + w], 1)
        )
    assert found.was_asked_for.all()
    assert found.find(50) is None
    assert found.find(None) is None
    assert (found.faults, found.num_faults) == ([], 0)


def test_faults_are_counted_beyond_those_kept(tmp_path: pathlib.Path) -> None:
    images = [{"id": 1, "file_name": "a", "height": 1, "width": 1}]
    bad = [{"id": n, "bbox": [1, 2, float("nan"), 4]} for n in range(150)]
    found = _file(
        tmp_path / "x.json",
        {"images": images, "categories": [], "annotations": bad},
    )
    assert found.num_faults == 150
    assert len(found.faults) == 100
    assert found.faults[3].startswith("annotation 3: ValueError: bbox")
    truth = found.find(1)
    assert truth is not None
    assert truth.labels.size == 0


def test_nesting_too_deep_is_a_value_error(tmp_path: pathlib.Path) -> None:
    depth = sys.getrecursionlimit() * 50
    path = tmp_path / "x.json"
    path.write_text('{"images": [' + "[" * depth + "]" * depth + "]}")
    with pytest.raises(ValueError, match="nested too deeply"):
        coco_file.CocoFile(str(path))


def _truth(labels: list[int], boxes: list[list[float]]) -> coco_file.Truth:
    return coco_file.Truth(
        height=100,
        width=100,
        name_digest=0,
        labels=np.array(labels),
        boxes=np.reshape(boxes, (-1, 4)),
        is_crowd=np.zeros(len(labels), bool),
        is_difficult=np.zeros(len(labels), bool),
    )


def test_oracle_by_hand() -> None:
    square = [10.0, 10.0, 20.0, 20.0]
    # IoU of 0.6: right at the thresholds .5, .55 and .6 of COCO's ten.
    part = [10.0, 10.0, 20.0, 16.0]
    truth = _truth([1, 2], [square, square])
    scores = oracle.average_precisions(
        [(np.array([1, 2]), np.array([square, part]), truth)], 3
    )
    assert scores[1] == pytest.approx(1.0)
    assert scores[2] == pytest.approx(0.0)  # AP75 is the least
    assert 3 not in scores  # no objects, no score
    other = _truth([1], [[50.0, 50.0, 60.0, 60.0]])
    found = (np.array([1]), np.array([square]))
    assert oracle.average_precisions([(*found, other)], 1) == {1: 0.0}
    nothing = (np.zeros(0, int), np.zeros((0, 4)), _truth([], []))
    assert oracle.average_precisions([nothing], 1) == {}


def test_oracle_counts_more_than_100_objects() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 900, (150, 2))
    boxes = np.concatenate([corners, corners + 20], 1)
    labels = np.ones(150, int)
    truth = _truth(labels.tolist(), boxes.tolist())
    scores = oracle.average_precisions([(labels, boxes, truth)], 1)
    assert scores[1] == pytest.approx(1.0)
    missing = (labels[:-1], boxes[:-1], truth)
    assert oracle.average_precisions([missing], 1)[1] < oracle.LEAST


def test_crowds_are_neither_right_nor_wrong() -> None:
    boxes = [[10.0, 10.0, 20.0, 20.0], [0.0, 0.0, 90.0, 90.0]]
    truth = _truth([1, 1], boxes)._replace(is_crowd=np.array([False, True]))
    found = (np.array([1]), np.array(boxes[:1]))
    scores = oracle.average_precisions([(*found, truth)], 1)
    assert scores[1] == pytest.approx(1.0)
