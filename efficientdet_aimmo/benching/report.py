"""What was measured, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from efficientdet_aimmo.benching import cases as cases_lib
from efficientdet_aimmo.benching import facts as facts_lib
from efficientdet_aimmo.benching import sweep

WIDTH = 100  # columns of the table
_MIB = 2**20
_HEADS = (
    *("network", "precision", "XLA", "size", "batch", "ms a step", "spread"),
    *("images/s", "memory, MiB", "first, s"),
)


def spread(row: cases_lib.Row) -> float:
    """Returns half of what the middle half of the steps covers, of the median.

    With few steps the quartiles are the nearest of them.
    """
    steps = sorted(row.steps_s)
    quarter = len(steps) // 4
    middle = steps[-1 - quarter] - steps[quarter]
    return middle / 2.0 / statistics.median(steps)


def images_per_s(row: cases_lib.Row) -> float:
    """Returns the images of a second, by the median step."""
    return row.batch_size / statistics.median(row.steps_s)


def _cells(row: cases_lib.Row) -> list[str]:
    height, width = row.image_size
    case = row.case
    cells = [
        case.model_name.removeprefix("efficientdet-"),
        case.precision or "-",
        {"train": "on" if case.use_xla else "off"}.get(case.verb, "-"),
        f"{width}x{height}",
        str(row.batch_size),
    ]
    if row.end:
        return [*cells, row.end, *[""] * 4]
    return [
        *cells,
        f"{1000 * statistics.median(row.steps_s):.1f}",
        f"{100 * spread(row):.0f} %",
        f"{images_per_s(row):.1f}",
        f"{row.peak / _MIB:.0f}",
        f"{row.first_s:.1f}",
    ]


def text(
    facts: facts_lib.Facts, verb: str, found: sweep.Found, seconds: float
) -> str:
    """Returns the table, what was left out, and what it compares with.

    Args:
      facts: of the machine.
      verb: what was measured.
      found: rows, and what was left out.
      seconds: that it took.
    """
    cells = [list(_HEADS), *map(_cells, found.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # A reason is longer than the figures of its column.
    widths[5] = max(len(row[5]) for row in cells if row[6] or not row[5])
    lines = [_fill("device", facts.device), _fill("software", facts.software)]
    lines += ["", *(_line(row, widths) for row in cells), ""]
    lines.append(_fill("memory", facts.memory_is))
    lines += [
        _fill("left out", f"{left.what}: {left.why}") for left in found.left_out
    ]
    if not found.left_out:
        lines.append(_fill("left out", "nothing"))
    lines += [_fill("beside it", line) for line in facts.published(verb)]
    lines.append(_fill("took", f"{seconds:.0f} s"))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Returns a row: names to the left, numbers to the right."""
    return "  ".join(
        cell.ljust(width) if place < 3 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _fill(name: str, value: str) -> str:
    return textwrap.fill(
        value,
        WIDTH,
        initial_indent=f"{name:<9} ",
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


def to_json(
    facts: facts_lib.Facts, verb: str, found: sweep.Found, seconds: float
) -> str:
    """Returns the same as JSON text; times in seconds, memory in bytes."""
    content = {
        "measured": verb,
        "device": facts.device,
        "software": facts.versions,
        "memory": facts.memory_is,
        "rows": [_values(row) for row in found.rows],
        "left_out": [dataclasses.asdict(left) for left in found.left_out],
        "published": facts.published(verb),
        "seconds": seconds,
    }
    return json.dumps(content, indent=1) + "\n"


def _values(row: cases_lib.Row) -> dict[str, Any]:
    case = row.case
    values: dict[str, Any] = {
        "model_name": case.model_name,
        "precision": case.precision or None,
        "use_xla": case.use_xla if case.verb == "train" else None,
        "image_size": list(row.image_size),
        "batch_size": row.batch_size,
    }
    if row.end:
        return {**values, "end": row.end}
    return {
        **values,
        "step_s": statistics.median(row.steps_s),
        "spread": spread(row),
        "num_steps": len(row.steps_s),
        "images_per_s": images_per_s(row),
        "first_s": row.first_s,
        "peak_bytes": row.peak,
    }
