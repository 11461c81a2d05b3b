"""A refused step is kept with all that it followed from, and replayed."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import replay
from efficientdet_aimmo.training import gradients as gradients_lib
from efficientdet_aimmo.training import nonfinite, state
from tests.training import tiny
from tfrecord_tools import command

CLASSES = ("car", "truck", "bus", "pedestrian")


@pytest.fixture(scope="module")
def trainer() -> tiny.Trainer:
    return tiny.Trainer("survival_prob=0.8,box_class_repeats=2")


@pytest.fixture(scope="module")
def kept(
    trainer: tiny.Trainer, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A step on two images of which the second has one pixel undefined."""
    folder = tmp_path_factory.mktemp("run")
    batch = tiny.batch()
    images = batch.images.numpy()
    images[1, 5, 6, 0] = np.nan
    trainer.state.step.assign(7)
    found = nonfinite.keep(
        str(folder),
        trainer.config,
        trainer.state,
        batch._replace(images=tf.constant(images)),
        CLASSES,
        thaw_step=0,
    )
    assert (found.step, found.image_ids, found.bad_images) == (
        7,
        ["1", "2"],
        ["2"],
    )
    return folder / "nan" / "7"


def _run(*arguments: str) -> int:
    return command.run(
        replay.main, replay.FLAGS, "", ["replay", *arguments], positional="dir"
    )


def test_replay_gives_the_same_again(
    kept: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(str(kept)) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("The same as then.")
    assert "images not finite: 2\n" in said
    assert "total_loss" in said
    assert "gradients not finite, first: efficientnet-lite0/" in said


def test_finite_step_is_replayed_to_the_bit(
    trainer: tiny.Trainer, tmp_path: pathlib.Path
) -> None:
    """Also its stochastic depth, which follows from the step."""
    trainer.state.step.assign(3)
    then = nonfinite.keep(
        str(tmp_path), trainer.config, trainer.state, tiny.batch(), CLASSES, 0
    )
    direct = gradients_lib.compute_gradients(
        trainer.state,
        tiny.batch(),
        trainer.anchors,
        trainer.config,
        frozenset(),
    )
    assert then.terms["total_loss"] == float(direct.total_loss)
    norm = float(tf.linalg.global_norm(direct.values))
    assert then.terms["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    assert sum(v**2 for v in then.part_norms.values()) == pytest.approx(
        norm**2, rel=1e-4
    )
    assert nonfinite.replay(str(tmp_path / "nan" / "3")) == then
    # The step decides what stochastic depth drops.
    trainer.state.step.assign(4)
    other = nonfinite.keep(
        str(tmp_path), trainer.config, trainer.state, tiny.batch(), CLASSES, 0
    )
    assert other.terms["total_loss"] != then.terms["total_loss"]


def test_another_result_is_an_error(
    trainer: tiny.Trainer,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainer.state.step.assign(3)
    nonfinite.keep(
        str(tmp_path), trainer.config, trainer.state, tiny.batch(), CLASSES, 0
    )
    folder = tmp_path / "nan" / "3"
    content = json.loads((folder / "terms.json").read_text())
    content["terms"]["box_loss"] *= 1.01
    (folder / "terms.json").write_text(json.dumps(content))
    assert _run(str(folder)) == 65
    assert "does not give the same again" in capsys.readouterr().err


@pytest.mark.parametrize("harm", ["nothing there", "no terms", "no weights"])
def test_folder_without_a_kept_step(
    kept: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    harm: str,
) -> None:
    folder = tmp_path / "7"
    if harm != "nothing there":
        folder.mkdir()
        (folder / "terms.json").write_text("{}")
    if harm == "no weights":
        (folder / "terms.json").write_text((kept / "terms.json").read_text())
    assert _run(str(folder)) == 65
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Expected" in said


def test_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run() == 64
    assert "MODEL_DIR/nan/STEP" in capsys.readouterr().err


def test_disk_that_cannot_be_written(
    trainer: tiny.Trainer, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "nan").write_text("a file")
    with pytest.raises(command.UserError) as caught:
        nonfinite.keep(
            str(tmp_path),
            trainer.config,
            trainer.state,
            tiny.batch(),
            CLASSES,
            0,
        )
    assert caught.value.exit_code == command.ExitCode.DISK


def test_skipping_counts_the_step_and_nothing_else() -> None:
    found = state.TrainState(tiny.config())
    before = {k: v.numpy() for k, v in found.variables().items()}
    found.skip_step()
    after = {k: v.numpy() for k, v in found.variables().items()}
    assert (after.pop("step"), after.pop("skipped_steps")) == (1, 1)
    assert (before.pop("step"), before.pop("skipped_steps")) == (0, 0)
    assert tiny.same(before, after)
