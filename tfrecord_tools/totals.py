"""The sums of a split's records."""

from __future__ import annotations

import collections
import dataclasses

from tfrecord_tools import record_checks


@dataclasses.dataclass
class SplitTotals:
    """The sums of one split.

    Attributes:
      num_images: records.
      objects: number by class id.
      texts: number by class id and class text.
      missing: number of records without a key, by key.
      most_boxes: objects of the record with most.
      least_sides: least height and least width, pixels.
      most_sides: greatest height and greatest width.
      scores: the oracle's least score by class id.
    """

    num_images: int = 0
    objects: collections.Counter[int] = dataclasses.field(
        default_factory=collections.Counter
    )
    texts: collections.Counter[tuple[int, str]] = dataclasses.field(
        default_factory=collections.Counter
    )
    missing: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    most_boxes: int = 0
    least_sides: tuple[int, int] = (1 << 30, 1 << 30)
    most_sides: tuple[int, int] = (0, 0)
    scores: dict[int, float] = dataclasses.field(default_factory=dict)

    def add(self, checked: record_checks.Checked) -> None:
        """Adds a record."""
        self.num_images += 1
        labels = checked.labels.tolist()
        self.objects.update(labels)
        self.texts.update(zip(labels, checked.texts, strict=False))
        self.missing.update(checked.missing)
        self.most_boxes = max(self.most_boxes, len(labels))
        low, high = self.least_sides, self.most_sides
        height, width = checked.height, checked.width
        if height and width:
            self.least_sides = (min(low[0], height), min(low[1], width))
            self.most_sides = (max(high[0], height), max(high[1], width))

    def add_scores(self, scores: dict[int, float]) -> None:
        """Keeps the least score of each class."""
        for label, score in scores.items():
            self.scores[label] = min(score, self.scores.get(label, 1.0))
