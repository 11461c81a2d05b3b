"""A converted data set, and ways to change it afterwards."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tests.tfrecord_tools import made_dataset, made_foreign
from tfrecord_tools import schema

Captured = pytest.CaptureFixture[str]
Change = Callable[[list[tf.train.Example]], None]
SHARD = "train-00000-of-00001.tfrecord"
VAL_SHARD = "val-00000-of-00001.tfrecord"


def convert(root: pathlib.Path) -> pathlib.Path:
    """Returns a data set: a, b and one without objects in train, c in val."""
    dataset = made_dataset.Dataset(root)
    lists = []
    for split, names in (("train", "ab"), ("val", "c")):
        path = dataset.input.parent / split
        path.write_text("\n".join(names))
        lists.append(f"--{split}_list={path}")
    for name in "abc":
        dataset.add(name)
    dataset.add("empty", [])
    with (dataset.input.parent / "train").open("a") as file:
        file.write("\nempty\n")
    assert dataset.convert(*lists) == 0
    return dataset.output


def edit(folder: pathlib.Path, change: Callable[[Any], None]) -> None:
    path = folder / schema.MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(folder: pathlib.Path, change: Change, shard: str = SHARD) -> None:
    """Changes a shard's records, and the manifest's word on its bytes."""
    path = folder / shard
    examples = [
        tf.train.Example.FromString(content)
        for content in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    change(examples)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
    content = path.read_bytes()

    def adapt(manifest: Any) -> None:
        entry = manifest["splits"][shard.split("-")[0]]["shards"][0]
        entry["bytes"] = len(content)
        entry["sha256"] = hashlib.sha256(content).hexdigest()

    edit(folder, adapt)


def named(examples: list[tf.train.Example], name: str) -> tf.train.Example:
    return next(
        e
        for e in examples
        if e.features.feature[schema.FILENAME].bytes_list.value[0]
        == name.encode()
    )


def setter(name: str, key: str, values: list[Any]) -> Change:
    def change(examples: list[tf.train.Example]) -> None:
        feature = named(examples, name).features.feature[key]
        feature.CopyFrom(made_foreign.feature(values))

    return change


def edit_truth(
    folder: pathlib.Path, change: Callable[[Any], None], split: str = "train"
) -> None:
    path = folder / f"{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def faults(folder: pathlib.Path, capsys: Captured, *flags: str) -> str:
    """Returns what the command prints of records with errors."""
    assert made_foreign.validate_folder(folder, *flags) == 65
    captured = capsys.readouterr()
    assert "not fit for training" in captured.err
    return captured.out
