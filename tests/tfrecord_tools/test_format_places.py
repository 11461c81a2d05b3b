"""Every format from an object store, and conversions that were stopped."""

from __future__ import annotations

import pathlib
import uuid

import pytest

from tests.tfrecord_tools import made_dataset, written_formats
from tfrecord_tools import part_writer, storage

CLASSES = "--classes=car,truck,bus,pedestrian"


class _KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(params=written_formats.WRITERS)
def dataset(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> made_dataset.Dataset:
    """A data set in each format, its images in a folder "images"."""
    (tmp_path / "a").mkdir()
    raw = made_dataset.Dataset(tmp_path / "a")
    made = made_dataset.Dataset(tmp_path)
    for name in ("one", "two", "three"):
        raw.add(name)
    written_formats.WRITERS[request.param](raw.input, made.input)
    (made.input / "images").mkdir()
    for path in raw.input.glob("*.jpg"):
        path.rename(made.input / "images" / path.name)
    return made


def test_from_an_object_store(dataset: made_dataset.Dataset) -> None:
    assert dataset.convert(CLASSES) == 0
    root = f"ram://{uuid.uuid4().hex}"
    storage.copy_tree(str(dataset.input), f"{root}/in")
    flags = (f"--input_dir={root}/in", f"--output_dir={root}/out")
    assert dataset.convert(CLASSES, *flags) == 0
    names = dataset.final_names()
    assert storage.names(f"{root}/out") == names
    for name in names:
        # These say where the data set is.
        if name not in ("dataset.json", "report.html"):
            content = storage.read_bytes(f"{root}/out/{name}")
            assert content == (dataset.output / name).read_bytes()


def test_stopped_and_continued(
    dataset: made_dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (CLASSES, "--num_shards=3")
    assert dataset.convert(*flags) == 0
    expected = {p.name: p.read_bytes() for p in dataset.output.iterdir()}
    dataset.output = dataset.output.with_name("again")
    add = part_writer.Writer.add
    finished: list[tuple[object, ...]] = []

    def stop(self: part_writer.Writer, *args: object) -> None:
        if len(finished) == 2:
            raise _KilledError
        finished.append(args)
        add(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(part_writer.Writer, "add", stop)
        with pytest.raises(_KilledError):
            dataset.convert(*flags)
    assert dataset.final_names() == [".partial"]
    kept = [p.name for p in (dataset.output / ".partial").glob("*.entry")]
    assert len(kept) == 2
    assert dataset.convert(*flags) == 0
    assert {
        p.name: p.read_bytes() for p in dataset.output.iterdir()
    } == expected
