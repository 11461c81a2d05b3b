"""Records of several files in a row, whole ones and others."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pytest
import tensorflow as tf

from tfrecord_tools import reading, shard_files


def _file(
    path: pathlib.Path, contents: Sequence[bytes]
) -> shard_files.ShardFile:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return shard_files.measure(str(path))


def _read(files: Sequence[shard_files.ShardFile]) -> list[tuple[object, ...]]:
    return [(r.file.name, r.number, r.content) for r in reading.records(files)]


def test_each_record_has_its_place(tmp_path: pathlib.Path) -> None:
    contents = {"a": [b"1", b"22"], "b": [], "c": [b"3"], "d": [b"4", b"5"]}
    files = [_file(tmp_path / n, found) for n, found in contents.items()]
    assert [file.num_records for file in files] == [2, 0, 1, 2]
    assert _read(files) == [
        ("a", 0, b"1"),
        ("a", 1, b"22"),
        ("c", 0, b"3"),
        ("d", 0, b"4"),
        ("d", 1, b"5"),
    ]


@pytest.mark.parametrize("is_cut", [True, False])
def test_damage_ends_one_file(tmp_path: pathlib.Path, is_cut: bool) -> None:
    for name in "abc":
        _file(tmp_path / name, [name.encode() * 20] * 3)
    path = tmp_path / "b"
    content = bytearray(path.read_bytes())
    if is_cut:
        content = content[:-5]
    else:
        content[-10] ^= 1
    path.write_bytes(content)
    files = [shard_files.measure(str(tmp_path / name)) for name in "abc"]
    assert files[1].num_records == (None if is_cut else 3)
    found = _read(files)
    assert [f[:2] for f in found] == [(n, i) for n in "abc" for i in range(3)]
    assert [f[2] is None for f in found] == [False] * 5 + [True] + [False] * 3


def test_lengths_are_those_that_were_written(tmp_path: pathlib.Path) -> None:
    contents = [b"", b"x" * 7, b"y" * 300]
    file = _file(tmp_path / "a", contents)
    content = (tmp_path / "a").read_bytes()
    found = [content[p : p + n] for p, n in shard_files.offsets(file.path)]
    assert found == contents
    (tmp_path / "b").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="ends within a record"):
        list(shard_files.offsets(str(tmp_path / "b")))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00003-of-00010.tfrecord", "train"),
        ("pascal_val-0-of-1", "pascal_val"),
        ("eval.tfrecord", "eval"),
        (".tfrecord", ".tfrecord"),
    ],
)
def test_split_is_in_the_name(name: str, split: str) -> None:
    assert shard_files.split_name(name) == split
