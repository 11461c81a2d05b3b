"""AP against pycocotools' own loader, counts against hand examples."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from efficientdet_aimmo.evaluation import coco, metrics
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib

Row = tuple[int, int, list[float]]  # image, class from 0, x y width height
Found = tuple[int, int, list[float], float]  # the same and a score


def make_content(
    images: list[int], names: list[str], rows: list[Row]
) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in images],
        "categories": [
            {"id": i, "name": name} for i, name in enumerate(names, start=1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": label + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for number, (image, label, box) in enumerate(rows, start=1)
        ],
    }


def make_truth(
    images: list[int], names: list[str], rows: list[Row]
) -> ground_truth_lib.GroundTruth:
    return ground_truth_lib.parse(make_content(images, names, rows), "val.json")


def make_found(rows: list[Found]) -> dict[int, coco.ImageDetections]:
    found = {}
    for image in sorted({row[0] for row in rows}):
        own = sorted((r for r in rows if r[0] == image), key=lambda r: -r[3])
        x, y, width, height = np.array([r[2] for r in own], np.float32).T
        found[image] = coco.ImageDetections(
            np.stack([y, x, y + height, x + width], axis=-1),
            np.array([r[3] for r in own], np.float32),
            np.array([r[1] for r in own], np.int32),
        )
    return found


def _tally(counts: metrics.Counts) -> tuple[int, int, int]:
    return (
        counts.true_positives,
        counts.false_positives,
        counts.false_negatives,
    )


def _random_rows(seed: int, count: int) -> list[Row]:
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        x, y = draw.uniform(0, 400, 2)
        width, height = draw.uniform(8, 150, 2)
        box = [float(v) for v in (x, y, width, height)]
        rows.append((int(draw.integers(1, 6)), int(draw.integers(3)), box))
    return rows


def test_ground_truth_as_detections_is_perfect() -> None:
    rows = _random_rows(0, 60)
    # Image 6 has no object and no detection.
    truth = make_truth([1, 2, 3, 4, 5, 6], ["car", "truck", "bus"], rows)
    found = make_found([(*row, 0.9) for row in rows])
    result = coco.evaluate(truth, found)
    assert result.images == 6
    assert result.objects == 60
    assert result.detections == 60
    for item in result.classes:
        assert item.ap is not None
        assert item.ap50 is not None
        assert item.ap75 is not None
        assert min(item.ap, item.ap50, item.ap75) >= 0.9999
        assert _tally(item.at_best) == (item.objects, 0, 0)
        assert item.at_common.f1 == 1.0
    assert result.overall.precision == result.overall.recall == 1.0


def test_counts_by_hand() -> None:
    truth = make_truth(
        [1, 2, 3],
        ["car"],
        [
            (1, 0, [10, 10, 40, 40]),
            (1, 0, [100, 10, 40, 40]),
            (3, 0, [10, 10, 40, 40]),
        ],
    )
    found = make_found(
        [
            (1, 0, [11, 10, 40, 40], 0.9),  # right
            (1, 0, [10, 11, 40, 40], 0.8),  # the same object again: wrong
            (1, 0, [200, 200, 40, 40], 0.7),  # wrong
            (1, 0, [100, 12, 40, 40], 0.6),  # right
            (2, 0, [10, 10, 40, 40], 0.5),  # an image without objects: wrong
        ]
    )
    result = coco.evaluate(truth, found)
    car = result.classes[0]
    # F1 after each detection: 2/4, 2/5, 2/6, 4/7, 4/8.
    assert car.at_best.threshold == pytest.approx(0.6)
    assert _tally(car.at_best) == (2, 2, 1)
    assert car.at_best.precision == pytest.approx(2 / 4)
    assert car.at_best.recall == pytest.approx(2 / 3)
    assert car.at_best.f1 == pytest.approx(4 / 7)
    assert car.at_common == car.at_best == result.overall
    # 34 recall points at precision 1, 33 at 1/2, 34 at 0.
    assert car.ap50 == pytest.approx((34 + 33 / 2) / 101)
    assert car.best_score == pytest.approx(0.9)


def test_a_false_detection_on_an_image_without_objects_lowers_ap() -> None:
    truth = make_truth([1, 2], ["car"], [(1, 0, [0, 0, 50, 50])])
    right = (1, 0, [0.0, 0.0, 50.0, 50.0], 0.5)
    wrong = (2, 0, [0.0, 0.0, 50.0, 50.0], 0.9)
    assert coco.evaluate(truth, make_found([right])).ap50 == pytest.approx(1.0)
    both = coco.evaluate(truth, make_found([right, wrong]))
    assert both.ap50 == pytest.approx(0.5)
    assert _tally(both.overall) == (1, 1, 0)


def test_thresholds_of_classes_and_the_common_one_by_hand() -> None:
    """Cars score high, buses low, and a low wrong car sits between."""
    box = [0.0, 0.0, 50.0, 50.0]
    truth = make_truth(
        [1, 2, 3], ["car", "bus"], [(1, 0, box), (2, 0, box), (3, 1, box)]
    )
    found = make_found(
        [
            (1, 0, box, 0.9),
            (2, 0, box, 0.8),
            (3, 0, box, 0.5),  # wrong
            (3, 1, box, 0.3),
        ]
    )
    result = coco.evaluate(truth, found)
    car, bus = result.classes
    assert car.at_best.threshold == pytest.approx(0.8)
    assert _tally(car.at_best) == (2, 0, 0)
    assert bus.at_best.threshold == pytest.approx(0.3)
    # Pooled F1: 2/4, 4/5, 4/6, 6/7.
    assert result.overall.threshold == pytest.approx(0.3)
    assert _tally(result.overall) == (3, 1, 0)
    assert _tally(car.at_common) == (2, 1, 0)
    assert _tally(bus.at_common) == (1, 0, 0)


def test_class_absent_from_ground_truth_keeps_its_place() -> None:
    box = [0.0, 0.0, 50.0, 50.0]
    truth = make_truth([1], ["car", "truck", "bus"], [(1, 2, box)])
    found = make_found([(1, 2, box, 0.9), (1, 1, box, 0.95)])
    result = coco.evaluate(truth, found)
    assert [item.name for item in result.classes] == ["car", "truck", "bus"]
    car, truck, bus = result.classes
    assert (car.objects, car.ap, car.ap50, car.ap75) == (0, None, None, None)
    assert car.best_score is None
    assert truck.ap is None
    assert _tally(truck.at_common) == (0, 1, 0)
    assert truck.at_common.precision == 0.0
    assert truck.at_common.recall is None
    assert truck.at_common.f1 is None
    assert bus.ap == pytest.approx(1.0)
    # The mean is over the one class that has objects.
    assert result.ap == pytest.approx(1.0)
    assert metrics.alarms(result) == []


def test_no_detections_at_all() -> None:
    truth = make_truth([1, 2], ["car", "bus"], [(1, 0, [0, 0, 50, 50])])
    empty = coco.ImageDetections(
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
    )
    for found in ({}, {1: empty, 2: empty}):
        result = coco.evaluate(truth, found)
        assert (result.ap, result.ap50, result.detections) == (0.0, 0.0, 0)
        assert result.ap_small is None
        assert result.ap_medium == 0.0
        assert result.overall == metrics.Counts(
            threshold=None,
            true_positives=0,
            false_positives=0,
            false_negatives=1,
            precision=None,
            recall=0.0,
            f1=0.0,
        )


def test_no_objects_at_all() -> None:
    truth = make_truth([1], ["car"], [])
    result = coco.evaluate(truth, make_found([(1, 0, [0, 0, 9, 9], 0.5)]))
    assert result.ap is None
    assert result.classes[0].at_best.f1 is None
    assert metrics.alarms(result) == []


def test_crowd_regions_are_neither_right_nor_wrong() -> None:
    content = make_content(
        [1], ["car"], [(1, 0, [0, 0, 50, 50]), (1, 0, [100, 0, 200, 200])]
    )
    content["annotations"][1]["iscrowd"] = 1
    truth = ground_truth_lib.parse(content, "val.json")
    result = coco.evaluate(
        truth,
        make_found(
            [(1, 0, [0, 0, 50, 50], 0.8), (1, 0, [120, 20, 60, 60], 0.9)]
        ),
    )
    assert result.objects == 1
    assert _tally(result.overall) == (1, 0, 0)
    assert result.ap == pytest.approx(1.0)


def test_annotation_of_id_0_can_be_found() -> None:
    """Its match would be no match to pycocotools."""
    content = make_content([1], ["car"], [(1, 0, [0, 0, 50, 50])])
    content["annotations"][0]["id"] = 0
    truth = ground_truth_lib.parse(content, "val.json")
    result = coco.evaluate(truth, make_found([(1, 0, [0, 0, 50, 50], 0.8)]))
    assert result.ap == pytest.approx(1.0)
    assert _tally(result.overall) == (1, 0, 0)


def test_only_100_detections_of_a_class_and_image_count() -> None:
    truth = make_truth([1], ["car"], [(1, 0, [0, 0, 50, 50])])
    wrong = [
        (1, 0, [300.0, 300.0, 9.0, 9.0], 0.9 - i / 1e3) for i in range(100)
    ]
    hundredth = (1, 0, [0.0, 0.0, 50.0, 50.0], 0.5)
    assert coco.evaluate(truth, make_found([*wrong[1:], hundredth])).ap50
    late = coco.evaluate(truth, make_found([*wrong, hundredth]))
    assert late.ap50 == 0.0
    assert late.overall.threshold is None


def test_equals_pycocotools_on_files(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _random_rows(1, 50)
    content = make_content([1, 2, 3, 4, 5], ["a", "b", "c"], rows)
    draw = np.random.default_rng(2)
    found = make_found(
        [
            (
                image,
                label,
                [v + float(draw.normal()) * 6 + 1 for v in box],
                float(draw.uniform()),
            )
            for image, label, box in rows + rows
        ]
    )
    result = coco.evaluate(ground_truth_lib.parse(content, "val.json"), found)
    assert capsys.readouterr().out == ""

    path = tmp_path / "val.json"
    path.write_text(json.dumps(content))
    truth = pycoco.COCO(str(path))
    run = cocoeval.COCOeval(truth, truth.loadRes(coco.results(found)), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    got = (result.ap, result.ap50, result.ap75)
    got_by_size = (result.ap_small, result.ap_medium, result.ap_large)
    np.testing.assert_allclose(
        np.array([*got, *got_by_size], np.float64), run.stats[:6]
    )
    assert result.ar100 == pytest.approx(run.stats[8])
    per_class = [[c.ap, c.ap50, c.ap75] for c in result.classes]
    means = np.mean(np.array(per_class, np.float64), axis=0)
    np.testing.assert_allclose(means, run.stats[:3])
