"""machine.sh: the commands that it gives to gcloud."""

from __future__ import annotations

import pathlib
import shlex

import pytest

from tests.deploy import machines

V100 = ("accelerator-types list", 0, "nvidia-tesla-v100")


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> machines.Machine:
    return machines.Machine(tmp_path / "here")


def _dry(machine: machines.Machine, *arguments: str) -> list[list[str]]:
    """Returns the commands that --dry_run prints, as a shell reads them."""
    verb, *rest = arguments
    done = machine.run("machine.sh", verb, "--dry_run", *rest)
    assert done.returncode == 0, done.stderr
    assert machine.calls("gcloud") == []
    return [shlex.split(line) for line in _lines(done.stdout)]


def _lines(text: str) -> list[str]:
    # A line break in an argument is $'\n' to bash, which shlex does not read.
    return text.replace("$'", "'").splitlines()


def _flags(command: list[str]) -> dict[str, str]:
    pairs = (a.partition("=") for a in command if a.startswith("--"))
    return {name: value for name, _, value in pairs}


def test_create_asks_for_the_gpu_and_the_bucket_first(
    machine: machines.Machine,
) -> None:
    listed, bucket, created = _dry(machine, *machines.CREATE)
    assert listed[:4] == ["gcloud", "compute", "accelerator-types", "list"]
    assert _flags(listed)["--filter"] == (
        "name=nvidia-tesla-v100 AND zone:europe-west4-a"
    )
    assert bucket[:5] == [
        "gcloud",
        "storage",
        "buckets",
        "describe",
        "gs://my-bucket",
    ]
    assert created[:5] == [
        "gcloud",
        "compute",
        "instances",
        "create",
        "efficientdet",
    ]


@pytest.mark.parametrize("gpu", ["v100", "t4"])
@pytest.mark.parametrize("spot", [False, True])
def test_create_makes_a_machine_with_one_gpu(
    machine: machines.Machine, gpu: str, spot: bool
) -> None:
    more = ("--spot",) if spot else ()
    created = _dry(machine, *machines.CREATE, f"--gpu={gpu}", *more)[-1]
    flags = _flags(created)
    assert flags["--accelerator"] == f"type=nvidia-tesla-{gpu},count=1"
    assert flags["--machine-type"] == "n1-standard-8"
    # A machine with a GPU cannot be moved while it runs.
    assert flags["--maintenance-policy"] == "TERMINATE"
    assert flags["--boot-disk-size"] == "100GB"
    assert flags["--project"] == "my-project"
    assert flags["--zone"] == "europe-west4-a"
    assert flags["--metadata"] == (
        f"efficientdet-image={machines.IMAGE},efficientdet-bucket=gs://my-bucket/run1"
    )
    if spot:
        assert flags["--provisioning-model"] == "SPOT"
        assert flags["--instance-termination-action"] == "STOP"
        assert "--restart-on-failure" not in flags
    else:
        assert flags["--provisioning-model"] == "STANDARD"
        assert "--instance-termination-action" not in flags


def test_create_hands_over_every_file_that_prepare_installs(
    machine: machines.Machine,
) -> None:
    created = _dry(machine, *machines.CREATE)[-1]
    pairs = _flags(created)["--metadata-from-file"].split(",")
    files = {
        k: pathlib.Path(v) for k, _, v in (p.partition("=") for p in pairs)
    }
    assert files.pop("startup-script") == machines.GCP / "prepare.sh"
    assert all(path.is_file() for path in files.values())
    text = (machines.GCP / "prepare.sh").read_text()
    installed = {
        words[1]
        for words in (line.split() for line in text.splitlines())
        if words[:1] == ["install_file"]
    }
    assert installed == set(files)


def test_run_hands_over_the_training_word_for_word(
    machine: machines.Machine,
) -> None:
    words = (
        *machines.TRAINING,
        "--hparams=a=1,b='x y'",
        "--val_file_pattern=a*",
    )
    done = machine.run("machine.sh", "run", *machines.ON, "--", *words)
    assert done.returncode == 0, done.stderr
    added, reached, started = machine.calls("gcloud")
    assert added[:4] == ["compute", "instances", "add-metadata", "efficientdet"]
    lines = "\n".join(words)
    assert _flags(added)["--metadata"] == (
        f"^<|>^efficientdet-arguments={lines}"
    )
    assert _flags(reached)["--command"] == "true"
    assert "startup-script) && sudo bash -c" in _flags(started)["--command"]


def test_run_may_name_another_image(machine: machines.Machine) -> None:
    image = f"--image={machines.IMAGE}2"
    done = machine.run(
        "machine.sh", "run", *machines.ON, image, "--", *machines.TRAINING
    )
    assert done.returncode == 0, done.stderr
    assert _flags(machine.calls("gcloud")[0])["--metadata"].endswith(
        f"<|>efficientdet-image={machines.IMAGE}2"
    )


