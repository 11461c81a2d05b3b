"""The official command with its module replaced, on records of photographs."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from efficientdet_aimmo import checkpoint, evaluate, train, weights
from efficientdet_aimmo.evaluation import report
from efficientdet_aimmo.training import state as state_lib
from efficientdet_aimmo.training import step as step_lib
from hparams import serialize
from tfrecord_tools import command

pytestmark = pytest.mark.slow

CONFIG = """\
num_classes: 4
label_map: {1: car, 2: truck, 3: bus, 4: pedestrian}
lr_warmup_init: 0.004
learning_rate: 0.16
image_size: 64x64
moving_average_decay: 0.9
"""
NUM_STEPS = 16  # 32 images, batch 4, two epochs
CLASSES = ("car", "truck", "bus", "pedestrian")


class Run(NamedTuple):
    """A finished run and what it said."""

    model_dir: pathlib.Path
    records: pathlib.Path
    out: str
    err: str


@pytest.fixture(scope="module")
def run(
    street_records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(CONFIG)
    model_dir = folder / "model"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "efficientdet_aimmo.train",
            "--mode=train_and_eval",
            f"--train_file_pattern={street_records}/train*.tfrecord",
            f"--val_file_pattern={street_records}/val*.tfrecord",
            "--model_name=efficientdet-d0",
            f"--model_dir={model_dir}",
            "--train_batch_size=4",
            "--eval_batch_size=4",
            "--num_examples_per_epoch=113",
            "--num_epochs=2",
            f"--hparams={folder}/config.yaml",
            f"--val_json_file={street_records}/val.json",
            "--allow_cpu",
        ],
        env={k: v for k, v in os.environ.items() if not k.startswith("TF_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Run(model_dir, street_records, done.stdout, done.stderr)


def _row(run: Run, name: str) -> str:
    """Returns what the table of settings says of a hyper-parameter."""
    rows = [line for line in run.out.splitlines() if f" {name} " in line]
    return " ".join(rows[0].split(f" {name} ")[1].split())


def test_each_setting_is_shown_and_in_force(run: Run) -> None:
    assert _row(run, "num_classes") == "4 (was 0)"
    assert _row(run, "image_size") == "64x64 (was 512x512)"
    assert _row(run, "learning_rate") == "0.16 (was 0.08)"
    assert _row(run, "lr_warmup_init") == "0.004 (was 0.008)"
    assert _row(run, "moving_average_decay") == "0.9 (was 0.9998)"
    assert _row(run, "train_batch_size") == "4 (was 64)"
    assert _row(run, "eval_batch_size") == "4 (was 1)"
    assert _row(run, "num_epochs") == "2 (was 300)"
    rule = "x 4 images per step / 64 (learning_rate_batch), in force"
    assert f"learning_rate   given 0.16, {rule} 0.01\n" in run.out
    assert f"lr_warmup_init  given 0.004, {rule} 0.00025\n" in run.out
    assert "warm-up         8 of 16 steps (8 per epoch)\n" in run.out
    assert "warning: --num_examples_per_epoch=113, the records" in run.out
    assert "device          CPU" in run.out
    assert f"step {NUM_STEPS}/{NUM_STEPS}: loss " in run.out


def test_no_library_has_a_say(run: Run) -> None:
    """All that is on standard error is the evaluation's progress."""
    lines = run.err.splitlines()
    assert [line for line in lines if not line.startswith("evaluating: ")] == []
    for word in ("Warning", "WARNING", "I0000", "E0000", "W0000"):
        assert word not in run.out


def test_the_folder_holds_configuration_data_and_weights(run: Run) -> None:
    text = (run.model_dir / "config.json").read_text()
    config = serialize.from_json(text)
    assert config.data.image_size == (64, 64)
    assert config.optimizer.learning_rate == 0.16
    assert config.data.max_instances_per_image > 0
    manifest = json.loads((run.model_dir / "dataset.json").read_text())
    assert tuple(manifest["classes"]) == CLASSES
    newest, faults = checkpoint.latest(str(run.model_dir))
    assert newest is not None
    assert faults == []
    assert newest.step == NUM_STEPS
    assert newest.meta.config == config
    assert newest.meta.classes == CLASSES


def test_result_and_evaluation_agree(run: Run) -> None:
    result = json.loads((run.model_dir / "result.json").read_text())
    found = json.loads(
        (run.model_dir / "eval" / f"{NUM_STEPS:08}.json").read_text()
    )
    assert result["step"] == found["step"] == NUM_STEPS
    assert result["metrics"] == found["metrics"]
    assert result["alarms"] == found["alarms"]
    assert found["metrics"]["images"] == 32
    assert [c["name"] for c in found["metrics"]["classes"]] == list(CLASSES)


