"""What is in records, and what a training would make of another tool's."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from tfrecord_tools import schema, totals

_SHOWN_TEXTS = 3
# Read by neither the official training nor this one where they are missing.
_OPTIONAL = {
    schema.FORMAT: "the image's first bytes tell",
    schema.FILENAME: "for messages and pictures alone",
    schema.SHA256: "for checks alone",
    schema.HEIGHT: "the image's own is taken",
    schema.WIDTH: "the image's own is taken",
    schema.TEXT: "the id decides",
    schema.AREA: "the box's is taken",
    schema.IS_CROWD: "no object is taken for a crowd",
    schema.DIFFICULT: "no object is left out as difficult",
    schema.TRUNCATED: "not read",
}


def texts_by_id(
    counted: Mapping[str, totals.SplitTotals],
) -> dict[int, collections.Counter[str]]:
    """Returns the class texts of each id in all splits, with their numbers."""
    found: dict[int, collections.Counter[str]] = {}
    for sums in counted.values():
        for label in sums.objects:
            found.setdefault(label, collections.Counter())
        for (label, text), number in sums.texts.items():
            found[label][text] += number
    return dict(sorted(found.items()))


def _shown(texts: Mapping[str, int]) -> str:
    ordered = sorted(texts, key=lambda text: (-texts[text], text))
    shown = ", ".join(repr(text) for text in ordered[:_SHOWN_TEXTS])
    more = len(ordered) - _SHOWN_TEXTS
    return (shown + (f" and {more} more" if more > 0 else "")) or "no text"


def table(
    counted: Mapping[str, totals.SplitTotals], classes: Sequence[str] | None
) -> list[str]:
    """Returns the sums as lines: images, and objects by class id."""
    texts = texts_by_id(counted)
    names = {label: _shown(found) for label, found in texts.items()}
    names.update(enumerate(classes or (), start=1))
    rows = [("", "images", [s.num_images for s in counted.values()])]
    for label, name in sorted(names.items()):
        numbers = [s.objects[label] for s in counted.values()]
        rows.append((str(label), name, numbers))
    rows.append(("", "most objects", [s.most_boxes for s in counted.values()]))
    width = max(len(name) for _, name, _ in rows)
    columns = [max(9, len(name)) for name in counted]

    def line(label: str, name: str, cells: Sequence[object]) -> str:
        shown = "".join(
            f" {cell!s:>{size}}"
            for cell, size in zip(cells, columns, strict=True)
        )
        return f"{label:>3} {name:{width}}{shown}"

    lines = [line("", "", list(counted))]
    lines += [line(*row) for row in rows]
    for split, sums in counted.items():
        low, high = sums.least_sides, sums.most_sides
        if high != (0, 0):
            size = f"{high[1]}x{high[0]}"
            if low != high:
                size = f"{low[1]}x{low[0]} to {size}"
            lines.append(f"{split}: image size {size}")
        if sums.scores:
            least = min(sums.scores.values())
            lines.append(
                f"{split}: ground truth as detections scores AP, AP50 and AP75"
                f" of at least {least:.4f} for {len(sums.scores)} classes"
            )
    return lines


def remarks(
    counted: Mapping[str, totals.SplitTotals],
    classes: Sequence[str] | None,
    has_manifest: bool,
) -> list[str]:
    """Returns what training would do with records of another tool.

    Args:
      counted: the sums of each split.
      classes: the class names in the order of their ids, None if not known.
      has_manifest: whether there is a manifest beside the records.
    """
    texts = texts_by_id(counted)
    objects: collections.Counter[int] = collections.Counter()
    missing: collections.Counter[str] = collections.Counter()
    for sums in counted.values():
        objects.update(sums.objects)
        missing.update(sums.missing)
    lines = ["Records of another tool. What training would do with them:"]
    lines += _id_remarks(objects, texts)
    for label, found in texts.items():
        if len(found) > 1:
            lines.append(
                f"  id {label} has {len(found)} texts: {_shown(found)}. They"
                " would be trained as one class."
            )
    for key, number in sorted(missing.items()):
        why = _OPTIONAL.get(key, "without it there are no objects")
        lines.append(f"  {key} is missing in {number} records: {why}")
    if not has_manifest:
        lines += _manifest_remarks(texts, classes)
    return lines


def _id_remarks(
    objects: Mapping[int, int],
    texts: Mapping[int, Mapping[str, int]],
) -> list[str]:
    lines = []
    if objects.get(0):
        lines.append(
            f"  {objects[0]} objects have id 0 ({_shown(texts[0])}). Official"
            " training takes id 0 for background: every one of them would be"
            " trained as background and never detected. Here they are refused."
        )
        ids = sorted(label for label, number in objects.items() if number)
        if len(ids) > 1:
            listed = ", ".join(
                f"{_shown(texts[label])} {label} becomes {label + 1}"
                for label in ids
            )
            lines.append(
                f"  The ids go from 0 to {ids[-1]}: it looks as if they were"
                f" counted from 0 where 1 was meant ({listed}). Write the"
                " records again with ids from 1."
            )
    elif objects and all(label > 0 for label in objects):
        lines.append(
            f"  ids from {min(objects)} to {max(objects)}: 0 stays free for"
            " background, as it must."
        )
    return lines


def _manifest_remarks(
    texts: Mapping[int, Mapping[str, int]], classes: Sequence[str] | None
) -> list[str]:
    if classes is None:
        names = [
            max(found, key=found.__getitem__, default="")
            for found in texts.values()
        ]
        is_known = list(texts) == list(range(1, len(texts) + 1)) and all(names)
        given = ",".join(names) if is_known else "NAME,NAME,..."
    else:
        given = ",".join(classes)
    return [
        f"  efficientdet_aimmo.train needs a manifest ({schema.MANIFEST_NAME})"
        " beside the records. When there are no errors, write it with"
        f" --write_manifest --classes={given}"
    ]
