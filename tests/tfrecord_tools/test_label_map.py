from __future__ import annotations

import pytest

from tfrecord_tools import command, label_map

CLASSES = ["car", "truck", "bus", "pedestrian"]


def test_ids_follow_from_the_order_and_start_at_1() -> None:
    labels = label_map.make_label_map(CLASSES, [])
    expected = {
        "car": 1,
        "truck_s": 2,
        "truck_l": 2,
        "bus_s": 3,
        "bus_l": 3,
        "adult": 4,
        "child": 4,
        "specialclothes": 4,
        "pedestrian": 4,
        "face": None,
    }
    assert {name: labels.label(name) for name in expected} == expected
    reversed_ids = label_map.make_label_map(CLASSES[::-1], [])
    assert [reversed_ids.label(name) for name in CLASSES] == [4, 3, 2, 1]


def test_class_map_goes_before_the_default() -> None:
    labels = label_map.make_label_map(
        ["car", "truck", "person"], ["adult:person", "bus_l:truck", "a:b:car"]
    )
    names = ("adult", "bus_l", "bus_s", "a:b", "person")
    assert [labels.label(name) for name in names] == [3, 2, None, 1, 3]


@pytest.mark.parametrize(
    ("classes", "class_map", "message"),
    [
        (["car", ""], [], r"--classes=car, has an empty name"),
        (["car", "car"], [], r"--classes=car,car names 'car' twice"),
        (CLASSES, ["trailer"], r"--class_map=trailer is not of the form"),
        (CLASSES, [":car"], r"--class_map=:car is not of the form"),
        (CLASSES, ["a:trucks"], r"'trucks'.* Did you mean 'truck'\?"),
        (CLASSES, ["a:car", "a:bus"], r"'a' two classes, 'car' and 'bus'"),
    ],
)
def test_wrong_flags(
    classes: list[str], class_map: list[str], message: str
) -> None:
    with pytest.raises(command.UserError, match=message) as caught:
        label_map.make_label_map(classes, class_map)
    assert caught.value.exit_code == 64


def test_class_that_nothing_has_suggests_the_nearest() -> None:
    found = {"car": 5, "adult": 3, "child": 2, "truck_s": 1, "bus_l": 1}
    label_map.check_all_found(label_map.make_label_map(CLASSES, []), found)
    labels = label_map.make_label_map(["car", "truck", "bus", "Pedestrian"], [])
    with pytest.raises(command.UserError) as caught:
        label_map.check_all_found(labels, found)
    assert caught.value.exit_code == 64
    assert str(caught.value).startswith(
        "no annotation has class 'Pedestrian', did you mean 'pedestrian'"
        " (5 objects)?\nNothing was written."
    )


def test_class_unlike_all_others_lists_what_there_is() -> None:
    labels = label_map.make_label_map(["car", "zebra"], [])
    with pytest.raises(
        command.UserError,
        match=r"'zebra'; the annotations have: car \(5\), face \(2\)\.",
    ):
        label_map.check_all_found(labels, {"car": 5, "face": 2})
