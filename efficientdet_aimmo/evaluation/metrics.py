"""What is reported of a detector's accuracy, and counts at score thresholds."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """Matches at one score threshold: IoU 0.5, all areas, 100 per image.

    A figure that would be 0 / 0 is None, and so is the recall and F1 of a class
    without objects.

    threshold: detections with this score or more count; None counts none.
    """

    threshold: float | None
    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """The accuracy of one class; None is a figure that has no meaning.

    objects: ground truth, crowd regions not counted.
    best_score: of the class's detections, right or wrong.
    at_best: counts at the class's own best F1.
    at_common: counts at the threshold that all classes share.
    """

    name: str
    objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    best_score: float | None
    at_best: Counts
    at_common: Counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
    """The accuracy on one split.

    Means are over the classes that have objects. Both kinds of threshold are
    chosen on this split, so the counts at them flatter the detector a little.

    overall: counts summed over all classes, at the common threshold.
    """

    images: int
    objects: int
    detections: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar100: float | None
    overall: Counts
    classes: tuple[ClassMetrics, ...]


class Matches(NamedTuple):
    """The detections of a class that count, and its number of objects.

    scores: [D] float64.
    is_true: [D] bool, whether the detection matches an object.
    """

    scores: np.ndarray
    is_true: np.ndarray
    objects: int


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def counts_at(matches: Matches, threshold: float | None) -> Counts:
    """Returns the counts of the detections that score threshold or more."""
    if threshold is None:
        counted = np.zeros(0, bool)
    else:
        counted = matches.is_true[matches.scores >= threshold]
    true = int(counted.sum())
    has_objects = matches.objects > 0
    return Counts(
        threshold=threshold,
        true_positives=true,
        false_positives=len(counted) - true,
        false_negatives=matches.objects - true,
        precision=_ratio(true, len(counted)),
        recall=_ratio(true, matches.objects),
        # 2 P R / (P + R), written so that no detections give 0, not 0 / 0.
        f1=_ratio(2 * true, len(counted) + matches.objects)
        if has_objects
        else None,
    )


def best_threshold(matches: Matches) -> float | None:
    """Returns the score with the best F1, the highest of equals.

    None if no detection matches an object: every threshold is as bad.
    """
    if not matches.is_true.any():
        return None
    order = np.argsort(-matches.scores, kind="stable")
    scores = matches.scores[order]
    true = np.cumsum(matches.is_true[order])
    f1 = 2 * true / (np.arange(1, len(scores) + 1) + matches.objects)
    # A threshold takes all detections of one score or none of them.
    is_last_of_score = np.append(scores[1:] != scores[:-1], True)
    return float(scores[np.argmax(np.where(is_last_of_score, f1, -1.0))])


def pool(per_class: list[Matches]) -> Matches:
    """Returns the matches of all classes as if they were one."""
    return Matches(
        np.concatenate([m.scores for m in per_class]),
        np.concatenate([m.is_true for m in per_class]),
        sum(m.objects for m in per_class),
    )


def alarms(metrics: Metrics) -> list[str]:
    """Returns a sentence for every class that has objects and finds none.

    "Finds none" means: at the common threshold, the one a user of all classes
    would set, no detection of the class matches an object. A low threshold
    would not do: soft-NMS leaves some hundred boxes of every class with scores
    just above 0, whether the class was learnt or not.
    """
    sentences = []
    for item in metrics.classes:
        if item.objects == 0 or item.at_common.true_positives > 0:
            continue
        start = f"class {item.name!r} has {item.objects} objects and "
        common = item.at_common.threshold
        if item.best_score is None:
            fault = "not one detection of any score."
        elif common is None:
            fault = "no detection of any score matches one of them (IoU 0.5)."
        elif item.at_common.false_positives:
            fault = (
                f"none of the {item.at_common.false_positives} detections at"
                f" the common threshold {common:.3f} matches one (IoU 0.5)."
            )
        else:
            fault = (
                f"no detection at the common threshold {common:.3f}; its best"
                f" score is {item.best_score:.3f}."
            )
        sentences.append(start + fault)
    return sentences
