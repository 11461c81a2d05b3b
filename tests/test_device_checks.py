"""Train, evaluate and predict stop where there is no GPU."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from unittest import mock

import pytest
from absl import flags

from efficientdet_aimmo import evaluate, predict
from efficientdet_aimmo.diagnosis import gate
from efficientdet_aimmo.distribution import strategies
from tests import train_cases
from tests.diagnosis import on_machines
from tfrecord_tools import command

Command = train_cases.Command
cmd = train_cases.cmd
# The command of these tests has --allow_cpu; what comes later holds.
_NOT_ALLOWED = "--noallow_cpu"
_MESSAGE = "This machine has no GPU that TensorFlow can use.\n"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machines.stand_on(monkeypatch, "no_gpu")


@pytest.mark.usefixtures("no_gpu")
def test_training_stops_and_writes_nothing(cmd: Command) -> None:
    said = cmd.fault(69, _NOT_ALLOWED)
    assert said.startswith(_MESSAGE)
    assert "\n  GPU: none on the PCI bus." in said
    assert "give --allow_cpu" in said
    assert not cmd.model_dir.exists()
    assert _MESSAGE in cmd.fault(69, _NOT_ALLOWED, "--dry_run")
    assert _MESSAGE in cmd.fault(69, _NOT_ALLOWED, "--strategy=gpus")


@pytest.mark.usefixtures("no_gpu")
def test_training_goes_on_where_it_is_allowed(cmd: Command) -> None:
    assert "warning" not in cmd.start()
    # And says so again at no later start.
    assert "warning" not in cmd.start()


def test_training_names_what_does_not_fit(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machines.stand_on(monkeypatch, "driver_upgraded_without_restart")
    said = cmd.fault(69, _NOT_ALLOWED)
    assert "\n  nvidia-smi: Failed to initialize NVML: " in said
    assert "restart the machine" in said
    shown = cmd.start()
    assert "warning: Tesla V100-SXM2-16GB is not used" in shown
    assert "Failed to initialize NVML" in shown


def test_a_hidden_gpu_is_no_permission(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    on_machines.stand_on(monkeypatch, "hidden")
    assert "CUDA_VISIBLE_DEVICES: '-1': 0 of 1 GPU." in cmd.fault(
        69, _NOT_ALLOWED
    )


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("code", "flag", "message"),
    [
        (64, "--trian_batch_size=4", "Unknown command line flag"),
        (64, "--hparams=num_classes=5", "num_classes is 5"),
        (64, "--hparams=virtual_devices=2", "--strategy=gpus"),
        (65, "--train_file_pattern=none", "matches no file"),
    ],
)
def test_mistakes_are_answered_first(
    cmd: Command, code: int, flag: str, message: str
) -> None:
    assert message in cmd.fault(code, _NOT_ALLOWED, flag)


def test_virtual_devices_compute_on_the_cpu(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--strategy=gpus", "--hparams=virtual_devices=2")
    with monkeypatch.context() as patch:
        on_machines.stand_on(patch, "no_gpu")
        assert _MESSAGE in cmd.fault(69, _NOT_ALLOWED, *given)
    # Beside a GPU, too.
    monkeypatch.setattr(gate, "require_gpu", lambda **_: None)
    assert cmd.fault(64, _NOT_ALLOWED, *given) == (
        "virtual_devices=2 computes on the CPU, also beside a GPU. Expected"
        " --allow_cpu with it."
    )


def test_a_tpu_needs_no_gpu(
    cmd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    required = mock.Mock()
    monkeypatch.setattr(gate, "require_gpu", required)
    made = command.UserError(command.ExitCode.DEVICE, "no TPU")
    monkeypatch.setattr(strategies, "make", mock.Mock(side_effect=made))
    assert cmd.fault(69, _NOT_ALLOWED, "--strategy=tpu") == "no TPU"
    required.assert_not_called()


def _run(
    module: Callable[[flags.FlagValues], None],
    values: flags.FlagValues,
    *arguments: str,
) -> int:
    return command.run(module, values, "", ["command", *arguments])


@pytest.mark.usefixtures("no_gpu")
def test_evaluate(
    street_records: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(pattern: str, *more: str) -> tuple[int, str]:
        given = (f"--val_file_pattern={pattern}", "--model_dir=none", *more)
        code = _run(evaluate.main, evaluate.FLAGS, *given)
        return code, capsys.readouterr().err

    code, said = fault("none")
    assert (code, "matches no file" in said) == (65, True)
    code, said = fault(f"{street_records}/val-*")
    assert (code, _MESSAGE in said) == (69, True)
    # With it the next mistake is found.
    code, said = fault(f"{street_records}/val-*", "--allow_cpu")
    assert (code, "none has no whole checkpoint" in said) == (65, True)


@pytest.mark.usefixtures("no_gpu")
def test_predict(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image.png"

    def fault(*more: str) -> tuple[int, str]:
        given = (f"--image={image}", f"--output_dir={tmp_path / 'out'}", *more)
        code = _run(predict.main, predict.FLAGS, "--model_dir=none", *given)
        return code, capsys.readouterr().err

    code, said = fault()
    assert (code, "does not exist" in said) == (65, True)
    image.touch()
    code, said = fault()
    assert (code, _MESSAGE in said) == (69, True)
    code, said = fault("--allow_cpu")
    assert (code, "none has no whole checkpoint" in said) == (65, True)
    assert not (tmp_path / "out").exists()
