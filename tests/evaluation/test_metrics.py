"""Thresholds against every possible one, and what raises an alarm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from efficientdet_aimmo.evaluation import metrics


def _matches(
    scores: npt.ArrayLike, is_true: npt.ArrayLike, objects: int
) -> metrics.Matches:
    return metrics.Matches(np.array(scores), np.array(is_true, bool), objects)


@pytest.mark.parametrize("seed", range(5))
def test_best_threshold_beats_every_other(seed: int) -> None:
    draw = np.random.default_rng(seed)
    matches = _matches(
        draw.integers(1, 20, 40) / 20, draw.integers(0, 2, 40), 30
    )

    def f1(threshold: float) -> float:
        kept = matches.is_true[matches.scores >= threshold]
        precision, recall = kept.mean(), kept.sum() / 30
        return 2 * precision * recall / (precision + recall)

    best = metrics.best_threshold(matches)
    every = {score: f1(score) for score in sorted(set(matches.scores))}
    highest = max(every.values())
    assert best == max(
        s for s, v in every.items() if v == pytest.approx(highest)
    )
    assert metrics.counts_at(matches, best).f1 == pytest.approx(highest)


def test_equal_scores_are_taken_together() -> None:
    # Of the four at 0.5, the right one alone would make F1 1. All four make it
    # 4/7, none of them 2/3.
    matches = _matches([0.8, 0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0, 0], 2)
    assert metrics.best_threshold(matches) == 0.8
    assert metrics.counts_at(matches, 0.5).false_positives == 3


def test_no_threshold_where_nothing_matches() -> None:
    assert metrics.best_threshold(_matches([0.9, 0.1], [0, 0], 3)) is None
    assert metrics.best_threshold(_matches([], [], 3)) is None


def _class(
    matches: metrics.Matches, common: float | None
) -> metrics.ClassMetrics:
    best = float(matches.scores.max()) if len(matches.scores) else None
    return metrics.ClassMetrics(
        name="car",
        objects=matches.objects,
        ap=None,
        ap50=None,
        ap75=None,
        best_score=best,
        at_best=metrics.counts_at(matches, metrics.best_threshold(matches)),
        at_common=metrics.counts_at(matches, common),
    )


@pytest.mark.parametrize(
    ("matches", "common", "sentence"),
    [
        (
            _matches([], [], 63),
            0.4,
            "class 'car' has 63 objects and not one detection of any score.",
        ),
        (
            _matches([0.9, 0.1], [0, 0], 63),
            None,
            "class 'car' has 63 objects and no detection of any score matches"
            " one of them (IoU 0.5).",
        ),
        (
            _matches([0.0125, 0.01], [1, 0], 63),
            0.4,
            "class 'car' has 63 objects and no detection at the common"
            " threshold 0.400; its best score is 0.013.",
        ),
        (
            _matches([0.9, 0.5, 0.3], [0, 0, 1], 63),
            0.4,
            "class 'car' has 63 objects and none of the 2 detections at the"
            " common threshold 0.400 matches one (IoU 0.5).",
        ),
    ],
)
def test_alarm(
    matches: metrics.Matches, common: float | None, sentence: str
) -> None:
    car = _class(matches, common)
    assert metrics.alarms(_metrics(car)) == [sentence]


@pytest.mark.parametrize(
    "matches", [_matches([0.4], [1], 63), _matches([0.9], [0], 0)]
)
def test_no_alarm(matches: metrics.Matches) -> None:
    assert metrics.alarms(_metrics(_class(matches, 0.4))) == []


def _metrics(item: metrics.ClassMetrics) -> metrics.Metrics:
    return metrics.Metrics(
        images=1,
        objects=item.objects,
        detections=0,
        ap=None,
        ap50=None,
        ap75=None,
        ap_small=None,
        ap_medium=None,
        ap_large=None,
        ar100=None,
        overall=item.at_common,
        classes=(item,),
    )
