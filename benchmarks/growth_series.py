"""Figures that grow, the lines that they are held against, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import growth_plot, lines


class Series(NamedTuple):
    """Points of one question.

    Attributes:
      title: what is measured.
      x: what is made larger; y: what is measured, with its unit.
      xs: of the line, as pixels of an image.
      names: of the xs, as 256x256.
      ys: measured.
      through_one: the line is that of the first point and nothing, as images a
        second over cores should be.
    """

    title: str
    x: str
    y: str
    xs: list[float]
    names: list[str]
    ys: list[float]
    through_one: bool = False

    @property
    def line(self) -> lines.Line:
        """What the points are held against."""
        if self.through_one:
            return lines.Line(0.0, self.ys[0] / self.xs[0])
        return lines.fit(self.xs, self.ys)


def _number(value: float) -> str:
    """Returns three figures, or whole ones."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(series: Series) -> str:
    """Returns the points as Markdown, and a sentence on the line."""
    line = series.line
    rows = [
        f"| {series.x} | {series.y} | straight line | off |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {_number(y)} | {_number(line.at(x))} |"
            f" {100 * lines.off(line, x, y):+.0f} % |"
            for x, name, y in zip(
                series.xs, series.names, series.ys, strict=True
            )
        ),
    ]
    return "\n".join([f"**{series.title}.** {sentence(series)}", "", *rows, ""])


def sentence(series: Series) -> str:
    """Returns where the points leave the line, in words."""
    line, unit = series.line, series.y.rpartition(", ")[2]
    if series.through_one:
        begin = f"{_number(line.slope)} {unit} for each"
    else:
        first = series.xs[0]
        share = 100 * line.fixed / line.at(first)
        begin = (
            f"{_number(line.fixed)} {unit} once ({share:.0f} % at"
            f" {series.names[0]}) and {_number(line.slope * first)} for"
            f" {series.names[0]}"
        )
    where = lines.leaves_at(line, series.xs, series.ys)
    if where is None:
        return f"{begin}; on the line to {series.names[-1]}."
    place = series.xs.index(where)
    last = lines.off(line, series.xs[-1], series.ys[-1])
    side = "above" if last > 0 else "below"
    return (
        f"{begin}; off the line from {series.names[place]} on,"
        f" {100 * abs(last):.0f} % {side} it at {series.names[-1]}."
    )


def panels(found: Sequence[Series]) -> list[growth_plot.Panel]:
    """Returns the pictures: over cores both are in one."""
    curves = [growth_plot.Curve("", s.xs, s.ys, s.line, s.names) for s in found]
    single = [
        growth_plot.Panel(s.title, s.x, s.y, [curve])
        for s, curve in zip(found[:3], curves[:3], strict=True)
    ]
    both = [
        curve._replace(name=name)
        for curve, name in zip(curves[3:], ("conversion", "input"), strict=True)
    ]
    last = found[3]
    return [
        *single,
        growth_plot.Panel("Conversion and input", last.x, last.y, both),
    ]
