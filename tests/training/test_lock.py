"""One run at a time in a folder, on a disk and in an object store."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from efficientdet_aimmo.training import lock, model_dir
from tfrecord_tools import command, storage


@pytest.fixture
def folder() -> str:
    """Returns a folder in memory, as in an object store."""
    path = f"ram://{uuid.uuid4().hex}"
    storage.make_folder(path)
    return path


class Pauses:
    """Stands for waiting: notes how long, and does what others do meanwhile."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        patch.setattr(lock, "_pause", self._pause)

    def _pause(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.meanwhile()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    return Pauses(monkeypatch)


def _content(folder: str) -> dict[str, Any]:
    return dict(json.loads(storage.read_bytes(f"{folder}/.lock")))


def _other(folder: str, **changes: Any) -> None:
    """Writes the lock object of a run on another machine."""
    holder = lock.Holder(
        token="other",
        host="elsewhere",
        space="its boot",
        pid=os.getpid(),
        started="2026-01-02 03:04:05",
        count="000000000001",
        interval_s=30.0,
    )
    text = json.dumps(dataclasses.asdict(holder) | changes)
    storage.write_bytes(f"{folder}/.lock", text.encode())


def _ended_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_free_folder(folder: str, pauses: Pauses) -> None:
    with lock.held(folder):
        found = _content(folder)
        assert found["pid"] == os.getpid()
        assert found["interval_s"] == lock.INTERVAL_S
        lock.check(folder)
    assert storage.names(folder) == []
    assert pauses.seconds == [lock._SETTLE_S]


def test_a_live_run_elsewhere(folder: str, pauses: Pauses) -> None:
    _other(folder)
    pauses.meanwhile = lambda: _other(folder, count="000000000002")
    with pytest.raises(command.UserError) as caught, lock.held(folder):
        pass
    assert caught.value.exit_code == command.ExitCode.EXISTS
    assert str(caught.value) == (
        f"--model_dir={folder} is in use by another run (process {os.getpid()}"
        " on elsewhere, started 2026-01-02 03:04:05 UTC). Wait for it, or"
        " choose another folder."
    )
    assert pauses.seconds == [30.0 + lock.SLACK_S]
    assert _content(folder)["token"] == "other"


def test_a_run_that_fell_silent(
    folder: str, pauses: Pauses, capsys: pytest.CaptureFixture[str]
) -> None:
    _other(folder)
    with lock.held(folder):
        assert _content(folder)["token"] != "other"
    assert pauses.seconds[0] == 45.0
    waiting, taking = capsys.readouterr().out.splitlines()
    assert waiting == (
        f"{folder} is held by process {os.getpid()} on elsewhere, started"
        " 2026-01-02 03:04:05 UTC. Watching for 45 s whether it is alive: a"
        " live run refreshes its lock every 30 s."
    )
    assert taking == (
        f"Taking over {folder}: its lock was not refreshed in 45 s."
    )


def test_a_run_that_lets_go_meanwhile(folder: str, pauses: Pauses) -> None:
    _other(folder)
    pauses.meanwhile = lambda: storage.remove(f"{folder}/.lock")
    with lock.held(folder):
        assert _content(folder)["token"] != "other"


def test_a_dead_process_of_this_machine(
    folder: str, pauses: Pauses, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock.held(folder):
        mine = _content(folder)
    for pid in (_ended_pid(), os.getpid()):  # this one's number, reused
        _other(folder, **{**mine, "token": "other", "pid": pid})
        with lock.held(folder):
            pass
        assert "Taking over" in capsys.readouterr().out
    assert pauses.seconds == [lock._SETTLE_S] * 3


@pytest.mark.parametrize("field", ["host", "space"])
def test_a_process_number_counts_on_its_machine_alone(
    folder: str, pauses: Pauses, field: str
) -> None:
    with lock.held(folder):
        mine = _content(folder)
    _other(folder, **{**mine, "token": "x", "pid": _ended_pid(), field: "y"})
    with lock.held(folder):
        pass
    assert pauses.seconds[1] == 45.0  # watched all the same


def test_a_live_process_of_this_machine(folder: str, pauses: Pauses) -> None:
    with lock.held(folder):
        mine = _content(folder)
        # It is refreshed while the second run watches.
        pauses.meanwhile = lambda: _other(folder, **{**mine, "count": "x"})
        with (
            pytest.raises(command.UserError, match="in use"),
            lock.held(folder),
        ):
            pass


def test_two_that_start_at_once(folder: str, pauses: Pauses) -> None:
    pauses.meanwhile = lambda: _other(folder)
    with (
        pytest.raises(
            command.UserError, match="in use by another run"
        ) as caught,
        lock.held(folder),
    ):
        pass
    assert caught.value.exit_code == command.ExitCode.EXISTS
    assert _content(folder)["token"] == "other"


def test_an_object_that_nobody_understands(
    folder: str, pauses: Pauses, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.write_bytes(f"{folder}/.lock", b"\xff{")
    with lock.held(folder):
        pass
    assert "an unknown host" in capsys.readouterr().out
    assert pauses.seconds[0] == 45.0


def test_refreshments_and_a_takeover(
    folder: str, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [threading.Semaphore(0), threading.Semaphore(0)]

    class Turns(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:  # threading's own
                return super().wait()
            assert timeout == lock.INTERVAL_S
            turns[1].release()  # the refreshment before is done
            turns[0].acquire()
            return self.is_set()

    monkeypatch.setattr(lock.threading, "Event", Turns)  # type: ignore[attr-defined]
    with lock.held(folder):
        turns[1].acquire()
        first = _content(folder)
        turns[0].release()
        turns[1].acquire()
        second = _content(folder)
        assert {k for k in first if first[k] != second[k]} == {"count"}
        assert len(str(first)) == len(str(second))
        lock.check(folder)
        _other(folder)  # this machine had stood still
        turns[0].release()
        turns[1].acquire()
        with pytest.raises(command.UserError) as caught:
            lock.check(folder)
        assert caught.value.exit_code == command.ExitCode.EXISTS
        assert "was taken over by another run (process" in str(caught.value)
        turns[0].release()
    assert _content(folder)["token"] == "other"  # it is not this run's


def test_a_store_that_cannot_be_reached(
    folder: str,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: str) -> bytes:
        raise OSError(5, "no route", path)

    with lock.held(folder):
        monkeypatch.setattr(storage, "read_bytes", refuse)
        lease = lock._held[folder]
        waits = iter([False, True])
        monkeypatch.setattr(lease.stop, "wait", lambda _: next(waits))
        lease.refresh_until_stopped()
        said = capsys.readouterr().out
        assert f"warning: {folder}/.lock cannot be refreshed (no route)" in said
        monkeypatch.undo()
    monkeypatch.setattr(storage, "read_bytes", refuse)
    with pytest.raises(command.UserError) as caught, model_dir.in_use(folder):
        pass
    assert caught.value.exit_code == command.ExitCode.DISK


def test_on_a_disk_the_system_locks(tmp_path: pathlib.Path) -> None:
    with lock.held(str(tmp_path)):
        with (
            pytest.raises(command.UserError, match="in use by another run\\."),
            lock.held(str(tmp_path)),
        ):
            pass
        lock.check(str(tmp_path))
    with lock.held(str(tmp_path)):
        pass
