"""machine.sh: the flags that it takes, and what it refuses."""

from __future__ import annotations

import pathlib

import pytest

from tests.deploy import machines


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
        (("start", *machines.ON, "--name=A"), "--name is 'A'"),
        (("start", *machines.ON, "--nmae=a"), "'--nmae=a' is no flag of start"),
        (("start", *machines.ON, "--name"), "lacks its =VALUE"),
        (("start", *machines.ON, "--spot"), "--spot has no meaning for start"),
        (("start", *machines.ON, "--", "train"), "which only run takes"),
        (("tensorboard", *machines.ON, "--port=http"), "--port is 'http'"),
        (
            (*machines.CREATE, "--gpu=a100"),
            "--gpu is 'a100', expected v100 or t4",
        ),
        ((*machines.CREATE, "--gpu="), "--gpu is missing"),
        ((*machines.CREATE, "--bucket=my-bucket"), "expected gs://BUCKET"),
        (
            (*machines.CREATE, "--bucket=gs://my-bucket/"),
            "without a slash at the end",
        ),
        ((*machines.CREATE, "--image=a b"), "--image is 'a b'"),
        ((*machines.CREATE, "--image="), "--image is missing"),
        (
            (*machines.CREATE, "--machine_type=a2-highgpu-1g"),
            "expected an n1 machine",
        ),
        ((*machines.CREATE, "--disk_gb=20"), "at least 50"),
        ((*machines.CREATE, "--disk_gb=1TB"), "--disk_gb is '1TB'"),
        (("run", *machines.ON), "expected train and its flags"),
        (("run", *machines.ON, "--", "convert"), "'convert' stands after --"),
        (
            ("run", *machines.ON, "--", "train"),
            "--model_dir of the training is ''",
        ),
        (
            ("run", *machines.ON, "--", "train", "--model_dir=out"),
            "--model_dir of the training is 'out', expected model",
        ),
        (
            ("run", *machines.ON, "--", *machines.TRAINING, "--a=b\nc"),
            "has a line break",
        ),
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
