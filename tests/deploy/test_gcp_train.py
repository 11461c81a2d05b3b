"""train.sh: what docker is asked for, and how it ends."""

from __future__ import annotations

import pathlib

import pytest

from tests.deploy import machines

IMAGE = "europe-docker.pkg.dev/my-project/images/efficientdet-aimmo:0.1.0-gpu"
TRAINING = "train\n--model_dir=model\n--hparams=a=1,b=x y"


@pytest.fixture
def prepared(tmp_path: pathlib.Path) -> machines.Machine:
    """Returns a machine on which docker ends as the training it runs."""
    machine = machines.Machine(tmp_path / "prepared")
    settings = machine.folder / "etc/efficientdet-aimmo"
    settings.mkdir(parents=True)
    (settings / "image").write_text(f"{IMAGE}\n")
    (settings / "arguments").write_text(f"{TRAINING}\n")
    machine.add(
        "docker",
        machine.recording("docker")
        + '\n[[ "$1" != run ]] || exit "${ENDS:-0}"'
        + '\n[[ "$1" != ps ]] || echo "${LEFT:-}"',
    )
    return machine


def test_the_container_gets_the_gpu_the_folders_and_the_flags(
    prepared: machines.Machine,
) -> None:
    devices = prepared.folder / "dev"
    devices.mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvram"):
        (devices / name).touch()
    assert prepared.run("train.sh").returncode == 0
    root = prepared.environment["EFFICIENTDET_ROOT"]
    assert prepared.calls("docker")[-1] == [
        "run",
        "--rm",
        "--name=efficientdet",
        "--gpus=all",
        "--device=/dev/nvidia0",
        "--device=/dev/nvidiactl",
        "--device=/dev/nvidia-uvm",
        "--stop-timeout=300",
        f"--volume={root}:/data",
        "--volume=efficientdet-cache:/cache",
        IMAGE,
        *TRAINING.splitlines(),
    ]


@pytest.mark.parametrize("code", [0, 64, 65, 69, 70, 73, 74, 75])
def test_it_ends_with_the_code_of_the_training(
    prepared: machines.Machine, code: int
) -> None:
    assert prepared.run("train.sh", ENDS=str(code)).returncode == code


def test_a_container_that_was_left_behind_goes_first(
    prepared: machines.Machine,
) -> None:
    prepared.run("train.sh")
    assert not [c for c in prepared.calls("docker") if c[0] == "rm"]
    prepared.run("train.sh", LEFT="0123abc")
    assert ["rm", "--force", "0123abc"] in prepared.calls("docker")