def test_run_waits_for_a_machine_that_restarts(
    machine: machines.Machine,
) -> None:
    # Prepared at the second time: at the first it restarts for its driver.
    machine.add(
        "gcloud",
        machine.recording("gcloud")
        + '\ncase "$*" in *"sudo bash"*) ;; *) exit 0 ;; esac'
        + '\n[ -e "$HOME/again" ] || { touch "$HOME/again"; exit 75; }',
    )
    done = machine.run(
        "machine.sh", "run", *machines.ON, "--", *machines.TRAINING
    )
    assert done.returncode == 0, done.stderr
    assert "efficientdet restarts; waiting for it." in done.stderr
    commands = [_flags(c).get("--command", "") for c in machine.calls("gcloud")]
    assert sum("sudo bash" in c for c in commands) == 2


def test_run_gives_up_on_a_machine_that_does_not_answer(
    machine: machines.Machine,
) -> None:
    machine.answer("compute ssh", 255)
    done = machine.run(
        "machine.sh", "run", *machines.ON, "--", *machines.TRAINING
    )
    assert done.returncode == 69
    assert "try 20 of 20" in done.stderr
    assert "cannot be reached over SSH" in done.stderr
    assert len(machine.calls("sleep")) == 20


def test_tensorboard_is_reached_through_ssh_alone(
    machine: machines.Machine,
) -> None:
    (command,) = _dry(machine, "tensorboard", *machines.ON, "--port=7007")
    assert command[command.index("--") :] == [
        "--",
        "-t",
        "-L",
        "127.0.0.1:7007:localhost:6006",
    ]
    served = _flags(command)["--command"]
    assert "--network=host" in served
    assert "--host=127.0.0.1 --port=6006" in served
    assert "--publish" not in served


def test_delete_saves_first(machine: machines.Machine) -> None:
    saved, deleted = _dry(machine, "delete", *machines.ON)
    assert _flags(saved)["--command"].endswith("store.sh finish")
    assert deleted[:4] == ["gcloud", "compute", "instances", "delete"]
    (only,) = _dry(machine, "delete", *machines.ON, "--without_saving")
    assert only == deleted


def test_delete_keeps_a_machine_that_cannot_be_saved(
    machine: machines.Machine,
) -> None:
    machine.answer("compute ssh", 255)
    done = machine.run("machine.sh", "delete", *machines.ON)
    assert done.returncode == 69
    assert "was not deleted" in done.stderr
    assert "--without_saving" in done.stderr
    assert len(machine.calls("gcloud")) == 1


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("doctor", "docker run --rm --gpus=all"),
        ("logs", "journalctl --follow"),
        ("sync", "systemctl start efficientdet-store"),
    ],
)
def test_verbs_that_are_one_command_there(
    machine: machines.Machine, verb: str, expected: str
) -> None:
    (command,) = _dry(machine, verb, *machines.ON, "--iap")
    assert expected in _flags(command)["--command"]
    assert "--tunnel-through-iap" in command


def test_start_starts_the_machine(machine: machines.Machine) -> None:
    (command,) = _dry(machine, "start", *machines.ON, "--name=other")
    assert command[:5] == ["gcloud", "compute", "instances", "start", "other"]


def test_a_zone_without_the_gpu_is_named(machine: machines.Machine) -> None:
    done = machine.run("machine.sh", *machines.CREATE)
    assert done.returncode == 69
    assert "europe-west4-a has no nvidia-tesla-v100" in done.stderr
    assert "--filter=name=nvidia-tesla-v100" in done.stderr
    assert len(machine.calls("gcloud")) == 1


def test_a_bucket_that_is_not_there_comes_before_the_machine(
    machine: machines.Machine,
) -> None:
    # The zone has the GPU.
    machine.add(
        "gcloud",
        machine.recording("gcloud")
        + '\necho nvidia-tesla-v100; [[ "$*" != *"buckets describe"* ]]',
    )
    done = machine.run("machine.sh", *machines.CREATE)
    assert done.returncode == 69
    assert "gcloud ended with 1" in done.stderr
    assert not any("instances" in c for c in machine.calls("gcloud"))


def test_create_runs_what_dry_run_prints(machine: machines.Machine) -> None:
    printed = _dry(machine, *machines.CREATE)
    machine.answer(*V100)
    done = machine.run("machine.sh", *machines.CREATE)
    assert done.returncode == 0, done.stderr
    assert [["gcloud", *c] for c in machine.calls("gcloud")] == printed
