"""Filters: their syntax, what they leave out, and what they answer to typos."""

from __future__ import annotations

import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import annotation, command, selection


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    """Six images: 3 sunny, 1 cloudy, 1 rainy, 1 that does not say."""
    made = made_dataset.Dataset(tmp_path)
    weathers = ["sunny", "sunny", "sunny", "cloudy", "rainy", None]
    for index, weather in enumerate(weathers):
        camera = "FR-View-CMR-Wide" if index % 2 else "RR-View-CMR-Wide"
        made.add(
            f"i{index}",
            [
                *made_dataset.ALL_CLASSES,
                made_dataset.box("car", 2, 2, 12, 2 + index, occlusion=index),
            ],
            weather=weather,
            parent_path=f"/batch/day/drive{index}/{camera}",
        )
    return made


@pytest.mark.parametrize(
    ("text", "kept", "left_out"),
    [
        ("f:a", ["a"], ["b", "A", ""]),
        ("f:a, b", ["a", "b"], ["c", "a, b"]),
        ("f:!a,b", ["c", ""], ["a", "b"]),
        ("f:!=a", ["c"], ["a"]),
        ("f:0", ["0", "0.0", "-0"], ["1", "", "zero"]),
        ("f:<=2", ["2", "2.0", "-7"], ["2.1", "3"]),
        ("f:<2", ["1.9"], ["2"]),
        ("f:>=2", ["2"], ["1.9"]),
        ("f:>2", ["2.1", "1e3"], ["2"]),
        ("f:<1,>=5", ["0", "5"], ["1", "4"]),
        ("f:!<1", ["1", "word"], ["0"]),
        ("f:12:30", ["12:30"], ["12"]),
    ],
)
def test_conditions(text: str, kept: list[str], left_out: list[str]) -> None:
    condition = selection.parse_filter("image_filter", text)
    assert [condition.reason(v) for v in kept] == [None] * len(kept)
    reasons = {condition.reason(v) for v in left_out}
    assert None not in reasons


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("f:a", "filter:f:missing"),
        ("f:a,missing", None),
        ("f:!a", None),
        ("f:!a,missing", "filter:f:missing"),
        ("f:!missing", "filter:f:missing"),
        ("f:<2", "filter:f:missing"),
    ],
)
def test_missing_is_a_value_of_its_own(text: str, reason: str | None) -> None:
    parsed = selection.parse_filter("image_filter", text)
    assert parsed.reason(None) == reason


def test_a_word_where_a_number_is_needed_has_its_own_reason() -> None:
    parsed = selection.parse_filter("object_filter", "occlusion:<=2")
    assert parsed.reason("low") == "filter:occlusion:not_a_number"
    assert parsed.reason("nan") == "filter:occlusion:not_a_number"
    assert parsed.reason("3") == "filter:occlusion"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weather", "names no field"),
        (":sunny", "names no field"),
        ("weather:", "has an empty value"),
        ("weather:sunny,", "has an empty value"),
        ("weather:!", "has an empty value"),
        ("height:>=big", "compares with 'big', no number"),
        ("height:<=", "compares with '', no number"),
    ],
)
def test_what_is_no_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(command.UserError, match=message) as caught:
        selection.parse_filter("image_filter", text)
    assert caught.value.exit_code == 64
    assert f"--image_filter={text} " in str(caught.value)
    assert "Expected FIELD:VALUE" in str(caught.value)


def test_sizes_are_of_the_box_as_drawn() -> None:
    item = annotation.Object(
        annotation_id="1",
        class_name="car",
        box=(2.0, -10.0, 10.5, 30.0),
        is_truncated=False,
        fields={"area": "1", "class": "no", "occlusion": "2"},
    )
    wanted = {
        "height": "8.5",
        "width": "40.0",
        "area": "340.0",
        "class": "car",
        "occlusion": "2",
        "other": None,
    }
    found = {name: selection.object_value(item, name) for name in wanted}
    assert found == wanted


def test_images_are_left_out_by_reason(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--image_filter=weather:sunny,cloudy",
        "--image_filter=camera:FR-View-CMR-Wide",
    ]
    assert dataset.convert(*flags) == 0
    manifest = dataset.manifest()
    # 1 is sunny, 3 is cloudy; 0 and 2 are of the other camera.
    assert manifest.accounts["images"] == {
        "in": 6,
        "written": 2,
        "filtered": {
            "filter:camera": 2,
            "filter:weather": 1,
            "filter:weather:missing": 1,
        },
        "rejected": {},
    }
    assert manifest.accounts["objects"]["filtered"]["image_filtered"] == 20
    assert manifest.filters == {
        "type": "bbox",
        "isfake": "0",
        "image_filter": [f.split("=")[1] for f in flags],
    }
    report = manifest.selection
    assert report["images_without_field"] == {"weather": 1}
    assert [report[s]["images"] for s in ("found", "filtered", "selected")] == [
        6,
        2,
        2,
    ]
    assert report["found"]["cameras"] == {
        "FR-View-CMR-Wide": 3,
        "RR-View-CMR-Wide": 3,
    }
    out = capsys.readouterr().out
    assert "warning: 1 images have no field 'weather'" in out
    assert dataset.convert(*flags) == 0  # nothing to do
    assert dataset.convert(*flags[:1]) == 73


