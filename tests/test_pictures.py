"""Where boxes and labels lie, and what colours they have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from efficientdet_aimmo import pictures

GREY = 128


def _grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def _pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_a_box_is_drawn_where_it_is() -> None:
    # The longer side is 960 already: no zoom.
    image = _grey(480, 960)
    plain = _pixels(pictures.draw(image, [], "none"))
    mark = pictures.Mark((100.0, 200.0, 300.0, 500.0), 0, "car")
    drawn = _pixels(pictures.draw(image, [mark], "none"))
    bar = drawn.shape[0] - 480
    assert drawn.shape[1] == 960
    rows, columns = np.nonzero((drawn != plain).any(axis=-1))
    assert columns.min() == 200
    assert columns.max() == 500
    assert rows.max() - bar == 300
    middle = drawn[bar + 200]
    colour = np.array(pictures.colour(0))
    for column in (200, 201, 499, 500):
        np.testing.assert_array_equal(middle[column], colour)
    np.testing.assert_array_equal(middle[202], [GREY] * 3)
    # The label lies right above the box.
    np.testing.assert_array_equal(drawn[bar + 98, 201], colour)


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 40.0, 40.0),
        (0.0, 920.0, 40.0, 960.0),
        (440.0, 0.0, 480.0, 40.0),
        (440.0, 920.0, 480.0, 960.0),
        (0.0, 0.0, 480.0, 960.0),
        (470.0, 940.0, 500.0, 990.0),
    ],
)
def test_labels_are_whole_at_every_border(
    box: tuple[float, float, float, float],
) -> None:
    """The label has as many pixels as one in the middle of the image."""
    text = "pedestrian 0.87"

    def num_label_pixels(place: tuple[float, float, float, float]) -> int:
        mark = pictures.Mark(place, 3, text)
        image = _pixels(pictures.draw(_grey(480, 960), [mark], "none"))
        # Text is drawn in black, which neither the image nor a box has.
        return int((image[30:].sum(axis=-1) < 60).sum())

    assert num_label_pixels(box) == num_label_pixels((200, 300, 300, 700))


def test_labels_make_room_for_one_another() -> None:
    font_height = 20
    marks = [
        pictures.Mark((100.0, 300.0, 300.0, 420.0), 0, "car 0.9"),
        pictures.Mark((101.0, 302.0, 300.0, 423.0), 0, "car 0.8"),
        pictures.Mark((99.0, 301.0, 300.0, 421.0), 0, "car 0.7"),
    ]
    places: list[tuple[int, int, int, int]] = []
    for mark in marks:
        top, left, bottom, right = (int(v) for v in mark.box)
        places.append(
            pictures.label_place(
                (left, top, right, bottom),
                (60, font_height),
                (960, 480),
                places,
            )
        )
    for first, second in itertools.combinations(places, 2):
        apart = (
            first[2] <= second[0]
            or second[2] <= first[0]
            or first[3] <= second[1]
            or second[3] <= first[1]
        )
        assert apart, (first, second)


def test_colours_are_distinct_and_text_contrasts() -> None:
    colours = [pictures.colour(i) for i in range(14)]
    assert len(set(colours)) == 14
    for index in range(14):
        mark = pictures.Mark((100.0, 100.0, 200.0, 300.0), index, "car")
        drawn = _pixels(pictures.draw(_grey(480, 960), [mark], "none"))
        label = drawn[480 + 26 - 480 + 80 : 480 + 26 - 480 + 100, 100:130]
        luma = label @ np.array([0.299, 0.587, 0.114])
        assert luma.max() - luma.min() > 100


def test_comparison_shows_what_is_said() -> None:
    names = ("car", "bus")
    boxes = np.array([[10, 10, 60, 60], [20, 80, 60, 150]], np.float32)
    objects = (boxes, np.array([0, 1]), np.array([False, True]))
    scores = np.array([0.9, 0.3], np.float32)
    detections = (boxes, scores, np.array([0, 1]))
    marks = pictures.object_marks(*objects, names)
    assert [mark.text for mark in marks] == ["car", "bus (crowd)"]
    marks = pictures.detection_marks(*detections, names, 0.3)
    # float32's 0.3 is above 0.3.
    assert [mark.text for mark in marks] == ["car 0.90", "bus 0.30"]
    marks = pictures.detection_marks(*detections, names, 0.31)
    assert [mark.text for mark in marks] == ["car 0.90"]
    assert pictures.detections_caption(1, 0.31) == (
        "1 detection at score >= 0.31"
    )
    assert pictures.detections_caption(0, 0.305) == (
        "0 detections at score >= 0.30"
    )
    whole = pictures.draw_comparison(
        _grey(100, 200), objects, detections, names, 0.31
    )
    half = pictures.draw_detections(_grey(100, 200), detections, names, 0.31)
    right = whole.crop((whole.width - half.width, 0, *whole.size))
    np.testing.assert_array_equal(np.asarray(right), np.asarray(half))


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (100, 100)])
def test_any_image_size(size: tuple[int, int]) -> None:
    mark = pictures.Mark((0.0, 0.0, float(size[0]), float(size[1])), 1, "bus")
    picture = pictures.draw(_grey(*size), [mark], "ground truth: 1 object")
    assert picture.width >= 360
    assert picture.height >= 40
