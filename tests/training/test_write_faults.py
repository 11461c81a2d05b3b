"""Whichever call fails or is the last: something whole is found afterwards."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import shutil
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
from tfrecord_tools import command

META = checkpoint.Meta(
    presets.get_config("efficientdet-d0"), ("car",), "abc", "2 threads"
)
KEEP = 2


def save(folder: pathlib.Path, step: int) -> None:
    """Saves variables whose values are the step."""
    variables = {
        "net/kernel": tf.Variable(tf.fill([40], float(step))),
        "step": tf.Variable(step, dtype=tf.int64),
    }
    checkpoint.save(str(folder), step, variables, META, KEEP)


def _value(found: checkpoint.Checkpoint | None) -> int | None:
    """Returns the step of a checkpoint all of whose values are right."""
    if found is None:
        return None
    values = found.values()
    np.testing.assert_array_equal(
        values["net/kernel"], np.full(40, found.step, np.float32)
    )
    assert int(values["step"]) == found.step
    return found.step


def _newest(folder: pathlib.Path) -> int | None:
    return _value(checkpoint.latest(str(folder))[0])


class Operation(NamedTuple):
    """Something that writes.

    Attributes:
      prepare: makes what is there before.
      act: writes.
      found: what a reader finds.
      before: what is found before, and after a fault.
      after: what is found when all went well, and after some faults.
    """

    prepare: Callable[[pathlib.Path], None]
    act: Callable[[pathlib.Path], None]
    found: Callable[[pathlib.Path], int | None]
    before: int | None
    after: int


def _prepare_two(folder: pathlib.Path) -> None:
    save(folder, 1)
    save(folder, 2)


def _prepare_damaged(folder: pathlib.Path) -> None:
    """Damages the newest two of three, which are to be written again."""
    _prepare_two(folder)
    save(folder, 3)
    for name in ("variables.index", "meta.json"):
        (folder / "checkpoints" / "step-00000003" / name).write_bytes(b"x")


def _prepare_best(folder: pathlib.Path) -> None:
    for step in (1, 2):
        save(folder, step)
        report_path = folder / "eval" / f"{step:08}.json"
        report_path.parent.mkdir(exist_ok=True)
        report_path.write_text(json.dumps({"metrics": {"ap": step / 10}}))
        assert step == 2 or best.keep(str(folder), step, step / 10)


def _keep_best(folder: pathlib.Path) -> None:
    best.keep(str(folder), 2, 0.2)


def _copy_best(folder: pathlib.Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "no links here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse)
        _keep_best(folder)


def _write_json(folder: pathlib.Path, number: int) -> None:
    report.write_whole(str(folder / "eval" / "x.json"), f"[{number}]" * 9999)


def _read_json(folder: pathlib.Path) -> int | None:
    path = folder / "eval" / "x.json"
    text = path.read_text() if path.exists() else ""
    found = json.loads(text.partition("]")[0] + "]")[0] if text else None
    assert text == f"[{found}]" * 9999 or not text
    return found


OPERATIONS = {
    "first": Operation(
        lambda _: None, lambda folder: save(folder, 1), _newest, None, 1
    ),
    "third": Operation(
        _prepare_two, lambda folder: save(folder, 3), _newest, 2, 3
    ),
    "damaged": Operation(
        _prepare_damaged, lambda folder: save(folder, 3), _newest, 2, 3
    ),
    "best": Operation(
        _prepare_best, _keep_best, lambda f: _value(best.find(str(f))), 1, 2
    ),
    "copied best": Operation(
        _prepare_best, _copy_best, lambda f: _value(best.find(str(f))), 1, 2
    ),
    "JSON": Operation(
        lambda folder: _write_json(folder, 1),
        lambda folder: _write_json(folder, 2),
        _read_json,
        1,
        2,
    ),
}


class Case(NamedTuple):
    """An operation, a folder as it is before it, and room for others."""

    name: str
    of: Operation
    base: pathlib.Path
    clean: list[str]
    room: pathlib.Path


def _files(folder: pathlib.Path) -> list[str]:
    """Returns the files but for those that carry a process's number."""
    found = (str(p.relative_to(folder)) for p in folder.rglob("*"))
    return sorted(f for f in found if not f.endswith(f".{os.getpid()}"))


@pytest.fixture(params=OPERATIONS)
def case(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Case:
    """Returns an operation that was done once without a fault."""
    operation = OPERATIONS[request.param]
    base, done = tmp_path / "base", tmp_path / "done"
    base.mkdir()
    operation.prepare(base)
    assert operation.found(base) == operation.before
    shutil.copytree(base, done)
    operation.act(done)
    assert operation.found(done) == operation.after
    room = tmp_path / "room"
    room.mkdir()
    return Case(request.param, operation, base, _files(done), room)


def _check(case: Case, folder: pathlib.Path, where: str) -> int | None:
    """Reads what a fault left, goes on from it, and returns what was read."""
    found = case.of.found(folder)
    assert found in (case.of.before, case.of.after), where
    case.of.act(folder)
    assert case.of.found(folder) == case.of.after, where
    assert _files(folder) == case.clean, where
    shutil.rmtree(folder)
    return found


def _fresh(case: Case) -> pathlib.Path:
    folder = case.room / "run"
    shutil.copytree(case.base, folder)
    return folder


@pytest.mark.parametrize("kind", ["error", "kill"])
def test_every_call_that_fails(case: Case, kind: str) -> None:
    folder = _fresh(case)
    num_calls = stages.count(lambda: case.of.act(folder))
    shutil.rmtree(folder)
    assert num_calls >= 5
    found = []
    for number in range(num_calls):
        folder = _fresh(case)
        error = stages.Killed() if kind == "kill" else OSError(28, "no room")
        watch = stages.fail_at(number, error)
        ways = (stages.Killed, OSError, command.UserError)
        with watch.watching(), contextlib.suppress(*ways):
            case.of.act(folder)
        where = f"call {number}: {watch.calls[number]}"
        found.append(_check(case, folder, where))
    assert set(found) == {case.of.before, case.of.after}
    if kind == "kill":
        # The old one is there until the new one is, which then stays.
        assert found == sorted(found, key=lambda step: step or 0)


def test_every_moment_of_a_kill_or_a_power_cut(case: Case) -> None:
    folder = _fresh(case)
    killed, cut = stages.snapshots(
        folder, case.room, lambda: case.of.act(folder)
    )
    assert len(killed) >= 5
    for path in (*killed, *cut):
        _check(case, path, path.name)


def test_what_is_new_is_flushed_before_what_is_old_goes(case: Case) -> None:
    folder = _fresh(case)
    with stages.Watch(lambda _: None).watching() as watch:
        case.of.act(folder)
    names = [name for name, _ in watch.calls]
    named = [i for i, name in enumerate(names) if name == "rename"]
    new = next(
        i for i in named if not str(watch.calls[i][1][1]).count(".removing-")
    )
    # All files and their folder before, the folder above right after.
    beside, place = watch.calls[new][1][:2]
    flushed = [of[0] for name, of in watch.calls[:new] if name == "fsync"]
    below = os.listdir(place) if os.path.isdir(place) else []
    wanted = {beside, *(os.path.join(beside, name) for name in below)}
    assert wanted <= set(flushed)
    assert names[new + 1 : new + 4] == ["open", "fsync", "close"]
    assert watch.calls[new + 2] == ("fsync", (os.path.dirname(place),))
    if case.name != "damaged":  # a damaged one goes before
        olds = [i for i, n in enumerate(names) if n in ("unlink", "rmdir")]
        assert all(i > new + 3 for i in olds)
