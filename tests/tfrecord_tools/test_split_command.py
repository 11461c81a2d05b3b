"""The command with splits by group, three splits and folds."""

from __future__ import annotations

import pathlib

import pytest

from tests.tfrecord_tools import made_dataset


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    """Six drives of two images; a bus in drive 0 alone."""
    made = made_dataset.Dataset(tmp_path)
    for drive in range(6):
        for number in range(2):
            objects = [
                item
                for item in made_dataset.ALL_CLASSES
                if drive == 0 or item["attribute"] != "bus_l"
            ]
            made.add(
                f"d{drive}_{number}",
                objects,
                parent_path=f"/batch/drive{drive}/wide",
            )
    return made


def test_command_writes_three_splits(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--val_fraction=0.3", "--test_fraction=0.2"]
    assert dataset.convert(*flags) == 0
    manifest = dataset.manifest()
    assert [s.images for s in manifest.splits.values()] == [6, 4, 2]
    names = {p.name.split("-")[0] for p in dataset.output.glob("*.tfrecord")}
    assert names == {"train", "val", "test"}
    assert (dataset.output / "test.json").is_file()
    rule = manifest.split_rule
    assert rule["shares"]["test"] == {
        "asked": 0.2,
        "reached": 0.1667,
        "groups": 1,
    }
    assert len(rule["groups"]["val"]) == 2
    assert manifest.splits["train"].objects["bus"] == 2
    assert rule["missing_classes"] == {"val": {"bus": 1}, "test": {"bus": 1}}
    out = capsys.readouterr().out
    assert "val: 33.3% of the images (asked for 30.0%), 2 groups" in out
    assert (
        "warning: no group in test has class 'bus'; of all groups 1 has it"
        in out
    )
    # Another split leaves no shard of test behind.
    assert dataset.convert("--overwrite") == 0
    assert not list(dataset.output.glob("test*"))


def test_command_groups_by_a_regular_expression(
    dataset: made_dataset.Dataset,
) -> None:
    flags = ["--num_folds=2", "--fold=1", r"--group_regex=_(\d)\.jpg$"]
    assert dataset.convert(*flags) == 0
    rule = dataset.manifest().split_rule
    assert rule["grouped_by"] == r"_(\d)\.jpg$"
    assert rule["groups"]["val"] in (["0"], ["1"])
    assert dataset.manifest().splits["val"].images == 6


def test_list_of_test_images_and_drives_on_both_sides(
    dataset: made_dataset.Dataset,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = []
    for name, images in (
        ("train", ("d0_0", "d1_0")),
        ("val", ("d0_1",)),
        ("test", ("d2_0",)),
    ):
        path = tmp_path / f"{name}.txt"
        path.write_text("\n".join(images))
        flags.append(f"--{name}_list={path}")
    assert dataset.convert(*flags) == 0
    manifest = dataset.manifest()
    assert [s.images for s in manifest.splits.values()] == [2, 1, 1]
    assert manifest.split_rule["groups_in_several_splits"] == {
        "count": 1,
        "examples": ["batch/drive0"],
    }
    out = capsys.readouterr().out
    assert "warning: 1 groups (drives) have images in several splits" in out
