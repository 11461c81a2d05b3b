"""A judgement for people: on a terminal, in a document, in an error."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from efficientdet_aimmo.diagnosis import rows

_GAP = "  "
_VERDICT_WIDTH = len("warning")
_LEAST_WIDTH = 60


def text(judgement: rows.Judgement, width: int) -> str:
    """Returns the table for a terminal.

    Args:
      judgement: what was judged.
      width: columns that a line may have.
    """
    width = max(width, _LEAST_WIDTH)
    what = max(len("what"), *(len(row.what) for row in judgement.rows))
    rest = width - _VERDICT_WIDTH - what - 3 * len(_GAP)
    needed = min(rest * 2 // 5, max(len(row.needed) for row in judgement.rows))
    widths = (_VERDICT_WIDTH, what, rest - needed, needed)
    lines = _line(("", "what", "found", "needed"), widths)
    for row, what_to_do in _without_repeats(judgement):
        lines += _line((row.verdict, row.what, row.found, row.needed), widths)
        if what_to_do:
            indent = " " * (_VERDICT_WIDTH + len(_GAP))
            lines += textwrap.wrap(
                what_to_do,
                width,
                initial_indent=f"{indent}-> ",
                subsequent_indent=f"{indent}   ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    if judgement.not_judged:
        lines += ["", *textwrap.wrap(_not_judged(judgement), width)]
    return "\n".join(lines)


def markdown(judgement: rows.Judgement) -> str:
    """Returns the table for a document."""
    lines = [
        "| what | found | needed | verdict | what to do |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row, what_to_do in _without_repeats(judgement):
        cells = (row.what, row.found, row.needed, row.verdict, what_to_do)
        escaped = (cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| {' | '.join(escaped)} |")
    if judgement.not_judged:
        lines += ["", _not_judged(judgement)]
    return "\n".join(lines)


def to_json(judgement: rows.Judgement) -> dict[str, Any]:
    """Returns what json.dump writes."""
    return dataclasses.asdict(judgement)


def sentences(judged: Sequence[rows.Row]) -> str:
    """Returns a line for each row, with what to do, for a message."""
    return "\n".join(
        f"  {row.what}: {row.found}. Expected {row.needed}. {row.what_to_do}"
        for row in judged
    )


def _without_repeats(
    judgement: rows.Judgement,
) -> Iterator[tuple[rows.Row, str]]:
    """Yields rows and what to do, which is said once."""
    said = ""
    for row in judgement.rows:
        is_said = row.what_to_do and row.what_to_do == said
        yield row, "As above." if is_said else row.what_to_do
        said = row.what_to_do or said


def _not_judged(judgement: rows.Judgement) -> str:
    return (
        "Not judged, as a row above must be ok first:"
        f" {', '.join(judgement.not_judged)}."
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Returns the lines of a row whose cells are wrapped."""
    wrapped = [
        textwrap.wrap(cell, width) or [""]
        for cell, width in zip(cells, widths, strict=True)
    ]
    height = max(map(len, wrapped))
    return [
        _GAP.join(_parts(wrapped, widths, number)).rstrip()
        for number in range(height)
    ]


def _parts(
    wrapped: Sequence[Sequence[str]], widths: Sequence[int], number: int
) -> Iterator[str]:
    for lines, width in zip(wrapped, widths, strict=True):
        yield (lines[number] if number < len(lines) else "").ljust(width)
