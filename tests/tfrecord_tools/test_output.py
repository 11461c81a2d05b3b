"""Second runs, other arguments, two at once, a full disk, a kill."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import storage


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    made.add("a")
    made.add("b")
    return made


def _contents(dataset: made_dataset.Dataset) -> dict[str, tuple[int, bytes]]:
    return {
        p.name: (p.stat().st_mtime_ns, p.read_bytes())
        for p in dataset.output.iterdir()
    }


def test_second_run_does_nothing(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert() == 0
    before = _contents(dataset)
    capsys.readouterr()
    assert dataset.convert() == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert _contents(dataset) == before


def test_other_arguments_need_overwrite(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert("--num_shards=2") == 0
    before = _contents(dataset)
    flags = ("--image_size=32x32", "--num_shards=1")
    assert dataset.convert(*flags) == 73
    err = capsys.readouterr().err
    assert "image_size None, now '32x32'; num_shards 2, now 1" in err
    assert "--overwrite" in err
    assert _contents(dataset) == before
    assert dataset.convert(*flags, "--overwrite") == 0
    assert dataset.final_names() == [
        "dataset.json",
        "report.html",
        "train-00000-of-00001.tfrecord",
        "train.json",
    ]


def test_changed_input_needs_overwrite(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert() == 0
    dataset.add("c")
    assert dataset.convert() == 73
    assert "input files have changed" in capsys.readouterr().err


def test_shard_that_was_cut_needs_overwrite(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert() == 0
    os.truncate(dataset.output / "train-00000-of-00001.tfrecord", 10)
    assert dataset.convert() == 73
    assert "shard train-00000-of-00001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train-00000-of-08000.tfrecord", "and no dataset.json"),
        ("dataset.json", "is not a data set's manifest"),
    ],
)
def test_records_of_something_else_are_not_replaced(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    dataset.output.mkdir()
    (dataset.output / name).write_text("{}")
    assert dataset.convert() == 73
    assert message in capsys.readouterr().err
    assert (dataset.output / name).read_text() == "{}"


def test_other_files_in_the_folder_stay(dataset: made_dataset.Dataset) -> None:
    dataset.output.mkdir()
    (dataset.output / "notes.txt").write_text("mine")
    assert dataset.convert() == 0
    assert dataset.convert("--seed=1", "--overwrite") == 0
    assert (dataset.output / "notes.txt").read_text() == "mine"


def test_folder_in_use(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.output.mkdir()
    descriptor = os.open(dataset.output, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert dataset.convert() == 73
        assert "in use by another conversion" in capsys.readouterr().err
    finally:
        os.close(descriptor)
    assert dataset.convert() == 0


def test_full_disk(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(path: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(storage, "sha256", fail)
    assert dataset.convert() == 74
    assert "No space left on device" in capsys.readouterr().err
    assert dataset.final_names() == []


def test_output_that_is_a_file(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.output.write_text("")
    assert dataset.convert() == 74
    assert "cannot be written: File exists" in capsys.readouterr().err


class _KilledError(Exception):
    """Stands for the end of the process."""


def _convert_until(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    name: str,
    *flags: str,
) -> None:
    """Converts, and ends before an operation touches a name in the output."""
    call = getattr(storage, operation)

    def stop(*paths: str) -> None:
        if paths[-1] == str(dataset.output / name):
            raise _KilledError
        call(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(storage, operation, stop)
        with pytest.raises(_KilledError):
            dataset.convert(*flags)


def test_killed_while_renaming(
    dataset: made_dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    _convert_until(
        dataset, monkeypatch, "rename", "train.json", "--num_shards=2"
    )
    assert "train-00000-of-00002.tfrecord" in dataset.final_names()
    assert "dataset.json" not in dataset.final_names()
    # The names left behind are known as ours: no --overwrite is needed.
    assert dataset.convert("--num_shards=1") == 0
    assert dataset.final_names() == [
        "dataset.json",
        "report.html",
        "train-00000-of-00001.tfrecord",
        "train.json",
    ]


def test_killed_while_overwriting(
    dataset: made_dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dataset.convert("--num_shards=2") == 0
    flags = ("--num_shards=1", "--overwrite")
    old = "train-00001-of-00002.tfrecord"
    _convert_until(dataset, monkeypatch, "remove", old, *flags)
    # Half of the old shards must not pass for a data set.
    assert old in dataset.final_names()
    assert "dataset.json" not in dataset.final_names()
    assert dataset.convert(*flags) == 0
    assert dataset.final_names() == [
        "dataset.json",
        "report.html",
        "train-00000-of-00001.tfrecord",
        "train.json",
    ]


@pytest.mark.parametrize("name", ["images", "labels", "data.yaml"])
def test_folders_of_somebody_else_are_not_replaced(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    (dataset.output / name).mkdir(parents=True)
    (dataset.output / name / "mine").write_text("mine")
    flags = ("--output_format=yolo", "--overwrite")
    assert dataset.convert(*flags) == 73
    assert f"holds {name}, which is no data set's" in capsys.readouterr().err
    assert (dataset.output / name / "mine").read_text() == "mine"
    assert dataset.convert("--output_format=tfrecord") == 0
    assert (dataset.output / name / "mine").read_text() == "mine"


def test_overwriting_removes_what_the_new_one_lacks(
    dataset: made_dataset.Dataset,
) -> None:
    assert dataset.convert("--output_format=tfrecord,yolo") == 0
    assert dataset.convert("--output_format=coco", "--overwrite") == 0
    assert dataset.final_names() == [
        "dataset.json",
        "images",
        "report.html",
        "train.json",
    ]
    assert dataset.convert("--output_format=tfrecord", "--overwrite") == 0
    assert dataset.final_names() == [
        "dataset.json",
        "report.html",
        "train-00000-of-00001.tfrecord",
        "train.json",
    ]


def test_removed_images_are_noticed(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert("--output_format=coco") == 0
    (dataset.output / "images").rename(dataset.output / "elsewhere")
    assert dataset.convert("--output_format=coco") == 73
    assert "its images is missing" in capsys.readouterr().err
