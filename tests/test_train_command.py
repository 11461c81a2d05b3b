"""Flags and settings that the training command refuses before it begins."""

from __future__ import annotations

import pytest

from efficientdet_aimmo import train
from tests import train_cases
from tfrecord_tools import command

Command = train_cases.Command
cmd = train_cases.cmd


# Flags and settings.


def test_an_unknown_flag(cmd: Command) -> None:
    said = cmd.fault(64, "--trian_batch_size=4")
    assert "Unknown command line flag 'trian_batch_size'" in said
    assert "Did you mean: train_batch_size" in said
    assert not cmd.model_dir.exists()


def test_a_flag_of_the_wrong_kind(cmd: Command) -> None:
    assert "--num_examples_per_epoch=all" in cmd.fault(
        64, "--num_examples_per_epoch=all"
    )
    assert "--mode=trian" in cmd.fault(64, "--mode=trian")


def test_a_required_flag_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(train.main, train.FLAGS, "", ["train"]) == 64
    assert "--model_dir must have a value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--hparams=learnig_rate=1", "Did you mean 'learning_rate'?"),
        ("--hparams=gamma=strong", "'gamma' is 'strong', expected a number."),
        (
            "--model_name=efficientdet-d9",
            "Unknown model name 'efficientdet-d9'",
        ),
        ("--use_xla=maybe", "'use_xla' is 'maybe', expected true or"),
        ("--eval_name=x", "--eval_name has no effect here:"),
        ("--mode=eval", "--mode=eval does not exist here: use python -m"),
        (
            "--hparams=train_batch_size=8",
            "--train_batch_size=4, but --hparams says train_batch_size=8.",
        ),
    ],
)
def test_settings_are_refused_before_the_data(
    cmd: Command, flag: str, message: str
) -> None:
    assert message in cmd.fault(64, flag, "--train_file_pattern=none")


def test_measuring_needs_records(cmd: Command) -> None:
    arguments = [
        "train",
        "--mode=train_and_eval",
        f"--train_file_pattern={cmd.records}/train*.tfrecord",
        "--model_name=efficientdet-d0",
        f"--model_dir={cmd.model_dir}",
    ]
    assert command.run(train.main, train.FLAGS, "", arguments) == 64
    assert (
        "--mode=train_and_eval needs --val_file_pattern, as OUT/val*.tfrecord."
        " To train without measuring, use --mode=train."
    ) in cmd.capsys.readouterr().err


# Settings that do not fit the data.


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        (
            "num_classes=5",
            "num_classes is 5, the records have 4 classes: car, truck, bus,"
            " pedestrian. Background is not counted here. num_classes may be"
            " left out: it follows from the records.",
        ),
        (
            "label_map=[car,truck,bus,Pedestrian]",
            "label_map gives the classes car, truck, bus, Pedestrian; the"
            " records were written with car, truck, bus, pedestrian. Names and"
            " order must be the same; label_map may be left out.",
        ),
        (
            "label_map=[truck,car,bus,pedestrian]",
            "label_map gives the classes truck, car, bus, pedestrian;",
        ),
        (
            "max_instances_per_image=1",
            "max_instances_per_image is 1, the records have up to",
        ),
    ],
)
def test_settings_that_the_records_contradict(
    cmd: Command, hparams: str, message: str
) -> None:
    assert message in cmd.fault(64, f"--hparams={hparams}")


def test_label_map_with_id_0(cmd: Command) -> None:
    path = cmd.model_dir.with_suffix(".yaml")
    path.write_text("label_map: {car: 0, truck: 1, bus: 2, Pedestrian: 3}\n")
    assert cmd.fault(64, f"--hparams={path}").startswith(
        "label_map gives id 0 to 'car': ids start at 1, and background is not"
        " listed."
    )


def test_a_batch_larger_than_the_data_set(cmd: Command) -> None:
    assert cmd.fault(64, "--train_batch_size=33") == (
        "--train_batch_size=33 is more than the 32 training images. Expected"
        " at most 32."
    )
    assert "Settings" in cmd.start("--train_batch_size=32")


def test_another_number_of_examples_is_a_warning(cmd: Command) -> None:
    assert (
        "warning: --num_examples_per_epoch=113, the records have 32 images. An"
        " epoch is 32 images."
    ) in cmd.start("--num_examples_per_epoch=113")
    assert "warning" not in cmd.start("--num_examples_per_epoch=32")
