"""machine.sh: the flags that it takes, and what it refuses."""

from __future__ import annotations

import pathlib

import pytest

from tests.deploy import machines
from tests.deploy.test_gcp_machine import CREATE, ON, TRAINING


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> machines.Machine:
    return machines.Machine(tmp_path / "here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "'' is no verb"),
        (("destroy",), "'destroy' is no verb"),
        (("start", "--zone=europe-west4-a"), "--project is missing"),
        (("start", "--project=p-1"), "--zone is missing, expected a zone"),
        (("start", "--project=p-1", "--zone=x"), "--zone is 'x'"),
        (("start", *ON, "--name=A"), "--name is 'A'"),
        (("start", *ON, "--nmae=a"), "'--nmae=a' is no flag of start"),
        (("start", *ON, "--name"), "lacks its =VALUE"),
        (("start", *ON, "--spot"), "--spot has no meaning for start"),
        (("start", *ON, "--", "train"), "which only run takes"),
        (("tensorboard", *ON, "--port=http"), "--port is 'http'"),
        ((*CREATE, "--gpu=a100"), "--gpu is 'a100', expected v100 or t4"),
        ((*CREATE, "--gpu="), "--gpu is missing"),
        ((*CREATE, "--bucket=my-bucket"), "expected gs://BUCKET"),
        ((*CREATE, "--bucket=gs://my-bucket/"), "without a slash at the end"),
        ((*CREATE, "--image=a b"), "--image is 'a b'"),
        ((*CREATE, "--image="), "--image is missing"),
        ((*CREATE, "--machine_type=a2-highgpu-1g"), "expected an n1 machine"),
        ((*CREATE, "--disk_gb=20"), "at least 50"),
        ((*CREATE, "--disk_gb=1TB"), "--disk_gb is '1TB'"),
        (("run", *ON), "expected train and its flags"),
        (("run", *ON, "--", "convert"), "'convert' stands after --"),
        (("run", *ON, "--", "train"), "--model_dir of the training is ''"),
        (
            ("run", *ON, "--", "train", "--model_dir=out"),
            "--model_dir of the training is 'out', expected model",
        ),
        (("run", *ON, "--", *TRAINING, "--a=b\nc"), "has a line break"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    machine: machines.Machine, arguments: tuple[str, ...], message: str
) -> None:
    done = machine.run("machine.sh", *arguments)
    assert done.returncode == 64
    assert message in done.stderr
    assert machine.calls("gcloud") == []


def test_help_lists_every_flag_that_is_read(machine: machines.Machine) -> None:
    done = machine.run("machine.sh", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    text = (machines.GCP / "machine.sh").read_text()
    read = text[text.index("read_flags() {") : text.index("check_flags() {")]
    for word in read.replace("|", " ").replace(")", " ").split():
        if word.startswith("--") and word[2:3].isalpha():
            flag = word.rstrip("*=;")
            assert flag == "--help" or f"  {flag}" in done.stdout, flag
