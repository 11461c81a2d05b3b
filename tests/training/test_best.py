"""The best checkpoint is kept apart, whole, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.training import best, model_dir
from hparams import presets
from tfrecord_tools import command

META = checkpoint.Meta(
    presets.get_config("efficientdet-d0"), ("car",), "abc", "2 threads"
)


def _measured(folder: pathlib.Path, step: int, ap: float | None) -> bool:
    """Saves a step's checkpoint and report, and offers it as the best."""
    variables = {"step": tf.Variable(step, dtype=tf.int64)}
    checkpoint.save(str(folder), step, variables, META, 1)
    (folder / "eval").mkdir(exist_ok=True)
    (folder / "eval" / f"{step:08}.json").write_text(
        json.dumps({"metrics": {"ap": ap}})
    )
    return best.keep(str(folder), step, ap)


def _kept(folder: pathlib.Path) -> list[str]:
    return sorted(os.listdir(folder / "best"))


def test_the_better_one_takes_the_place(tmp_path: pathlib.Path) -> None:
    assert best.find(str(tmp_path)) is None
    steps = [(1, None), (2, 0.3), (3, 0.2), (4, 0.3), (5, 0.4)]
    is_best = [_measured(tmp_path, step, ap) for step, ap in steps]
    assert is_best == [False, True, False, False, True]
    assert _kept(tmp_path) == ["step-00000005"]
    # The newest one goes, the best stays.
    _measured(tmp_path, 6, 0.1)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-00000006"]
    found = best.find(str(tmp_path))
    assert found is not None
    assert int(found.values()["step"]) == 5


def test_measured_again_after_a_kill(tmp_path: pathlib.Path) -> None:
    _measured(tmp_path, 1, 0.3)
    # Killed while the next one was copied: half a copy beside.
    (tmp_path / "best" / ".writing").mkdir()
    (tmp_path / "best" / ".writing" / "meta.json").write_text("{")
    found = best.find(str(tmp_path))
    assert found is not None
    assert found.step == 1
    assert _measured(tmp_path, 2, 0.5)
    assert not _measured(tmp_path, 2, 0.5)
    assert _kept(tmp_path) == ["step-00000002"]


def test_without_links_it_is_a_copy(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert _measured(tmp_path, 1, 0.3)
    found = best.find(str(tmp_path))
    assert found is not None
    inside = tmp_path / "best" / "step-00000001" / "meta.json"
    assert inside.stat().st_nlink == 1


def test_damaged_best_is_replaced_by_the_next(tmp_path: pathlib.Path) -> None:
    _measured(tmp_path, 1, 0.9)
    inside = tmp_path / "best" / "step-00000001" / "meta.json"
    inside.unlink()
    assert best.find(str(tmp_path)) is None
    assert _measured(tmp_path, 2, 0.1)
    assert _kept(tmp_path) == ["step-00000002"]


def test_room_for_two_checkpoints(tmp_path: pathlib.Path) -> None:
    model_dir.check_space(str(tmp_path), 1)
    with pytest.raises(command.UserError) as caught:
        model_dir.check_space(str(tmp_path), 2**60)
    assert caught.value.exit_code == command.ExitCode.DISK
    assert "two checkpoints take 2199023255552 MiB" in str(caught.value)


def test_step_that_is_saved_already_stays(tmp_path: pathlib.Path) -> None:
    first = _save(tmp_path, 1.0)
    before = (pathlib.Path(first) / "variables.index").stat().st_ino
    assert _save(tmp_path, 1.0) == first
    assert (pathlib.Path(first) / "variables.index").stat().st_ino == before
    # A damaged one is written again.
    (pathlib.Path(first) / "variables.index").write_bytes(b"damaged")
    _save(tmp_path, 1.0)
    assert checkpoint.is_whole(first)


def _save(folder: pathlib.Path, value: float) -> str:
    return checkpoint.save(
        str(folder), 3, {"net/kernel": tf.Variable(value)}, META, 2
    )


def test_one_that_is_measured_better_again_stays_in_its_place(
    tmp_path: pathlib.Path,
) -> None:
    assert _measured(tmp_path, 1, 0.3)
    inside = tmp_path / "best" / "step-00000001"
    before = inside.stat().st_ino
    assert best.keep(str(tmp_path), 1, 0.4)
    assert inside.stat().st_ino == before


def test_damaged_best_is_named(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _measured(tmp_path, 1, 0.3)
    inside = tmp_path / "best" / "step-00000001" / "variables.index"
    inside.unlink()
    inside.write_bytes(b"x")
    assert _measured(tmp_path, 2, 0.1)
    said = capsys.readouterr().out
    assert f"warning: {inside} is damaged" in said
    assert "The next best takes its place." in said