def test_objects_are_left_out_by_reason(dataset: made_dataset.Dataset) -> None:
    # The sixth object, of height 5, is hidden at 5; heights 0 and 1 are there.
    flags = ("--object_filter=height:>=3", "--object_filter=occlusion:<=4")
    assert dataset.convert(*flags) == 0
    manifest = dataset.manifest()
    assert manifest.accounts["objects"] == {
        "in": 30,
        "written": 26,
        "filtered": {"filter:height": 2, "filter:occlusion": 1},
        # A fault is one, whatever the filters say.
        "rejected": {"zero_area": 1},
        "clipped": 0,
    }
    assert manifest.splits["train"].objects["car"] == 8
    # Boxes of height 0 are only found when images are read.
    assert manifest.selection["selected"]["objects"]["car"] == 8


def test_pictures_of_objects_can_be_kept(dataset: made_dataset.Dataset) -> None:
    fake = made_dataset.box("bus_l", 3, 3, 30, 30, isfake=1)
    dataset.add("fake", [fake], weather="sunny")
    numbers = []
    for flags in (
        [],
        ["--keep_fake"],
        ["--object_filter=isfake:0,1"],
        ["--object_filter=isfake:0"],
    ):
        assert dataset.convert("--overwrite", *flags) == 0
        manifest = dataset.manifest()
        numbers.append(
            (
                manifest.splits["train"].objects["bus"],
                manifest.accounts["objects"]["filtered"],
                manifest.filters.get("isfake"),
            )
        )
    assert numbers == [
        (6, {"isfake": 1}, "0"),
        (7, {}, None),
        (7, {}, None),
        (6, {"filter:isfake": 1}, None),
    ]


def test_a_field_that_some_objects_lack(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = made_dataset.box("car", 1, 1, 9, 9)
    del bare["occlusion"]
    dataset.add("bare", [bare])
    assert dataset.convert("--object_filter=occlusion:0") == 0
    filtered = dataset.manifest().accounts["objects"]["filtered"]
    assert filtered["filter:occlusion:missing"] == 1
    out = capsys.readouterr().out
    assert "warning: 1 objects have no field 'occlusion'" in out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--image_filter=wether:sunny",
            "no annotation has a field 'wether' for images; did you mean"
            " 'weather' (5 images)?",
        ),
        (
            "--image_filter=weather:suny",
            "'weather' is 'suny' for none of the images; did you mean 'sunny'"
            " (3 images)?",
        ),
        (
            "--image_filter=weather:fog",
            "what occurs: sunny (3), cloudy (1), rainy (1).",
        ),
        (
            "--image_filter=zzz:1",
            "what occurs: filename (6), parent_path (6), size (6), camera (6)",
        ),
        (
            "--object_filter=oclusion:0",
            "no annotation has a field 'oclusion' for objects; did you mean"
            " 'occlusion' (30 objects)?",
        ),
        ("--object_filter=class:cars", "did you mean 'car' (12 objects)?"),
    ],
)
def test_what_never_occurs_is_refused(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    message: str,
) -> None:
    assert dataset.convert(flag) == 64
    err = capsys.readouterr().err
    assert message in err
    assert f"error: {flag}: " in err
    assert dataset.final_names() == []


def test_a_number_need_not_occur(dataset: made_dataset.Dataset) -> None:
    assert dataset.convert("--object_filter=occlusion:0,1,9") == 0


def test_filters_that_leave_nothing(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--image_filter=weather:rainy", "--image_filter=num_objects:0")
    assert dataset.convert(*flags) == 65
    assert (
        "leaves none of 6 images (filter:num_objects 1, filter:weather 4,"
        " filter:weather:missing 1)"
    ) in capsys.readouterr().err


def test_filters_that_leave_a_class_without_objects(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    bus = made_dataset.box("bus_l", 1, 1, 9, 9)
    for name, weather in (("a", "snow"), ("b", "sunny")):
        dataset.add(name, [bus], weather=weather)
    flag = "--image_filter=weather:snow"
    assert dataset.convert(flag) == 65
    err = capsys.readouterr().err
    assert "no object of class 'car' (12), 'truck' (6), 'pedestrian' (6)" in err
    assert dataset.convert(flag, "--allow_empty_classes") == 0


def test_images_by_drive_and_by_number_of_objects(
    dataset: made_dataset.Dataset,
) -> None:
    dataset.add("empty", None)
    flags = [
        "--image_filter=num_objects:>=1",
        "--image_filter=drive:!batch/day/drive3",
    ]
    assert dataset.convert(*flags) == 0
    assert dataset.manifest().accounts["images"]["filtered"] == {
        "filter:drive": 1,
        "filter:num_objects": 1,
    }
