"""Quicker matching against pycocotools' own, to the bit."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools import coco as coco_lib
from pycocotools import cocoeval

from efficientdet_aimmo.evaluation import matching

NUM_CLASSES = 3


def _rows(draw: np.random.Generator, is_found: bool) -> list[dict]:
    """Returns annotations on a coarse grid: overlaps and scores tie."""
    rows: list[dict] = []
    for image in range(1, 13):
        most = (0, 120, 30)[image % 3] if is_found else (8, 0, 8)[image // 5]
        for _ in range(most):
            x, y = (int(value) * 4 for value in draw.integers(0, 6, 2))
            width, height = (
                int(v) for v in draw.choice([8, 16, 40, 110, 120], 2)
            )
            row = {
                "id": len(rows) + 1,
                "image_id": image,
                "category_id": int(draw.integers(1, NUM_CLASSES + 1)),
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
            if is_found:
                row["score"] = int(draw.integers(1, 20)) / 20
            else:
                row["iscrowd"] = int(draw.random() < 0.2)
            rows.append(row)
    return rows


def _run(
    kind: type[cocoeval.COCOeval], truth: list[dict], found: list[dict]
) -> cocoeval.COCOeval:
    indices = []
    with contextlib.redirect_stdout(io.StringIO()):
        for rows in (truth, found):
            index = coco_lib.COCO()
            index.dataset = {
                "images": [{"id": image} for image in range(1, 13)],
                "categories": [
                    {"id": number} for number in range(1, NUM_CLASSES + 1)
                ],
                "annotations": copy.deepcopy(rows),
            }
            index.createIndex()
            indices.append(index)
        run = kind(*indices, "bbox")
        # A threshold of 1 has a rule of its own.
        run.params.iouThrs = np.append(run.params.iouThrs, 1.0)
        run.evaluate()
        run.accumulate()
    return run


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth, found = _rows(draw, False), _rows(draw, True)
    ours = _run(matching.Evaluation, truth, found)
    theirs = _run(cocoeval.COCOeval, truth, found)
    assert len(ours.evalImgs) == len(theirs.evalImgs)
    assert any(image is None for image in theirs.evalImgs)
    num_matches = 0
    for own, other in zip(ours.evalImgs, theirs.evalImgs, strict=True):
        assert (own is None) == (other is None)
        if own is None:
            continue
        assert own.keys() == other.keys()
        for name in own:
            np.testing.assert_array_equal(own[name], other[name], name)
        num_matches += int((other["dtMatches"] > 0).sum())
    assert num_matches > 100
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(ours.eval[name], theirs.eval[name])
