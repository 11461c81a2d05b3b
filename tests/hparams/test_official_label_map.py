"""label_map: the ordered class names, split off the hyper-parameters."""

from __future__ import annotations

import pytest

from hparams import leaf, official

NAMES = ("car", "truck", "bus")


@pytest.mark.parametrize(
    "label_map",
    [
        {1: "car", 2: "truck", 3: "bus"},
        {3: "bus", 1: "car", 2: "truck"},
        {"1": "car", "2": "truck", "3": "bus"},
        {"car": 1, "bus": 3, "truck": 2},
        {"car": "1", "bus": "3", "truck": "2"},
        ["car", "truck", "bus"],
        ("car", "truck", "bus"),
        "[car, truck,bus]",
        "car*truck*bus",
    ],
)
def test_names_in_the_order_of_their_ids(label_map: object) -> None:
    rest, names = official.split_label_map({"label_map": label_map, "seed": 1})
    assert names == NAMES
    assert rest == {"seed": 1}


@pytest.mark.parametrize("given", [{}, {"label_map": None}, {"label_map": ""}])
def test_none_given(given: dict[str, object]) -> None:
    assert official.split_label_map(given) == ({}, None)


def test_the_mapping_given_is_left_alone() -> None:
    given: dict[str, object] = {"label_map": {1: "car"}}
    official.split_label_map(given)
    assert given == {"label_map": {1: "car"}}


@pytest.mark.parametrize(
    ("label_map", "words"),
    [
        (
            {"car": 0, "truck": 1, "bus": 2, "Pedestrian": 3},
            "label_map gives id 0 to 'car': ids start at 1, and background is"
            " not listed.",
        ),
        ({0: "background", 1: "car"}, "gives id 0 to 'background'"),
        ({1: "car", 3: "bus"}, "has the ids [1, 3], expected 1 to 2"),
        ({-1: "car"}, "has the ids [-1], expected 1 to 1"),
        ({"car": 1, "bus": 1}, "gives id 1 to 'car' and 'bus'"),
        ({1: "car", "1": "bus"}, "gives id 1 to 'car' and 'bus'"),
        ({1: "car", 2: "car"}, "has 'car' twice"),
        (["car", "car"], "has 'car' twice"),
        ({1: "car", 2: True}, "has the name True, expected text"),
        ({1: "car", 2: " "}, "has the name ' ', expected text"),
        ({1: ["car"]}, "has the name ['car'], expected text"),
        ({"car": 1.5}, "gives 1.5 the id 'car', expected an integer"),
        ({True: "car"}, "gives 'car' the id True, expected an integer"),
        ("coco", "label_map is 'coco': there are no built-in label maps."),
        ("voc", "label_map is 'voc': there are no built-in label maps."),
        ("waymo", "label_map is 'waymo': there are no built-in label maps."),
        (7, "label_map is 7."),
        ({}, "label_map is empty"),
        ([], "label_map is empty"),
    ],
)
def test_message(label_map: object, words: str) -> None:
    with pytest.raises(leaf.HParamError) as caught:
        official.split_label_map({"label_map": label_map})
    assert words in str(caught.value)
