"""Detections against all comparable arrays of the official EfficientDet.

data/postprocess.npz holds what google/automl (commit 6a54c874, unpatched) found
on drawn outputs (256x256 and 256x384) and on D0's, per image: the padding rows
left out, classes from 1. The logits and codes are thinned to the anchors whose
score reaches the last detection: the others cannot matter.

Officially boxes are clipped to the padded input, after NMS, or not at all; here
to the image and before. So anchors are put in the middle of a huge image, where
nothing is clipped, and the official clipping is done here, in NumPy.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo import postprocess
from hparams import config

REFERENCE = pathlib.Path(__file__).parent / "data" / "postprocess.npz"
SIZES = {"synthetic": (256, 256), "rect": (256, 384), "d0net": (256, 256)}
IMAGES = [
    ("synthetic", 0),
    ("synthetic", 1),
    ("rect", 0),
    ("d0net", 0),
    ("d0net", 1),
]
# What the official code was run with. Where nothing is said, its score
# threshold is .001 with soft NMS and none with hard.
OFFICIAL: dict[str, dict[str, Any]] = {
    "gaussian": {"method": "gaussian", "sigma": 0.5, "score_thresh": 0.001},
    "hard": {"method": "hard", "iou_thresh": 0.5, "score_thresh": 0.0},
    "gaussian_thr": {
        "method": "gaussian",
        "sigma": 0.3,
        "score_thresh": 0.05,
        "max_output_size": 20,
    },
    "hard_thr": {"method": "hard", "iou_thresh": 0.3, "score_thresh": 0.1},
}
OFFICIAL["hard_.01"] = {**OFFICIAL["hard"], "score_thresh": 0.01}
SHIFT = 512.0  # no box reaches further beyond the image
ABSENT = -1e9  # a logit whose score is 0, below every threshold


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def _anchors(name: str, image: int) -> np.ndarray:
    rows = _arrays()[f"{name}/{image}/anchor_rows"]
    return anchors_lib.anchor_boxes(config.Anchors(), SIZES[name])[rows]


def _scale(name: str, image: int) -> float:
    return float(_arrays()[f"{name}/{image}/scale"])


def _detect(
    name: str,
    image: int,
    nms: config.Nms,
    *,
    best_class_alone: bool,
    shift: float,
) -> postprocess.Detections:
    """Returns our detections, as arrays, of anchors moved by shift pixels."""
    logits = _arrays()[f"{name}/{image}/logits"]
    if best_class_alone:
        best = logits.max(axis=-1, keepdims=True)
        logits = np.where(logits == best, logits, ABSENT)
    scale = _scale(name, image)
    size = [10**6, 10**6]
    if shift == 0.0:
        size = [round(side * scale) for side in SIZES[name]]
    found = postprocess.detect(
        tf.constant(logits[None], tf.float32),
        tf.constant(_arrays()[f"{name}/{image}/codes"][None]),
        tf.constant(_anchors(name, image) + shift, tf.float32),
        tf.constant([scale]),
        tf.constant([size]),
        nms,
    )
    return postprocess.Detections(*(part.numpy()[0] for part in found))


@pytest.mark.parametrize(("name", "image"), IMAGES)
@pytest.mark.parametrize(
    ("case", "mode"),
    [
        *((f"{case}{top}", "global") for case in ("gaussian", "hard")
          for top in ("", "_topk5000")),
        *((case, "global") for case in ("gaussian_thr", "hard_thr")),
        *((case, "per_class") for case in OFFICIAL if case != "hard_.01"),
        *((f"{case}_topk5000", "per_class") for case in ("gaussian", "hard")),
        ("hard_.01", "combined"),
    ],
)  # fmt: skip
def test_equals_the_official_detections(
    name: str, image: int, case: str, mode: str
) -> None:
    plain = case.removesuffix("_topk5000")
    # Global NMS takes no notice of max_nms_inputs there: the arrays are the
    # same to the bit, and stored once.
    stored = plain if mode == "global" else case
    boxes, scores, classes = (
        _arrays()[f"{name}/{image}/{stored}/{mode}/{part}"]
        for part in ("boxes", "scores", "classes")
    )
    found = _detect(
        name,
        image,
        config.Nms(
            per_class=mode != "global",
            max_nms_inputs=5000 if case != plain else 0,
            **OFFICIAL[plain],
        ),
        # Officially, without max_nms_inputs, an anchor's best class alone
        # counts in NMS per class.
        best_class_alone=mode == "per_class" and case == plain,
        shift=SHIFT,
    )
    scale, count = _scale(name, image), len(scores)
    got = found.boxes[:count] - SHIFT * scale
    if mode != "per_class":
        got = np.clip(got, 0.0, np.array([*SIZES[name]] * 2) * scale)
    assert found.count == count
    np.testing.assert_allclose(found.scores[:count], scores, atol=1e-5)
    np.testing.assert_allclose(got, boxes, atol=2e-3)
    np.testing.assert_array_equal(found.classes[:count], classes - 1)
    for part in (found.boxes, found.scores, found.classes):
        assert not part[count:].any()


def _official_nms(
    boxes: np.ndarray, scores: np.ndarray, nms: config.Nms
) -> list[tuple[float, int]]:
    """Returns (score, row) of what NMS over all classes keeps, best first."""
    scores = scores.astype(np.float64)
    kept: list[tuple[float, int]] = []
    while len(kept) < nms.max_output_size and scores.max() > nms.score_thresh:
        row = int(scores.argmax())
        kept.append((float(scores[row]), row))
        low = np.maximum(boxes[row, :2], boxes[:, :2])
        high = np.minimum(boxes[row, 2:], boxes[:, 2:])
        overlap = np.maximum(high - low, 0).prod(-1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        iou = overlap / (areas[row] + areas - overlap)
        scores *= np.exp(-(iou**2) / nms.sigma)
        scores[row] = 0.0
    return kept


@pytest.mark.parametrize("name", SIZES)
def test_official_boxes_are_clipped_after_nms_ours_before(name: str) -> None:
    nms = config.Nms(per_class=False, **OFFICIAL["gaussian"])
    anchors, scale = _anchors(name, 0).astype(np.float64), _scale(name, 0)
    codes = _arrays()[f"{name}/0/codes"]
    logits = _arrays()[f"{name}/0/logits"].max(axis=-1).astype(np.float64)
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = codes[:, :2] * sides + (anchors[:, :2] + anchors[:, 2:]) / 2
    half = np.exp(codes[:, 2:]) * sides / 2
    boxes = np.concatenate([centres - half, centres + half], -1) * scale
    limits = np.array([*SIZES[name]] * 2) * scale
    scores = 1.0 / (1.0 + np.exp(-logits))

    official = _official_nms(boxes, scores, nms)
    prefix = f"{name}/0/gaussian/global"
    expected = _arrays()[f"{prefix}/boxes"]
    np.testing.assert_allclose(
        [s for s, _ in official], _arrays()[f"{prefix}/scores"], atol=1e-5
    )
    np.testing.assert_allclose(
        np.clip(boxes[[row for _, row in official]], 0.0, limits),
        expected,
        atol=2e-3,
    )
    # NMS per class leaves boxes beyond the image.
    outside = _arrays()[f"{name}/0/gaussian/per_class/boxes"]
    assert outside.min() < 0.0 or (outside > limits).any()

    # The same rule on clipped boxes is ours: what cannot be seen has no part
    # in an overlap, and a box of which nothing is left is no detection.
    clipped = np.clip(boxes, 0.0, limits)
    has_area = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    ours = _official_nms(clipped, np.where(has_area, scores, 0.0), nms)
    found = _detect(name, 0, nms, best_class_alone=False, shift=0.0)
    assert found.count == len(ours)
    np.testing.assert_allclose(found.scores, [s for s, _ in ours], atol=1e-5)
    np.testing.assert_allclose(
        found.boxes, clipped[[row for _, row in ours]], atol=2e-3
    )
    assert [row for _, row in ours] != [row for _, row in official]
