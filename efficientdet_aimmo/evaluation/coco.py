"""COCO's average precision, and counts of right and wrong detections."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pycocotools import coco as coco_lib
from pycocotools import cocoeval

from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.evaluation import matching
from efficientdet_aimmo.evaluation import metrics as metrics_lib

_ALL_AREAS = 0  # places in COCOeval's parameters
_IOU_50 = 0
_IOU_75 = 5


class ImageDetections(NamedTuple):
    """The detections of one image, by falling score.

    boxes: [n, 4] float32, [y_min, x_min, y_max, x_max] pixels as stored.
    scores: [n] float32.
    classes: [n] int32, 0-based.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def results(detections: Mapping[int, ImageDetections]) -> list[dict[str, Any]]:
    """Returns the detections of all images as COCO results.

    Boxes are [x, y, width, height] pixels, category ids start at 1.
    """
    rows = []
    for image_id, found in detections.items():
        # Python's numbers at once: one by one takes three times as long.
        values = (found.boxes, found.scores, found.classes)
        lists = (np.asarray(value).tolist() for value in values)
        for box, score, index in zip(*lists, strict=True):
            y_min, x_min, y_max, x_max = box
            rows.append(
                {
                    "image_id": image_id,
                    "category_id": index + 1,
                    "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
                    "score": score,
                }
            )
    return rows


def _index(dataset: dict[str, Any]) -> coco_lib.COCO:
    index = coco_lib.COCO()
    index.dataset = dataset
    index.createIndex()
    return index


def _run(
    ground_truth: ground_truth_lib.GroundTruth, rows: list[dict[str, Any]]
) -> cocoeval.COCOeval:
    """Returns the evaluated, accumulated and summarised COCOeval."""
    common = {
        "images": [{"id": number} for number in ground_truth.file_names],
        "categories": [
            {"id": number, "name": name}
            for number, name in enumerate(ground_truth.class_names, start=1)
        ],
    }
    # COCO.loadRes refuses an empty list, so the index is made as it would be.
    found = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3]}
        for number, row in enumerate(rows, start=1)
    ]
    # Copies: COCOeval writes into the annotations.
    truth = [dict(annotation) for annotation in ground_truth.annotations]
    with contextlib.redirect_stdout(io.StringIO()):
        run = matching.Evaluation(
            _index({**common, "annotations": truth}),
            _index({**common, "annotations": found}),
            "bbox",
        )
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def _matches(run: cocoeval.COCOeval, index: int) -> metrics_lib.Matches:
    """Returns how a class's detections match at IoU 0.5, over all areas."""
    num_images = len(run.params.imgIds)
    first = (index * len(run.params.areaRng) + _ALL_AREAS) * num_images
    scores: list[np.ndarray] = [np.zeros(0)]
    is_true: list[np.ndarray] = [np.zeros(0, bool)]
    objects = 0
    for image in run.evalImgs[first : first + num_images]:
        if image is None:
            continue
        counts = ~image["dtIgnore"][_IOU_50].astype(bool)
        scores.append(np.asarray(image["dtScores"], np.float64)[counts])
        is_true.append(image["dtMatches"][_IOU_50][counts] > 0)
        objects += int(np.sum(np.asarray(image["gtIgnore"]) == 0))
    return metrics_lib.Matches(
        np.concatenate(scores), np.concatenate(is_true), objects
    )


def _mean(values: np.ndarray) -> float | None:
    """Returns the mean of the values that have a meaning; COCOeval says -1."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _class_metrics(
    name: str,
    precision: np.ndarray,
    matches: metrics_lib.Matches,
    common_threshold: float | None,
) -> metrics_lib.ClassMetrics:
    """Returns a class's row; precision is COCOeval's [IoU, recall]."""
    best = metrics_lib.best_threshold(matches)
    return metrics_lib.ClassMetrics(
        name=name,
        objects=matches.objects,
        ap=_mean(precision),
        ap50=_mean(precision[_IOU_50]),
        ap75=_mean(precision[_IOU_75]),
        best_score=float(matches.scores.max()) if len(matches.scores) else None,
        at_best=metrics_lib.counts_at(matches, best),
        at_common=metrics_lib.counts_at(matches, common_threshold),
    )


def evaluate(
    ground_truth: ground_truth_lib.GroundTruth,
    detections: Mapping[int, ImageDetections],
) -> metrics_lib.Metrics:
    """Returns the accuracy of detections over every image of the ground truth.

    Detections match as pycocotools matches them: by falling score, each object
    once, at most 100 of a class and image, crowd regions neither right nor
    wrong. The common threshold is where F1 of the counts summed over all
    classes is best.

    Args:
      ground_truth: what is there.
      detections: what was found, by image id; an image may be missing.
    """
    run = _run(ground_truth, results(detections))
    precision = run.eval["precision"][:, :, :, _ALL_AREAS, -1]
    names = ground_truth.class_names
    matches = [_matches(run, index) for index in range(len(names))]
    pooled = metrics_lib.pool(matches)
    common = metrics_lib.best_threshold(pooled)
    # Every class has a place, with objects or without, so a figure is under its
    # own name. (Officially classes without objects are left out and names are
    # given by position: all later figures move.)
    stats = [None if value < 0 else float(value) for value in run.stats]
    return metrics_lib.Metrics(
        images=len(ground_truth.file_names),
        objects=pooled.objects,
        detections=sum(len(found.scores) for found in detections.values()),
        ap=stats[0],
        ap50=stats[1],
        ap75=stats[2],
        ap_small=stats[3],
        ap_medium=stats[4],
        ap_large=stats[5],
        ar100=stats[8],
        overall=metrics_lib.counts_at(pooled, common),
        classes=tuple(
            _class_metrics(name, precision[:, :, index], matches[index], common)
            for index, name in enumerate(names)
        ),
    )
