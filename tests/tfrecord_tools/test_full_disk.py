"""Files that cannot be written to their end, whichever it is."""

from __future__ import annotations

import contextlib
import pathlib
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.tfrecord_tools import made_dataset

FLAGS = ("--output_format=tfrecord,yolo", "--num_shards=2")


@contextlib.contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    """Has the system refuse to write files of more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _files(dataset: made_dataset.Dataset) -> dict[str, bytes]:
    return {
        str(path.relative_to(dataset.output)): path.read_bytes()
        for path in sorted(dataset.output.rglob("*"))
        if path.is_file()
    }


def test_no_file_is_cut_off_whichever_is_too_large(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    for index in range(6):
        dataset.add(f"image{index}")
    expected_folder = tmp_path / "expected"
    expected_folder.mkdir()
    assert dataset.convert(*FLAGS) == 0
    expected = _files(dataset)
    largest = max(map(len, expected.values()))
    # From labels over images, the JSON and the shards up to the manifest.
    limits = sorted({0, *(len(c) - 1 for c in expected.values())})
    assert len(limits) > 10
    for number, limit in enumerate(limits):
        dataset.output = tmp_path / f"out{number}"
        with _largest_file(limit):
            assert dataset.convert(*FLAGS) == 74, limit
        err = capsys.readouterr().err
        assert "cannot be written" in err
        assert "Traceback" not in err
        assert set(dataset.final_names()) <= {".partial"}
        assert dataset.convert(*FLAGS) == 0
        assert _files(dataset) == expected
    dataset.output = tmp_path / "enough"
    with _largest_file(4 * largest):
        assert dataset.convert(*FLAGS) == 0
    assert _files(dataset) == expected


def test_finished_shards_are_kept_when_the_disk_is_full(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    for index in range(4):
        dataset.add(f"image{index}")
    flags = ("--num_shards=4",)
    assert dataset.convert(*flags) == 0
    # All parts fit, the manifest does not.
    limit = len((dataset.output / "dataset.json").read_bytes()) - 1
    assert all(
        p.stat().st_size < limit for p in dataset.output.glob("*.tfrecord")
    )
    dataset.output = tmp_path / "again"
    with _largest_file(limit):
        assert dataset.convert(*flags) == 74
    assert dataset.final_names() == [".partial"]
    capsys.readouterr()
    assert dataset.convert(*flags) == 0
    assert "4 of 4 shards are finished" in capsys.readouterr().out


_PRINTS = """
import sys
from absl import flags
from tfrecord_tools import command

def main(_):
    print("A line of the log.", flush=True)

sys.exit(command.run(main, flags.FlagValues(), "", ["command"]))
"""


def test_output_to_a_disk_that_is_full() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _PRINTS],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == (
        "error: [Errno 28] No space left on device. Make room and give the same"
        " command.\n"
    )
