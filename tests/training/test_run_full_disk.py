"""The training command on a disk that is full, or that refuses."""

from __future__ import annotations

import contextlib
import pathlib
import resource
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import best, model_dir
from tests.training import run_cases
from tfrecord_tools import command

Places = run_cases.Places
made_once = run_cases.made_once
places = run_cases.places
store = run_cases.store


# A disk that is full in the course of a run.


@contextlib.contextmanager
def _limits() -> Iterator[Callable[[int], None]]:
    """Yields what sets the largest file; puts it back at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = {
    # The first of a step's writes that no longer fits.
    "events": (3, 600, "TensorBoard's events cannot be written", 2),
    "checkpoint": (5, 100_000, "The checkpoint of step 6 cannot be wri", 4),
}


@pytest.mark.parametrize("what", FULL)
def test_a_disk_that_is_full_later(
    places: Places, tmp_path: pathlib.Path, what: str
) -> None:
    step, num_bytes, message, newest = FULL[what]
    folder = str(tmp_path / "model")
    with _limits() as limit:
        places.during[step] = lambda _: limit(num_bytes)
        assert places.run(folder) == 74
    _, err = places.said()
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1
    assert "Make room" in err or "make room" in err
    assert checkpoint.latest(folder)[0].step == newest  # type: ignore[union-attr]
    places.during.clear()
    assert places.run(folder) == 0
    assert f"Going on after step {newest}" in places.said()[0]
    assert run_cases.read_json(folder, "result.json")["step"] == 8


@pytest.mark.parametrize("what", ["report", "best", "result"])
def test_a_disk_that_is_full_after_an_evaluation(
    places: Places,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    place = {
        "report": (report, "write_whole"),
        "best": (best, "keep"),
        "result": (best, "find"),
    }[what]
    original = getattr(*place)
    folder = str(tmp_path / "model")
    with _limits() as limit:

        def full(*arguments: Any) -> Any:
            if what == "report" and "/eval/" not in arguments[0]:
                return original(*arguments)
            limit(20)
            found = original(*arguments)
            if what != "result":
                limit(resource.RLIM_INFINITY)
            return found

        monkeypatch.setattr(*place, full)
        if what == "best":  # no links: a copy
            monkeypatch.setattr(best.whole.os, "link", _refuse)  # type: ignore[attr-defined]
        assert places.run(folder) == 74
    monkeypatch.setattr(*place, original)
    _, err = places.said()
    assert "cannot be" in err
    assert len(err.splitlines()) == 1
    newest = {"report": 4, "best": 4, "result": 8}[what]
    assert checkpoint.latest(folder)[0].step == newest  # type: ignore[union-attr]
    assert places.run(folder) == 0
    assert run_cases.read_json(folder, "result.json")["best_step"] == 4


def _refuse(*_: object) -> None:
    raise OSError("no links here")


# Whether the folder can be written is known before the first step.


@pytest.mark.parametrize("name", ["checkpoints", "best", "eval", "train"])
def test_a_folder_in_it_that_cannot_be_written(
    tmp_path: pathlib.Path, name: str
) -> None:
    (tmp_path / name).write_text("a file")
    with (
        pytest.raises(command.UserError, match="cannot be written") as caught,
        model_dir.in_use(str(tmp_path)),
    ):
        pass
    assert caught.value.exit_code == command.ExitCode.DISK
    (tmp_path / name).unlink()
    with model_dir.in_use(str(tmp_path)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_permission_is_asked_by_writing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()

    def refuse(path: str, content: bytes) -> None:
        if "checkpoints" in path:
            raise PermissionError(13, "Permission denied", path)
        write(path, content)

    write = model_dir.whole.write_file  # type: ignore[attr-defined]
    monkeypatch.setattr(model_dir.whole, "write_file", refuse)  # type: ignore[attr-defined]
    with (
        pytest.raises(command.UserError, match="Permission denied") as caught,
        model_dir.in_use(str(tmp_path)),
    ):
        pass
    assert caught.value.exit_code == command.ExitCode.DISK


def test_no_room_is_asked_for_in_an_object_store(store: str) -> None:
    model_dir.check_space(store, 2**60)
