"""Files in TensorFlow's own file system in memory, as in an object store."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
import tensorflow as tf

from tests.tfrecord_tools import made_dataset
from tfrecord_tools import storage

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=["local", "ram"])
def folder(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path
) -> Iterator[str]:
    """Returns an empty folder of each kind."""
    if request.param == "local":
        yield str(tmp_path)
        return
    path = f"ram://{uuid.uuid4().hex}"
    tf.io.gfile.makedirs(path)
    yield path


def _no_error(error: OSError) -> None:
    raise error


def test_files_and_folders(folder: str) -> None:
    below = storage.join(folder, "a", "b")
    storage.make_folder(below)
    storage.make_folder(below)
    file = storage.join(below, "file")
    storage.write_bytes(file, b"content")
    storage.write_bytes(file, b"other")
    assert storage.read_bytes(file) == b"other"
    assert storage.status(file)[0] == 5
    missing = storage.join(below, "missing")
    found = list(storage.statuses([file, missing]))
    assert found == [storage.status(file), None]
    # The digest of "other", as sha256sum gives it.
    assert storage.sha256(file).startswith("d9298a10d1b07358")
    assert storage.is_file(file)
    assert not storage.is_folder(file)
    assert storage.is_folder(below)
    assert not storage.is_file(below)
    storage.write_bytes(storage.join(folder, "c"), b"")
    assert list(storage.walk(folder, _no_error)) == [
        (folder, ["a"], ["c"]),
        (storage.join(folder, "a"), ["b"], []),
        (below, [], ["file"]),
    ]
    assert storage.names(folder) == ["a", "c"]
    assert storage.names(storage.join(folder, "none")) == []
    storage.rename(storage.join(folder, "a"), storage.join(folder, "d"))
    storage.copy_tree(storage.join(folder, "d"), storage.join(folder, "e"))
    for name in ("d", "e"):
        path = storage.join(folder, name, "b", "file")
        assert storage.read_bytes(path) == b"other"
    storage.copy(path, storage.join(folder, "c"))
    assert storage.read_bytes(storage.join(folder, "c")) == b"other"
    storage.remove_tree(storage.join(folder, "d"))
    storage.remove_tree(storage.join(folder, "d"))
    storage.remove(storage.join(folder, "c"))
    storage.remove(storage.join(folder, "c"))
    assert storage.names(folder) == ["e"]


def test_missing_files_raise_the_same(folder: str) -> None:
    missing = storage.join(folder, "none")
    for call in (storage.read_bytes, storage.sha256, storage.status):
        with pytest.raises(FileNotFoundError):
            call(missing)


def test_paths() -> None:
    assert storage.join("gs://bucket/", "a", "b") == "gs://bucket/a/b"
    assert storage.join("/a", "b") == "/a/b"
    assert storage.absolute("gs://bucket/a/../b/") == "gs://bucket/b"
    assert storage.absolute(".") == os.getcwd()
    assert storage.is_remote("s3://b")
    assert not storage.is_remote("/gs://")
    assert not storage.is_remote("C:/a")


def _uploaded(dataset: made_dataset.Dataset) -> tuple[str, str]:
    """Copies the input to memory; returns folders for input and output."""
    root = f"ram://{uuid.uuid4().hex}"
    storage.copy_tree(str(dataset.input), f"{root}/in")
    return f"{root}/in", f"{root}/out"


def _files(folder: str) -> dict[str, bytes]:
    return {
        os.path.relpath(storage.join(parent, name), folder): storage.read_bytes(
            storage.join(parent, name)
        )
        for parent, _, names in storage.walk(folder, _no_error)
        for name in names
    }


def test_conversion_from_and_to_an_object_store(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    for index in range(4):
        dataset.add(f"drive{index}/image")
    flags = ["--output_format=tfrecord,yolo", "--num_shards=2"]
    assert dataset.convert(*flags) == 0
    expected = _files(str(dataset.output))
    source, target = _uploaded(dataset)
    flags += [f"--input_dir={source}", f"--output_dir={target}"]
    capsys.readouterr()
    assert dataset.convert(*flags) == 0
    assert "cannot be locked" in capsys.readouterr().out
    found = _files(target)
    # Manifests and reports differ in the folders' names; the report shows no
    # objects of records in an object store.
    assert set(found) == set(expected)
    assert found.pop("dataset.json") != expected.pop("dataset.json")
    pages = [files.pop("report.html") for files in (found, expected)]
    assert [b"Objects as stored" in page for page in pages] == [False, True]
    assert all(b"Objects in an image" in page for page in pages)
    assert found == expected
    assert dataset.convert(*flags) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert dataset.convert(*flags, "--seed=1") == 73
    assert dataset.convert(*flags, "--seed=1", "--overwrite") == 0
    assert ".partial" not in storage.names(target)


class _KilledError(Exception):
    """Stands for the end of the process."""


def test_stopped_in_an_object_store(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = made_dataset.Dataset(tmp_path)
    for index in range(3):
        dataset.add(f"image{index}")
    source, target = _uploaded(dataset)
    flags = ["--output_format=tfrecord,coco", "--num_shards=2"]
    flags += [f"--input_dir={source}", f"--output_dir={target}"]
    assert dataset.convert(*flags) == 0
    expected = _files(target)
    rename, number = storage.rename, 0
    for number in range(100):
        storage.remove_tree(target)
        left = [number]

        def stop(old: str, new: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                # As a rename that is a copy first: both are there.
                if storage.is_file(old):
                    storage.copy(old, new)
                raise _KilledError
            rename(old, new)

        with monkeypatch.context() as patch:
            patch.setattr(storage, "rename", stop)
            try:
                dataset.convert(*flags)
            except _KilledError:
                names = storage.names(target)
                whole = [n for n in names if n == "dataset.json"]
                # The manifest's own copy may be there: then all the rest is.
                assert not whole or set(names) >= {
                    k.split("/")[0] for k in expected
                }
            else:
                break
        assert dataset.convert(*flags) == 0
        assert _files(target) == expected, number
    assert number > 8


_PROBE = """
import sys
from tfrecord_tools import prepare, storage, files, pool
storage.read_bytes(sys.executable)
print("tensorflow" in sys.modules)
"""


def test_workers_import_no_tensorflow_for_local_files() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
