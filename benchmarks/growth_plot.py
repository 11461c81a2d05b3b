"""Draws what growth measured: points, lines, and where they part."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import lines

_SHORT = 3  # letters of a name that need not be turned
_MEASURED, _LINE, _OTHER = "#1f5fa8", "#8a8a8a", "#c2571a"


class Curve(NamedTuple):
    """Points, and the straight line that they are held against.

    Attributes:
      name: of the points, empty where a panel has one curve.
      xs: what is made larger.
      ys: what is measured.
      line: of the first points, or of the first one alone.
      names: of the xs.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    line: lines.Line
    names: Sequence[str]


class Panel(NamedTuple):
    """A picture of one question."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]


def draw(panels: Sequence[Panel], path: pathlib.Path, below: str) -> None:
    """Writes a picture of panels, two in a row.

    Args:
      panels: an even number of them.
      path: of the picture; its ending says of which kind.
      below: a line on the machine.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(
        len(panels) // 2, 2, figsize=(10, 3.9 * len(panels) // 2), dpi=90
    )
    for panel, axes in zip(panels, places.flat, strict=True):
        for curve, colour in zip(
            panel.curves, (_MEASURED, _OTHER), strict=False
        ):
            straight = [curve.line.at(x) for x in (0.0, max(curve.xs))]
            axes.plot([0.0, max(curve.xs)], straight, "--", color=_LINE, lw=1.2)
            axes.plot(
                curve.xs, curve.ys, "o-", color=colour, label=curve.name or None
            )
        first = panel.curves[0]
        axes.set_xticks(first.xs, first.names)
        if max(map(len, first.names)) > _SHORT:
            axes.tick_params("x", rotation=60, labelsize=8)
        axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
        axes.set_xlim(0.0)
        axes.set_ylim(0.0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.plot([], [], "--", color=_LINE, label="straight line")
        axes.legend(frameon=False)
    figure.text(0.01, 0.005, below, fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path)
    pyplot.close(figure)
