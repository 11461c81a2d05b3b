"""In which coordinates a data set's boxes are, from the boxes alone."""

from __future__ import annotations

import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import annotation, command, coordinates

Box = tuple[float, float, float, float]


def _signs(*boxes: Box) -> tuple[str, ...]:
    return coordinates.signs(
        annotation.Object(
            annotation_id="", class_name="car", box=box, is_truncated=False
        )
        for box in boxes
    )


@pytest.mark.parametrize(
    ("boxes", "shown"),
    [
        # A file without boxes says nothing, nor do these.
        ([], ()),
        ([(0, 0, 1, 1)], ("below_1",)),
        ([(0.5, 0.5, 0.5, 0.9)], ("below_1",)),
        ([(0.1, 0.2, 0.3, 0.4)], ("below_1", "normalised")),
        # Rounding carries a normalised box over the edge.
        ([(0.1, -0.0001, 1.0001, 0.4)], ("below_1", "normalised")),
        ([(10, 10, 20, 20)], ("pixels",)),
        # One large box shows what the tiny ones are.
        ([(0.2, 0.2, 0.9, 0.8), (0, 0, 30, 30)], ("below_1", "pixels")),
        ([(1.2, 1.2, 1.9, 1.8)], ("pixels",)),
        ([(-40, -30, 0.5, 0.5)], ("below_1", "pixels")),
    ],
)
def test_signs(boxes: list[Box], shown: tuple[str, ...]) -> None:
    floats = [(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes]
    assert _signs(*floats) == shown


def _tally(**files: str) -> coordinates.Tally:
    tally = coordinates.Tally()
    for sign, file in files.items():
        tally.add(file, [sign])
    return tally


@pytest.mark.parametrize(
    ("flag", "rule", "files", "expected"),
    [
        ("auto", "auto", {}, "pixels"),
        ("auto", "auto", {"below_1": "a"}, "pixels"),
        ("auto", "auto", {"normalised": "a"}, "normalised"),
        ("auto", "auto", {"pixels": "a"}, "pixels"),
        ("pixels", "auto", {"pixels": "a", "normalised": "b"}, "pixels"),
        ("auto", "pixels_from_1", {"pixels": "a"}, "pixels_from_1"),
        ("pixels", "pixels_from_1", {"below_1": "a"}, "pixels"),
        ("pixels_from_1", "pixels_from_1", {"below_1": "a"}, "pixels_from_1"),
        ("auto", "pixels", {"pixels": "a", "normalised": "b"}, "pixels"),
        ("normalised", "pixels", {"normalised": "b"}, "normalised"),
        ("auto", "normalised", {"normalised": "b"}, "normalised"),
    ],
)
def test_decision(
    flag: str, rule: str, files: dict[str, str], expected: str
) -> None:
    assert coordinates.decide(flag, rule, _tally(**files)) == expected


@pytest.mark.parametrize(
    ("rule", "files", "parts"),
    [
        (
            "auto",
            {"pixels": "a.json", "normalised": "b.json"},
            ["1 files, such as a.json", "1 files, such as b.json"],
        ),
        ("pixels_from_1", {"below_1": "a.xml"}, ["a.xml", "=pixels if"]),
        ("pixels", {"normalised": "c.json"}, ["c.json", "=normalised if"]),
    ],
)
def test_contradictions(
    rule: str, files: dict[str, str], parts: list[str]
) -> None:
    with pytest.raises(command.UserError) as caught:
        coordinates.decide("auto", rule, _tally(**files))
    assert caught.value.exit_code == 65
    for part in parts:
        assert part in str(caught.value)


def test_what_is_always_normalised_cannot_be_in_pixels() -> None:
    with pytest.raises(command.UserError, match="--coordinates=pixels is not"):
        coordinates.decide("pixels", "normalised", _tally())


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("pixels", (1.0, 2.0, 10.0, 20.0)),
        ("pixels_from_1", (0.0, 1.0, 10.0, 20.0)),
        ("normalised", (48.0, 128.0, 480.0, 1280.0)),
    ],
)
def test_to_pixels(which: str, expected: Box) -> None:
    box = (1.0, 2.0, 10.0, 20.0)
    assert coordinates.to_pixels(box, which, (48, 64)) == expected


def test_a_mix_stops_the_conversion_with_a_file_of_each(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    dataset.add("in_pixels")
    dataset.add("nothing", [])
    dataset.add("shares", [made_dataset.box("car", 0.1, 0.1, 0.5, 0.6)])
    assert dataset.convert() == 65
    error = capsys.readouterr().err
    assert "in pixels 1 files, such as in_pixels.json" in error
    assert "normalised 1 files, such as shares.json" in error
    assert dataset.final_names() == []
    assert dataset.convert("--coordinates=pixels") == 0
    source = dataset.manifest().source
    assert source["coordinates"] == "pixels"
    assert source["coordinates_shown"]["normalised"] == 1
