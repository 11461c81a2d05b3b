"""Figures beside their targets: rows, a table, a file."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any


def row(
    name: str, ratios: Sequence[float], target: float, is_least: bool = True
) -> dict[str, Any]:
    """Returns a figure, the median of its rounds, and whether it is reached.

    Args:
      name: of the row.
      ratios: one for each round.
      target: what is asked for.
      is_least: at least, or at most, that.
    """
    reached = statistics.median(ratios)
    is_good = reached >= target if is_least else reached <= target
    return {
        "name": name,
        "target": target,
        "is_least": is_least,
        "reached": reached,
        "rounds": list(ratios),
        "verdict": "reached" if is_good else "missed",
    }


def show(rows: Sequence[dict[str, Any]], json_path: str | None) -> None:
    """Prints rows, and writes them to a file if there is to be one.

    A row may hold 'milliseconds', those of an image on either side.
    """
    print(f"{'':42} {'target':>8} {'reached':>8} {'':8} {'ms an image':>15}")
    for found in rows:
        sign = ">=" if found["is_least"] else "<="
        both = " to ".join(f"{ms:.2f}" for ms in found.get("milliseconds", []))
        line = (
            f"{found['name']:42} {sign}{found['target']:>6.2f}"
            f" {found['reached']:>8.2f} {found['verdict']:8} {both:>15}"
        )
        print(line.rstrip())
    if json_path:
        content = json.dumps(rows, indent=1) + "\n"
        pathlib.Path(json_path).write_text(content)
