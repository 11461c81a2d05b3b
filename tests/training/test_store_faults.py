"""Whichever request fails or is the last in an object store.

TensorFlow's file system in memory stands for it; nothing is renamed there.
"""

from __future__ import annotations

import contextlib
import errno
import uuid
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import best
from hparams import presets
from tests.training import stages
from tfrecord_tools import command, storage

META = checkpoint.Meta(
    presets.get_config("efficientdet-d0"), ("car",), "abc", "2 threads"
)


def _save(folder: str, step: int) -> None:
    variables = {
        "net/kernel": tf.Variable(tf.fill([40], float(step))),
        "step": tf.Variable(step, dtype=tf.int64),
    }
    checkpoint.save(folder, step, variables, META, 2)


def _step(found: checkpoint.Checkpoint | None) -> int | None:
    """Returns the step of a checkpoint whose values are right."""
    if found is None:
        return None
    values = found.values()["net/kernel"]
    np.testing.assert_array_equal(values, np.full(40, found.step, np.float32))
    return found.step


def _newest(folder: str) -> int | None:
    return _step(checkpoint.latest(folder)[0])


def _two(folder: str) -> None:
    _save(folder, 1)
    _save(folder, 2)


def _damaged(folder: str) -> None:
    _two(folder)
    _save(folder, 3)
    path = f"{folder}/checkpoints/step-00000003/variables.index"
    storage.write_bytes(path, b"x")


def _measured(folder: str) -> None:
    for step in (1, 2):
        _save(folder, step)
        content = f'{{"metrics": {{"ap": {step / 10}}}}}'.encode()
        storage.write_bytes(report.path_of(f"{folder}/eval", step), content)
    assert best.keep(folder, 1, 0.1)


class Operation(NamedTuple):
    """Something that writes; see test_write_faults."""

    prepare: Callable[[str], None]
    act: Callable[[str], object]
    found: Callable[[str], int | None]
    before: int | None
    after: int


OPERATIONS = {
    "first": Operation(
        lambda _: None, lambda folder: _save(folder, 1), _newest, None, 1
    ),
    "third": Operation(_two, lambda folder: _save(folder, 3), _newest, 2, 3),
    "damaged": Operation(
        _damaged, lambda folder: _save(folder, 3), _newest, 2, 3
    ),
    "best": Operation(
        _measured,
        lambda folder: best.keep(folder, 2, 0.2),
        lambda folder: _step(best.find(folder)),
        1,
        2,
    ),
}


def _fresh(of: Operation) -> str:
    folder = f"ram://{uuid.uuid4().hex}"
    storage.make_folder(folder)
    of.prepare(folder)
    assert of.found(folder) == of.before
    return folder


def _tree(folder: str) -> list[tuple[str, list[str]]]:
    return [
        (parent[len(folder) :], files)
        for parent, _, files in storage.walk(folder, storage.raise_error)
    ]


@pytest.mark.parametrize("kind", ["error", "kill"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_request_that_fails(name: str, kind: str) -> None:
    of = OPERATIONS[name]
    folder = _fresh(of)
    with stages.Watch(lambda _: None, is_store=True).watching() as watch:
        of.act(folder)
    assert "rename" not in [call for call, _ in watch.calls]
    clean = _tree(folder)
    assert len(watch.calls) >= 5
    found = []
    for number in range(len(watch.calls)):
        folder = _fresh(of)
        error = stages.Killed() if kind == "kill" else OSError(errno.EIO, "x")
        failing = stages.fail_at(number, error, is_store=True)
        ways = (stages.Killed, OSError, command.UserError)
        with failing.watching(), contextlib.suppress(*ways):
            of.act(folder)
            pytest.fail(f"request {number} was not missed")
        found.append(of.found(folder))
        assert found[-1] in (of.before, of.after), failing.calls[number]
        of.act(folder)
        assert of.found(folder) == of.after
        assert _tree(folder) == clean, failing.calls[number]
        storage.remove_tree(folder)
    assert found == sorted(found, key=lambda step: step or 0)
    assert of.before in found


@pytest.mark.parametrize("name", OPERATIONS)
def test_meta_comes_last_and_goes_first(name: str) -> None:
    of = OPERATIONS[name]
    folder = _fresh(of)
    whole = {parent for parent, files in _tree(folder) if "meta.json" in files}
    with stages.Watch(lambda _: None, is_store=True).watching() as watch:
        of.act(folder)
    written: dict[str, list[str]] = {}
    for call, arguments in watch.calls:
        path = ""
        if call == "SaveV2":
            path = arguments[0]
        elif call == "copy":
            path = arguments[1]
        elif call == "GFile" and arguments[1] == "wb":
            path = arguments[0]
        if path:
            parent, _, file = path.rpartition("/")
            written.setdefault(parent, []).append(file)
    assert len(written) == 1
    (files,) = written.values()
    assert files[-1] == "meta.json"
    assert files.count("meta.json") == 1
    removed = [
        (number, arguments[0])
        for number, (call, arguments) in enumerate(watch.calls)
        if call == "rmtree" and arguments[0][len(folder) :] in whole
    ]
    assert removed or of.before is None
    for number, path in removed:
        first = ("remove", (f"{path}/meta.json",))
        assert first in watch.calls[:number]
