"""Stopped conversions: what comes out is what an undisturbed one writes."""

from __future__ import annotations

import collections
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import part_writer, prepare, storage

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FLAGS = (
    "--num_shards=3",
    "--val_fraction=0.3",
    "--output_format=tfrecord,yolo",
    "--max_rejects=0.9",
    "--image_size=40x40",
)


class _KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    return _filled(tmp_path, 9)


def _filled(path: pathlib.Path, num_images: int) -> made_dataset.Dataset:
    made = made_dataset.Dataset(path)
    for index in range(num_images):
        made.add(f"image{index}")
    made.add("bad", size="1*1")
    made.add("beside", [made_dataset.box("car", 99, 0, 120, 9)])
    return made


def _files(dataset: made_dataset.Dataset) -> dict[str, bytes]:
    """Returns all files in the output folder and those below it."""
    return {
        str(path.relative_to(dataset.output)): path.read_bytes()
        for path in sorted(dataset.output.rglob("*"))
        if path.is_file()
    }


def _undisturbed(dataset: made_dataset.Dataset) -> dict[str, bytes]:
    output = dataset.output
    dataset.output = dataset.input.parent / "undisturbed"
    assert dataset.convert(*FLAGS) == 0
    files = _files(dataset)
    dataset.output = output
    return files


def _stop_at(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    number: int,
    *flags: str,
) -> bool:
    """Converts, ends in a function's call of that number; False: no such."""
    call = getattr(owner, name)
    calls = collections.Counter[str]()

    def stop(*args: Any) -> Any:
        calls[name] += 1
        if calls[name] > number:
            raise _KilledError
        return call(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop)
        try:
            assert dataset.convert(*FLAGS, *flags) == 0
        except _KilledError:
            return True
    return False


@pytest.mark.parametrize(
    ("owner", "name", "least"),
    [
        # Within and between shards; each file as it is written; each time that
        # one gets its name, also while the data set gets its final ones.
        (part_writer.Writer, "add", 7),
        (storage, "write_bytes", 20),
        (storage, "rename", 15),
    ],
)
def test_stopped_anywhere_gives_the_same_files(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    least: int,
) -> None:
    dataset = _filled(tmp_path, 5)
    expected = _undisturbed(dataset)
    number = 0
    for number in range(1000):
        dataset.output = tmp_path / f"out{number}"
        if not _stop_at(dataset, monkeypatch, owner, name, number):
            break
        assert "dataset.json" not in dataset.final_names()
        assert dataset.convert(*FLAGS) == 0
        assert _files(dataset) == expected, number
    assert number >= least


def test_killed_again_and_again(
    dataset: made_dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _undisturbed(dataset)
    num_runs = 1
    while _stop_at(dataset, monkeypatch, part_writer.Writer, "add", 4):
        num_runs += 1
    # 11 images in 6 shards, and each run finishes the shards of 4.
    assert num_runs in (3, 4)
    assert _files(dataset) == expected


def test_finished_shards_are_not_made_again(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _stop_at(dataset, monkeypatch, part_writer.Writer, "finish", 4)
    assert dataset.final_names() == [".partial"]
    prepared = []
    prepare_one = prepare.prepare

    def count(settings: prepare.Settings, task: prepare.Task) -> Any:
        prepared.append(task.file)
        return prepare_one(settings, task)

    monkeypatch.setattr(prepare, "prepare", count)
    assert dataset.convert(*FLAGS) == 0
    assert "4 of 6 shards are finished" in capsys.readouterr().out
    # The last two shards of val, of an image each.
    assert len(prepared) == 2


_KILL = """
import os, signal, sys
from tests.tfrecord_tools import made_dataset
from tfrecord_tools import command, convert, part_writer
finish, calls = part_writer.Writer.finish, []
def stop(self):
    calls.append(0)
    if len(calls) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    finish(self)
part_writer.Writer.finish = stop
command.run(convert.main, convert.FLAGS, "", sys.argv)
"""


def test_killed_by_the_system(dataset: made_dataset.Dataset) -> None:
    expected = _undisturbed(dataset)
    folders = [f"--input_dir={dataset.input}", f"--output_dir={dataset.output}"]
    done = subprocess.run(
        [sys.executable, "-c", _KILL, *folders, *FLAGS, "--num_workers=1"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    entries = list((dataset.output / ".partial").glob("*.entry"))
    assert len(entries) == 2
    assert dataset.convert(*FLAGS) == 0
    assert _files(dataset) == expected


def test_other_arguments_discard_what_is_finished(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = _undisturbed(dataset)
    flags = ("--jpeg_quality=50",)
    assert _stop_at(
        dataset, monkeypatch, part_writer.Writer, "finish", 2, *flags
    )
    capsys.readouterr()
    assert dataset.convert(*FLAGS) == 0
    assert (
        "Discarding 2 finished shards of a conversion that was stopped: it had"
        " other arguments (jpeg_quality 50, now 95)." in capsys.readouterr().out
    )
    assert _files(dataset) == expected


def test_changed_inputs_discard_what_is_finished(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _stop_at(dataset, monkeypatch, part_writer.Writer, "finish", 2)
    made_dataset.pixels(99).save(dataset.input / "image0.jpg")
    expected = _undisturbed(dataset)
    capsys.readouterr()
    assert dataset.convert(*FLAGS) == 0
    assert "its input files have changed since" in capsys.readouterr().out
    assert _files(dataset) == expected


@pytest.mark.parametrize(
    "pattern", ["*.records", "*.truth", "images/*/*", "labels/*/*", "*.entry"]
)
@pytest.mark.parametrize("is_removed", [False, True])
def test_damaged_shards_are_made_again(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    is_removed: bool,
) -> None:
    expected = _undisturbed(dataset)
    assert _stop_at(dataset, monkeypatch, part_writer.Writer, "finish", 2)
    path = min((dataset.output / ".partial").glob(pattern))
    if is_removed:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert dataset.convert(*FLAGS) == 0
    assert _files(dataset) == expected


def test_finished_shards_of_bad_data_are_not_kept(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert(*FLAGS, "--max_rejects=0.01") == 65
    assert "1 of 11 annotated images are rejected" in capsys.readouterr().err
    assert dataset.final_names() == []


def test_stopped_while_replacing_another_data_set(
    dataset: made_dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ("--num_shards=2", "--output_format=tfrecord,coco")
    expected = _undisturbed(dataset)
    for number in range(1000):
        assert dataset.convert("--max_rejects=1", "--overwrite", *other) == 0
        (dataset.output / "notes.txt").write_text("mine")
        flags = ("--overwrite",)
        if not _stop_at(
            dataset, monkeypatch, storage, "rename", number, *flags
        ):
            break
        assert dataset.convert(*FLAGS, "--overwrite") == 0
        assert _files(dataset) == {**expected, "notes.txt": b"mine"}, number
        os.unlink(dataset.output / "notes.txt")
    assert number > 20
