"""Checkpoints are whole or absent."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from hparams import presets

META = checkpoint.Meta(
    presets.get_config("efficientdet-d1"), ("car", "bus"), "abc", "2 threads"
)


def _variables(value: float) -> dict[str, tf.Variable]:
    return {
        "net/kernel": tf.Variable(tf.fill([3, 2], value)),
        "net/kernel/ExponentialMovingAverage": tf.Variable(
            tf.fill([3, 2], value + 1)
        ),
        "step": tf.Variable(int(value), dtype=tf.int64),
    }


def _save(folder: pathlib.Path, step: int, keep: int = 3) -> str:
    return checkpoint.save(str(folder), step, _variables(step), META, keep)


def test_round_trip(tmp_path: pathlib.Path) -> None:
    path = _save(tmp_path, 7)
    found = checkpoint.open_checkpoint(path)
    assert (found.step, found.meta) == (7, META)
    values = found.values_for(_variables(0.0))
    np.testing.assert_array_equal(values["net/kernel"], np.full((3, 2), 7.0))
    assert int(values["step"]) == 7


def test_weights_are_the_average_where_there_is_one(
    tmp_path: pathlib.Path,
) -> None:
    weights = checkpoint.open_checkpoint(_save(tmp_path, 7)).weights()
    assert list(weights) == ["net/kernel"]
    assert weights["net/kernel"][0, 0] == 8.0


def test_weights_are_weights_alone_without_an_average(
    tmp_path: pathlib.Path,
) -> None:
    variables = _variables(7)
    del variables["net/kernel/ExponentialMovingAverage"]
    variables["optimizer/0001/net/kernel/momentum"] = tf.Variable([1.0])
    path = checkpoint.save(str(tmp_path), 7, variables, META, 3)
    found = checkpoint.open_checkpoint(path)
    assert not found.has_average()
    assert list(found.weights()) == ["net/kernel"]
    assert checkpoint.open_checkpoint(_save(tmp_path, 8)).has_average()


def test_tensorflow_reads_it_by_name(tmp_path: pathlib.Path) -> None:
    reader = tf.train.load_checkpoint(_save(tmp_path, 7) + "/variables")
    assert reader.get_tensor("net/kernel").shape == (3, 2)


def test_newest_are_kept(tmp_path: pathlib.Path) -> None:
    for step in (9, 10, 100, 101):
        _save(tmp_path, step, keep=2)
    folder = tmp_path / "checkpoints"
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["step-00000100", "step-00000101"]
    newest, faults = checkpoint.latest(str(tmp_path))
    assert newest is not None
    assert (newest.step, faults) == (101, [])


def test_nothing_saved_yet(tmp_path: pathlib.Path) -> None:
    assert checkpoint.latest(str(tmp_path)) == (None, [])


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "no meta"])
def test_damaged_newest_is_named_and_the_one_before_used(
    tmp_path: pathlib.Path, harm: str
) -> None:
    _save(tmp_path, 3)
    newest = pathlib.Path(_save(tmp_path, 6))
    data = next(newest.glob("variables.data*"))
    content = bytearray(data.read_bytes())
    if harm == "flip":
        content[5] ^= 1
        data.write_bytes(content)
    elif harm == "cut":
        data.write_bytes(content[:-3])
    elif harm == "remove":
        data.unlink()
    else:
        (newest / "meta.json").write_text("{")
    found, faults = checkpoint.latest(str(tmp_path))
    assert found is not None
    assert found.step == 3
    assert len(faults) == 1
    assert str(newest) in faults[0]


def test_unfinished_writing_is_no_checkpoint(tmp_path: pathlib.Path) -> None:
    _save(tmp_path, 3)
    beside = tmp_path / "checkpoints" / ".writing-00000006"
    beside.mkdir()
    (beside / "variables.index").write_bytes(b"half")
    found, faults = checkpoint.latest(str(tmp_path))
    assert found is not None
    assert (found.step, faults) == (3, [])
    _save(tmp_path, 6)  # what was left over is not in the way
    assert not beside.exists()


def test_other_variables_do_not_fit(tmp_path: pathlib.Path) -> None:
    found = checkpoint.open_checkpoint(_save(tmp_path, 3))
    variables = _variables(0.0)
    del variables["step"]
    with pytest.raises(checkpoint.CheckpointError, match="'step' first"):
        found.values_for(variables)
    variables = {**_variables(0.0), "net/kernel": tf.Variable([1.0])}
    with pytest.raises(checkpoint.CheckpointError, match="has shape"):
        found.values_for(variables)