def _events(folder: pathlib.Path) -> Any:
    found = event_accumulator.EventAccumulator(
        str(folder), size_guidance={"tensors": 0}
    )
    return found.Reload()


def test_tensorboard_shows_the_run(run: Run) -> None:
    trained = _events(run.model_dir / "train")
    assert set(trained.Tags()["tensors"]) == {
        "class_loss",
        "box_loss",
        "l2_loss",
        "total_loss",
        "gradient_norm",
        "learning_rate",
        "num_positives",
        "images_per_second",
        "input_wait_share",
    }
    last = trained.Tensors("learning_rate")[-1]
    assert last.step == NUM_STEPS
    # Step 15, 7 of 8 steps after the warm-up, cosine.
    expected = 0.01 * 0.5 * (1 + np.cos(np.pi * 7 / 8))
    assert float(tf.make_ndarray(last.tensor_proto)) == pytest.approx(
        expected, rel=1e-4
    )
    measured = _events(run.model_dir / "eval").Tags()["tensors"]
    assert {"AP", "AP50", "AP75"} <= set(measured)
    for name in CLASSES:
        assert f"AP_per_class/{name}" in measured
        assert f"AP50_per_class/{name}" in measured
    assert sum(tag.startswith("pictures/") for tag in measured) == 8


def test_evaluate_gives_the_numbers_of_the_run(
    run: Run, tmp_path: pathlib.Path
) -> None:
    arguments = [
        "evaluate",
        f"--model_dir={run.model_dir}",
        f"--val_file_pattern={run.records}/val*.tfrecord",
        f"--val_json_file={run.records}/val.json",
        f"--output_dir={tmp_path}",
        "--allow_cpu",
    ]
    assert command.run(evaluate.main, evaluate.FLAGS, "", arguments) == 0
    name = f"{NUM_STEPS:08}.json"
    reported = report.read(str(run.model_dir / "eval" / name))
    assert report.read(str(tmp_path / name)) == reported


# Beginning with the weights of another run.


def _continued(run: Run, model_dir: pathlib.Path, *more: str) -> int:
    arguments = [
        "train",
        "--mode=train",
        f"--train_file_pattern={run.records}/train*.tfrecord",
        f"--model_dir={model_dir}",
        "--train_batch_size=4",
        "--hparams=image_size=64x64",
        "--allow_cpu",
        *more,
    ]
    return command.run(train.main, train.FLAGS, "", arguments)


@pytest.fixture
def first_state(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """Ends a run at its first step; returns the variables it began with."""
    seen: list[dict[str, np.ndarray]] = []

    def make_train_step(
        state: state_lib.TrainState, *_: object
    ) -> Callable[[object], Mapping[str, float]]:
        def step(_: object) -> Mapping[str, float]:
            seen.append({k: v.numpy() for k, v in state.variables().items()})
            raise command.UserError(command.ExitCode.STOPPED, "seen")

        return step

    monkeypatch.setattr(step_lib, "make_train_step", make_train_step)
    return seen


@pytest.mark.parametrize("what", ["model_dir", "checkpoint"])
def test_a_run_begins_with_the_weights_of_another(
    run: Run,
    tmp_path: pathlib.Path,
    first_state: list[dict[str, np.ndarray]],
    what: str,
) -> None:
    path = run.model_dir
    if what == "checkpoint":
        path = path / "checkpoints" / f"step-{NUM_STEPS:08}"
    more = ("--model_name=efficientdet-d0", f"--ckpt={path}")
    assert _continued(run, tmp_path / "model", *more) == 75
    (begun,) = first_state
    assert begun["step"] == 0
    averages = weights.find(str(run.model_dir), None).weights()
    for name, value in averages.items():
        np.testing.assert_array_equal(begun[name], value)
        suffix = checkpoint.AVERAGE_SUFFIX
        np.testing.assert_array_equal(begun[name + suffix], value)


def test_weights_of_another_network_are_refused(
    run: Run,
    tmp_path: pathlib.Path,
    first_state: list[dict[str, np.ndarray]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ("--model_name=efficientdet-lite0", f"--ckpt={run.model_dir}")
    assert _continued(run, tmp_path / "model", *more) == 65
    said = capsys.readouterr().err
    assert "do not fit this network" in said
    assert "Give the --model_name and settings that they were trained" in said
    assert first_state == []
