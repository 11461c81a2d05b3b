"""Lines through measured points, and what the growth benchmark says of them."""

from __future__ import annotations

import json
import pathlib

import pytest
from PIL import Image

from benchmarks import growth, growth_series, lines
from tfrecord_tools import command


def test_line_of_the_first_points() -> None:
    line = lines.fit([1, 2, 4, 8], [3.0, 5.0, 9.0, 100.0])
    assert line == pytest.approx((1.0, 2.0))
    # Each point is as important: 10 % of 1 as 10 % of 10.
    line = lines.fit([1, 1, 10], [0.9, 1.1, 10.0])
    assert abs(lines.off(line, 10, 10.0)) < 0.01
    assert line.at(1) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("ys", "where"),
    [
        ([1.0, 2.0, 4.0, 8.0], None),
        ([1.0, 2.0, 4.3, 8.7], None),
        ([1.0, 2.0, 4.5, 9.0], 4),
        ([1.0, 2.3, 4.0, 9.0], 8),  # back on it in between
        ([1.0, 2.0, 4.0, 7.1], 8),
    ],
)
def test_where_points_leave_their_line(
    ys: list[float], where: float | None
) -> None:
    assert lines.leaves_at(lines.Line(0.0, 1.0), [1, 2, 4, 8], ys) == where


def _series(ys: list[float], through_one: bool = False) -> growth_series.Series:
    xs = [1.0, 2.0, 4.0, 8.0][: len(ys)]
    names = [f"{x:g}" for x in xs]
    return growth_series.Series(
        "A step", "images", "time, s", xs, names, ys, through_one
    )


def test_table() -> None:
    assert growth_series.table(_series([0.3, 0.5, 0.9, 3.4])).splitlines() == [
        "**A step.** 0.1 s once (33 % at 1) and 0.2 for 1; off the line from 8"
        " on, 100 % above it at 8.",
        "",
        "| images | time, s | straight line | off |",
        "| --- | --- | --- | --- |",
        "| 1 | 0.3 | 0.3 | +0 % |",
        "| 2 | 0.5 | 0.5 | +0 % |",
        "| 4 | 0.9 | 0.9 | +0 % |",
        "| 8 | 3.4 | 1.7 | +100 % |",
    ]


def test_what_is_held_against_a_multiple_of_the_first() -> None:
    assert growth_series.sentence(_series([10.0, 19.0], True)) == (
        "10 s for each; on the line to 2."
    )
    assert growth_series.sentence(_series([10.0, 15.0], True)) == (
        "10 s for each; off the line from 2 on, 25 % below it at 2."
    )


def test_figures_are_drawn_again_from_their_file(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = [_series([0.3, 0.5, 0.9, 3.4])] * 3
    series += [_series([10.0, 15.0], True)] * 2
    content = {"device": "CPU", "series": [s._asdict() for s in series]}
    path, plot = tmp_path / "figures.json", tmp_path / "growth.png"
    path.write_text(json.dumps(content))
    code = command.run(
        growth.main,
        growth.FLAGS,
        "",
        ["growth", f"--from_json={path}", f"--plot={plot}"],
    )
    assert code == 0
    assert capsys.readouterr().out.count("straight line") == 5
    with Image.open(plot) as picture:
        assert picture.size[0] == 900
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
