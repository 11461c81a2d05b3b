"""The checks of a dry run are those of the real start; nothing is written."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from efficientdet_aimmo.training import dry_run, lock, machine
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from tests import train_cases

Command = train_cases.Command
cmd = train_cases.cmd
DRY = "--dry_run"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the dry run where the steps would begin."""

    def begin(
        config: config_lib.Config, run: run_lib.Run, _: machine.Machine
    ) -> None:
        del config, run
        raise train_cases.Started

    monkeypatch.setattr(dry_run, "rehearse", begin)


def _tree(folder: pathlib.Path) -> Iterator[tuple[str, int, bytes]]:
    for path in sorted(folder.rglob("*")):
        content = b"" if path.is_dir() else path.read_bytes()
        yield str(path), path.stat().st_mtime_ns, content


def test_folder_that_is_not_there_stays_so(cmd: Command) -> None:
    before = list(_tree(cmd.model_dir.parent))
    assert "Settings (* differs" in cmd.start(DRY)
    assert list(_tree(cmd.model_dir.parent)) == before
    assert not cmd.model_dir.exists()


def test_folder_of_a_run(cmd: Command) -> None:
    cmd.start()
    before = list(_tree(cmd.model_dir))
    cmd.start(DRY)
    other = cmd.fault(73, DRY, "--tf_random_seed=7")
    assert other == cmd.fault(73, "--tf_random_seed=7")
    assert "belongs to a run with another configuration" in other
    with lock.held(str(cmd.model_dir)):
        used = cmd.fault(73, DRY)
        assert used == cmd.fault(73)
    assert "is in use by another run" in used
    cmd.start(DRY)
    # The real starts make and touch files of their own; the dry ones none.
    names = [name for name, _, _ in before]
    assert [name for name, _, _ in _tree(cmd.model_dir)] == names


def test_folder_that_cannot_be_written(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    cmd.model_dir.write_text("no folder")
    said = cmd.fault(74, DRY)
    assert "cannot be written (Not a directory)" in said
    cmd.model_dir.unlink()
    asked: list[str] = []

    def access(path: str, mode: int) -> bool:
        asked.append(path)
        assert mode == os.W_OK | os.X_OK
        return False

    monkeypatch.setattr(os, "access", access)
    said = cmd.fault(74, DRY)
    assert said == (
        f"--model_dir={cmd.model_dir} cannot be written (Permission denied)."
        " Choose a folder that this user may write."
    )
    assert asked == [str(cmd.model_dir.parent)]
    assert not cmd.model_dir.exists()
