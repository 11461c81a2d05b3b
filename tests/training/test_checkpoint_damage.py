"""No byte of a checkpoint can change unnoticed."""

from __future__ import annotations

import hashlib
import json
import pathlib
import random
import shutil
from typing import Any

import pytest
import tensorflow as tf

from efficientdet_aimmo import checkpoint, weights
from efficientdet_aimmo.training import beginning, state
from hparams import presets
from tests.training import tiny
from tfrecord_tools import command

META = checkpoint.Meta(
    presets.get_config("efficientdet-d0"),
    ("car", "Fußgänger"),
    "abc",
    "2 threads",
)
FILES = ("meta.json", "variables.data-00000-of-00001", "variables.index")


def _save(folder: pathlib.Path, step: int) -> pathlib.Path:
    variables = {
        "net/kernel": tf.Variable(tf.range(300.0) + step),
        "step": tf.Variable(step, dtype=tf.int64),
    }
    return pathlib.Path(checkpoint.save(str(folder), step, variables, META, 3))


def test_the_files_are_these(tmp_path: pathlib.Path) -> None:
    assert sorted(p.name for p in _save(tmp_path, 1).iterdir()) == [*FILES]


def _harms(content: bytes, seed: int) -> list[bytes]:
    """Returns the file with a bit flipped in every region, cut, and grown."""
    draw = random.Random(seed)
    regions = range(0, len(content), max(1, len(content) // 100))
    places = {0, len(content) - 1}
    places |= {
        min(len(content) - 1, start + draw.randrange(regions.step))
        for start in regions
    }
    harmed = []
    for place in sorted(places):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        harmed.append(bytes(flipped))
    harmed += [content[: draw.randrange(len(content))] for _ in range(20)]
    return [*harmed, b"", content[:-1], content + b"\n", content + b"\0"]


@pytest.mark.parametrize("name", FILES)
def test_harm_anywhere_is_seen_and_the_one_before_used(
    tmp_path: pathlib.Path, name: str
) -> None:
    _save(tmp_path, 3)
    path = _save(tmp_path, 6)
    content = (path / name).read_bytes()
    harms = _harms(content, FILES.index(name))
    assert len(harms) > 100
    for harmed in harms:
        assert harmed != content
        (path / name).write_bytes(harmed)
        found, faults = checkpoint.latest(str(tmp_path))
        assert found is not None
        assert found.step == 3
        assert len(faults) == 1
        assert str(path) in faults[0]
        if name != "meta.json":
            assert f"{path}/{name} is damaged: its checksum" in faults[0]
    (path / name).unlink()
    found, faults = checkpoint.latest(str(tmp_path))
    assert found is not None
    assert (found.step, len(faults)) == (3, 1)
    (path / name).write_bytes(content)
    found, faults = checkpoint.latest(str(tmp_path))
    assert found is not None
    assert (found.step, faults) == (6, [])


def test_every_bit_of_a_field_of_meta(tmp_path: pathlib.Path) -> None:
    path = _save(tmp_path, 6)
    content = (path / "meta.json").read_bytes()
    for field in (b'"classes"', b'"learning_rate"', b'"step"', b'"checksum"'):
        start = content.index(field)
        for place in range(start, start + len(field) + 8):
            for bit in range(8):
                flipped = bytearray(content)
                flipped[place] ^= 1 << bit
                (path / "meta.json").write_bytes(flipped)
                assert not checkpoint.is_whole(str(path)), (place, bit)


def _rewrite(path: pathlib.Path, **changes: Any) -> None:
    content = json.loads((path / "meta.json").read_text())
    content.update(changes)
    for name in [key for key, value in content.items() if value is None]:
        del content[name]
    (path / "meta.json").write_text(json.dumps(content))


def test_checksum_is_of_the_text_without_it(tmp_path: pathlib.Path) -> None:
    path = _save(tmp_path, 6)
    text = (path / "meta.json").read_text()
    body, _, end = text.rpartition(', "checksum": "')
    digest = hashlib.sha256(f"{body}}}".encode()).hexdigest()
    assert end == f'{digest}"}}'
    # And those of the files are of the files.
    index = hashlib.sha256((path / "variables.index").read_bytes())
    assert json.loads(text)["files"]["variables.index"] == index.hexdigest()


def test_meta_that_was_edited(tmp_path: pathlib.Path) -> None:
    path = _save(tmp_path, 6)
    _rewrite(path, classes=["bus", "car"])
    with pytest.raises(
        checkpoint.CheckpointError, match="meta.json is damaged"
    ):
        checkpoint.open_checkpoint(str(path))


def test_earlier_checkpoints_have_no_checksum_of_meta(
    tmp_path: pathlib.Path,
) -> None:
    path = _save(tmp_path, 6)
    _rewrite(path, checksum=None)
    found = checkpoint.open_checkpoint(str(path))
    assert (found.step, found.meta) == (6, META)
    _rewrite(path, cheksum="x")
    with pytest.raises(checkpoint.CheckpointError, match="cheksum"):
        checkpoint.open_checkpoint(str(path))
    _rewrite(path, cheksum=None, files={})
    with pytest.raises(checkpoint.CheckpointError, match="fields classes, con"):
        checkpoint.open_checkpoint(str(path))


def test_damaged_later_one_takes_no_place(tmp_path: pathlib.Path) -> None:
    _save(tmp_path, 3)
    later = _save(tmp_path, 6)
    (later / "variables.index").write_bytes(b"")
    variables = {"net/kernel": tf.Variable([4.0])}
    for step in (4, 5):
        checkpoint.save(str(tmp_path), step, variables, META, 1)
        found, _ = checkpoint.latest(str(tmp_path))
        assert found is not None
        assert found.step == step
    checkpoint.save(str(tmp_path), 7, variables, META, 1)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000007"]


@pytest.fixture(scope="module")
def trained() -> state.TrainState:
    return state.TrainState(tiny.config())


def _resume(trained: state.TrainState, folder: pathlib.Path) -> int:
    return beginning.resume(trained, str(folder), None, ("car",), "2 threads")


def test_run_goes_on_from_the_one_before_and_says_so(
    tmp_path: pathlib.Path,
    trained: state.TrainState,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for step in (3, 6):
        trained.step.assign(step)
        checkpoint.save(str(tmp_path), step, trained.variables(), META, 3)
    newest = tmp_path / "checkpoints" / "step-00000006"
    (newest / "variables.index").write_bytes(b"")
    assert _resume(trained, tmp_path) == 3
    said = capsys.readouterr().out
    assert f"warning: {newest}/variables.index is damaged" in said
    assert "The one before is used." in said
    # The commands that read a model say it, too.
    assert weights.find(str(tmp_path), None).step == 3
    assert f"warning: {newest}/variables.index is damaged" in (
        capsys.readouterr().out
    )
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000003")
    with pytest.raises(
        command.UserError, match="None of the 1 check"
    ) as caught:
        _resume(trained, tmp_path)
    assert caught.value.exit_code == command.ExitCode.DATA
    assert str(newest) in str(caught.value)
    with pytest.raises(command.UserError, match="has no whole checkpoint"):
        weights.find(str(tmp_path), None)
