"""What a check found: counted by kind, with a few examples of each."""

from __future__ import annotations

import dataclasses

# The kinds, and what stands above their examples.
TITLES = {
    "damaged": "records that cannot be read",
    "manifest": "differences from the manifest",
    "key_missing": "records without a key",
    "key_type": "keys of another type or number of values",
    "lengths": "lists of unequal length",
    "class_id_0": "records with class id 0",
    "class_id": "records with an unknown class id",
    "class_text": "records whose class text is not the id's class",
    "box": "records with an impossible box",
    "source_id": "records whose source_id is not a unique whole number",
    "image": "images that cannot be decoded",
    "image_format": "images of another format than the record says",
    "image_size": "images of another size than the record says",
    "image_sha256": "images with another checksum than the record says",
    "coco_json": "faults of the COCO JSON",
    "coco_record": "records that the COCO JSON contradicts",
    "oracle": "classes that ground truth does not score 1 for",
    "same_image": "images that are there more than once",
    "leak": "images, files or groups that are in two splits",
    "no_objects": "classes without objects",
}


@dataclasses.dataclass
class Finding:
    """All findings of one kind; `count` counts more than are in examples."""

    is_warning: bool
    count: int
    examples: list[str]


class Findings:
    """Collects findings, in memory that does not grow with their number."""

    def __init__(self, max_examples: int) -> None:
        """Starts with none.

        Args:
          max_examples: sentences kept of each kind.
        """
        self._max_examples = max_examples
        self._found: dict[tuple[str, bool], Finding] = {}

    def add(self, kind: str, sentence: str, is_warning: bool = False) -> None:
        """Counts a finding, and keeps its sentence if there are few.

        Args:
          kind: one of TITLES.
          sentence: where, and what.
          is_warning: whether the records can be trained on all the same.
        """
        assert kind in TITLES, kind
        finding = self._found.setdefault(
            (kind, is_warning), Finding(is_warning, 0, [])
        )
        finding.count += 1
        if len(finding.examples) < self._max_examples:
            finding.examples.append(sentence)

    def has_room(self, kind: str, is_warning: bool) -> bool:
        """Tells whether the next sentence of a kind will be kept."""
        found = self._found.get((kind, is_warning))
        return found is None or len(found.examples) < self._max_examples

    @property
    def num_errors(self) -> int:
        """Number of findings that are no warnings."""
        return sum(f.count for f in self._found.values() if not f.is_warning)

    def lines(self) -> list[str]:
        """Returns all findings as lines of text, errors first."""
        lines: list[str] = []
        order = list(TITLES)
        for (kind, is_warning), found in sorted(
            self._found.items(), key=lambda i: (i[0][1], order.index(i[0][0]))
        ):
            word = "warning" if is_warning else "error"
            lines.append(f"{word}: {TITLES[kind]}: {found.count}")
            lines += [f"  {example}" for example in found.examples]
            more = found.count - len(found.examples)
            if more:
                lines.append(f"  and {more} more")
        return lines
