"""The same records by Apache Beam as by the local engine."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import entries, parts, prepare, storage

HAS_BEAM = importlib.util.find_spec("apache_beam") is not None
FLAGS = (
    "--num_shards=2",
    "--output_format=tfrecord,yolo",
    "--max_rejects=0.5",
    "--val_fraction=0.3",
)
BEAM = "--engine=beam"


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> made_dataset.Dataset:
    made = made_dataset.Dataset(tmp_path)
    for index in range(5):
        made.add(f"image{index}")
    made.add("bad", size="1*1")
    made.add("beside", [made_dataset.box("car", 99, 0, 120, 9)])
    return made


def _files(dataset: made_dataset.Dataset) -> dict[str, bytes]:
    return {
        str(path.relative_to(dataset.output)): path.read_bytes()
        for path in sorted(dataset.output.rglob("*"))
        if path.is_file()
    }


@pytest.mark.skipif(HAS_BEAM, reason="Apache Beam is installed")
def test_without_beam_it_says_what_to_install(
    dataset: made_dataset.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.convert(*FLAGS, BEAM) == 64
    err = capsys.readouterr().err
    assert "pip install efficientdet-aimmo[beam]" in err
    assert dataset.final_names() == []


def test_beam_writes_the_same_files(dataset: made_dataset.Dataset) -> None:
    pytest.importorskip("apache_beam")
    assert dataset.convert(*FLAGS) == 0
    expected = _files(dataset)
    dataset.output = dataset.input.parent / "beam"
    assert dataset.convert(*FLAGS, BEAM) == 0
    assert _files(dataset) == expected


def test_either_engine_goes_on_where_the_other_stopped(
    dataset: made_dataset.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("apache_beam")
    assert dataset.convert(*FLAGS) == 0
    expected = _files(dataset)
    rename = storage.rename
    for number, flags in enumerate([[BEAM], []]):
        dataset.output = dataset.input.parent / f"out{number}"

        def stop(source: str, target: str) -> None:
            if target.endswith("train.json"):
                raise KeyboardInterrupt
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(storage, "rename", stop)
            assert dataset.convert(*FLAGS, *flags) == 130
        (dataset.output / ".partial/train.00001.entry").unlink()
        other = [] if flags else [BEAM]
        assert dataset.convert(*FLAGS, *other) == 0
        assert "3 of 4 shards are finished" in capsys.readouterr().out
        assert _files(dataset) == expected


def test_disk_that_a_worker_finds_full(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("apache_beam")
    dataset.output.mkdir()
    blocked = dataset.output / ".partial/train.00000.truth"
    # A folder where the worker's file should be.
    from tfrecord_tools import journal

    resume = journal.resume

    def block(*args: object) -> set[str]:
        found = resume(*args)  # type: ignore[arg-type]
        blocked.mkdir()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "resume", block)
        assert dataset.convert(*FLAGS, BEAM) == 74
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        ("--no_such_option=1", 64, "--no_such_option is no option of"),
        ("--runner=NoSuchRunner", 69, "NoSuchRunner"),
    ],
)
def test_wrong_options_of_beam(
    dataset: made_dataset.Dataset,
    capsys: pytest.CaptureFixture[str],
    option: str,
    code: int,
    message: str,
) -> None:
    pytest.importorskip("apache_beam")
    assert dataset.convert(*FLAGS, BEAM, f"--beam_args={option}") == code
    assert message in capsys.readouterr().err
    assert dataset.final_names() == []


def test_plans_of_parts_are_read_as_they_were_written() -> None:
    pytest.importorskip("apache_beam")
    from tfrecord_tools import engine_beam

    task = prepare.Task(
        reading=entries.Reading(format="yolo", folder="/in", names={3: "a"}),
        entry=entries.Entry(file="a.json", aside=("/out/.aside/0", 5, 9)),
        coordinates="normalised",
        checksum=b"\x00\xff",
        image_path="/in/a.jpg",
    )
    item = parts.Item(image="a.jpg", source_id=3, num_objects=2, task=task)
    part = parts.Part(split="val", index=7, items=(item, item))
    assert engine_beam._part(engine_beam._plain(part)) == part
