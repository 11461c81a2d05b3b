"""Groups that look the same go to one side; the command that says so."""

from __future__ import annotations

import json
import pathlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import command, duplicates, moving, split


def _scene(seed: int) -> Image.Image:
    """Returns a picture with edges everywhere, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    size = (made_dataset.WIDTH, made_dataset.HEIGHT)
    return coarse.resize(size, Image.Resampling.BICUBIC)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 2)),
        min_size=3,
        max_size=25,
    )
)
def test_after_moving_no_pair_is_left_and_groups_are_whole(
    rows: list[tuple[int, int, int]],
) -> None:
    """Images of a few looks, in groups whose side the group alone decides."""
    looks = np.random.default_rng(0).integers(0, 256, (8, 16), np.uint8)
    paths = [f"i{n:02}" for n in range(len(rows))]
    hashes = {
        p: looks[r[0]].tobytes() for p, r in zip(paths, rows, strict=True)
    }
    groups = {p: f"g{r[1]}" for p, r in zip(paths, rows, strict=True)}
    side_of = {f"g{r[1]}": ("train", "val", "test")[r[2]] for r in rows}
    splits = {
        name: tuple(p for p in paths if side_of[groups[p]] == name)
        for name in ("train", "val", "test")
    }
    before = split.Assignment(
        splits={n: part for n, part in splits.items() if part}, rule={}
    )
    refusal: command.UserError | None
    try:
        after, moves = moving.settle(before, groups, hashes, 5)
    except command.UserError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert "would leave no image in split" in str(refusal)
        return
    assert after.images == set(paths)
    sides = after.sides
    assert duplicates.find(hashes, sides, groups, 5).num_pairs == 0
    assert len({(groups[p], sides[p]) for p in paths}) == len(side_of)
    moved = {m.group: (m.origin, m.target, m.num_images) for m in moves}
    for group, side in side_of.items():
        members = [p for p in paths if groups[p] == group]
        now = sides[members[0]]
        expected = None if now == side else (side, now, len(members))
        assert moved.get(group) == expected


@pytest.mark.parametrize(
    ("num_c", "val", "moved"),
    [
        # b looks like a, and c like b, which was on its side before.
        (1, ["d"], [("b", 2, "train"), ("c", 1, "train")]),
        # c is so large that all follow it, a too: b does not come back alone.
        (6, ["a", "b", "c", "d"], [("a", 3, "val")]),
    ],
)
def test_groups_go_where_most_of_their_images_are(
    num_c: int, val: list[str], moved: list[tuple[str, int, str]]
) -> None:
    looks = np.random.default_rng(0).integers(0, 256, (4, 16), np.uint8)
    layout = [
        ("a", "train", 0, 3),
        ("b", "val", 0, 1),
        ("b", "val", 1, 1),
        ("c", "val", 1, num_c),
        ("d", "val", 2, 1),
        ("e", "train", 3, 1),
    ]
    hashes, sides, groups = {}, {}, {}
    for group, side, look, number in layout:
        for index in range(number):
            path = f"{group}{look}{index}"
            hashes[path] = looks[look].tobytes()
            sides[path], groups[path] = side, group
    splits = {
        name: tuple(sorted(p for p in sides if sides[p] == name))
        for name in ("train", "val")
    }
    start = split.Assignment(splits=splits, rule={})
    after, moves = moving.settle(start, groups, hashes, 3)
    assert sorted({groups[p] for p in after.splits["val"]}) == val
    assert [(m.group, m.num_images, m.target) for m in moves] == moved


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    """Eight drives of two images; the scene of drive 0 is in drive 7 again."""
    made = made_dataset.Dataset(tmp_path)
    for drive in range(8):
        for number in range(2):
            stem = f"d{drive}_{number}"
            made.add(stem, parent_path=f"/batch/drive{drive}/wide")
            seed = 0 if (drive, number) == (7, 1) else drive * 2 + number
            scene = _scene(seed)
            quality = 60 if drive == 7 else 90
            scene.save(made.input / f"{stem}.jpg", quality=quality)
    return made


def _lists(tmp_path: pathlib.Path, val: list[int]) -> list[str]:
    flags = []
    for name, drives in (
        ("train", [d for d in range(8) if d not in val]),
        ("val", val),
    ):
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"d{d}_{n}\n" for d in drives for n in (0, 1)))
        flags.append(f"--{name}_list={path}")
    return flags


def test_command_reports_pairs(
    dataset: made_dataset.Dataset,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = _lists(tmp_path, [3, 7])
    assert dataset.convert(*flags) == 0
    report = dataset.manifest().split_rule["near_duplicates"]
    (pair,) = report.pop("examples")
    assert report == {
        "distance": 10,
        "not_readable": 0,
        "pairs": 1,
        "images": {"train": 1, "val": 1},
    }
    assert (pair["first"], pair["second"]) == ("d0_0.jpg", "d7_1.jpg")
    out = capsys.readouterr().out
    assert "1 pairs; images: 1 in train, 1 in val" in out
    assert "  d0_0.jpg and d7_1.jpg, distance " in out
    assert "--move_duplicates puts them on one side" in out
    # A pair may differ in nothing, and then the two pictures do differ.
    assert dataset.convert(*flags, "--overwrite", "--duplicate_distance=0") == 0
    assert dataset.manifest().split_rule["near_duplicates"]["pairs"] == (
        pair["distance"] == 0
    )
    off = [*flags, "--overwrite", "--nocheck_duplicates"]
    assert dataset.convert(*off) == 0
    assert dataset.manifest().split_rule["near_duplicates"] is None
    assert "across splits: not looked for" in capsys.readouterr().out


def test_images_that_cannot_be_compared_are_said(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dataset.input / "d3_0.jpg"
    path.write_bytes(path.read_bytes()[:400])
    assert dataset.convert("--val_fraction=0.2", "--max_rejects=0.1") == 0
    out = capsys.readouterr().out
    assert "  not compared, as they cannot be read: 1 images" in out


def test_command_moves_whole_drives(
    dataset: made_dataset.Dataset,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [*_lists(tmp_path, [3, 7]), "--move_duplicates"]
    assert dataset.convert(*flags) == 0
    rule = dataset.manifest().split_rule
    assert rule["near_duplicates"]["moved"] == {
        "groups": 1,
        "images": 2,
        "examples": [
            {
                "group": "batch/drive7",
                "num_images": 2,
                "origin": "val",
                "target": "train",
            }
        ],
    }
    assert rule["shares"]["val"]["reached"] == 2 / 16
    names = {
        i["file_name"]
        for i in json.loads((dataset.output / "val.json").read_text())["images"]
    }
    assert names == {"d3_0.jpg", "d3_1.jpg"}
    out = capsys.readouterr().out
    assert "batch/drive7: 2 images from val to train" in out


def test_command_never_empties_a_split(
    dataset: made_dataset.Dataset,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [*_lists(tmp_path, [7]), "--move_duplicates"]
    assert dataset.convert(*flags) == 65
    err = capsys.readouterr().err
    assert "would leave no image in split 'val': all its 2 images" in err
    assert dataset.final_names() == []


def test_folds_still_divide_the_data_after_moving(
    dataset: made_dataset.Dataset,
) -> None:
    vals: list[str] = []
    for fold in range(3):
        flags = ["--num_folds=3", f"--fold={fold}", "--move_duplicates"]
        assert dataset.convert(*flags, "--overwrite") == 0
        rule = dataset.manifest().split_rule
        vals += rule["groups"]["val"]
    assert sorted(vals) == [f"batch/drive{n}" for n in range(8)]


def test_moving_needs_looking(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--move_duplicates", "--nocheck_duplicates"]
    assert dataset.convert(*flags) == 64
    assert "exclude each other" in capsys.readouterr().err
    assert dataset.convert("--duplicate_distance=65") == 64
