"""prepare.sh: what a machine installs, and what it refuses."""

from __future__ import annotations

import pathlib

import pytest

from tests.deploy import machines

IMAGE = "europe-docker.pkg.dev/my-project/images/efficientdet-aimmo:0.1.0-gpu"
KEY = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
TRAINING = "train\n--model_dir=model\n--hparams=a=1,b=x y"
FILES = {
    "efficientdet-train": "train.sh",
    "efficientdet-store": "store.sh",
    "efficientdet-unit": "efficientdet-aimmo.service",
    "efficientdet-store-unit": "efficientdet-store.service",
    "efficientdet-store-timer": "efficientdet-store.timer",
}


class Fresh(machines.Machine):
    """A machine of Google Cloud that was just made, with its metadata."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.metadata = folder / "metadata"
        self.metadata.mkdir()
        for key, name in FILES.items():
            content = (machines.GCP / name).read_text()
            (self.metadata / key).write_text(content)
        self.set("efficientdet-image", IMAGE)
        self.set("efficientdet-bucket", "gs://my-bucket/run1")
        product = folder / "sys/class/dmi/id/product_name"
        product.parent.mkdir(parents=True)
        product.write_text("Google Compute Engine\n")
        vendor = folder / "sys/bus/pci/devices/0000:00:04.0/vendor"
        vendor.parent.mkdir(parents=True)
        vendor.write_text("0x10de\n")
        # The server answers with 404 where there is nothing, to curl 22.
        self.add(
            "curl",
            f'url="${{!#}}"; file={self.metadata}/"${{url##*/}}"\n'
            '[[ "$*" != *gpgkey* ]] || exit 0\n'
            'cat "$file" 2>/dev/null || exit 22',
        )
        self.add("uname", "echo 6.17.0-1021-gcp")
        # Works from the installation of the modules on.
        self.add(
            "nvidia-smi",
            'grep -q linux-modules "$FAKE_CALLS" || exit 9\n'
            "echo Tesla V100-SXM2-16GB, 580.178.04",
        )
        for name in ("apt-get", "apt-cache", "modprobe", "snap"):
            self.add(name, self.recording(name))
        # Only root may give a folder to somebody else.
        self.add(
            "install",
            "for a; do [[ $a == --owner=* || $a == --group=* ]] ||"
            ' args+=("$a"); done\nexec /usr/bin/install "${args[@]}"',
        )
        self.add("gpg", f"echo fpr:::::::::{KEY}:")
        self.add("docker", self.recording("docker") + "\necho runtimes")
        self.add("nvidia-ctk", self.recording("nvidia-ctk"))

    def set(self, key: str, value: str) -> None:
        """Gives the machine a piece of metadata."""
        (self.metadata / key).write_text(value)

    def installed(self) -> list[str]:
        """Returns the packages that were asked for."""
        return [
            word
            for call in self.calls("apt-get")
            if "install" in call
            for word in call[call.index("install") :]
            if word != "install" and not word.startswith("-")
        ]


@pytest.fixture
def fresh(tmp_path: pathlib.Path) -> Fresh:
    return Fresh(tmp_path / "fresh")


def _settings(machine: machines.Machine, name: str) -> str:
    return (machine.folder / "etc/efficientdet-aimmo" / name).read_text()


def test_a_fresh_machine_is_made_ready(fresh: Fresh) -> None:
    done = fresh.run("prepare.sh")
    assert done.returncode == 0, done.stderr
    assert "driver: Tesla V100-SXM2-16GB, 580.178.04" in done.stdout
    assert "ready: machine.sh run starts a training." in done.stdout
    assert {
        "linux-modules-nvidia-580-server-gcp",
        "nvidia-headless-no-dkms-580-server",
        "nvidia-utils-580-server",
    } <= set(fresh.installed())
    # Volta is known to the closed modules alone.
    assert not any("open" in name for name in fresh.installed())
    assert ["auth", "configure-docker", "europe-docker.pkg.dev", "--quiet"] in (
        fresh.calls("gcloud")
    )
    assert ["pull", "--quiet", IMAGE] in fresh.calls("docker")
    assert _settings(fresh, "image") == f"{IMAGE}\n"
    assert _settings(fresh, "bucket") == "gs://my-bucket/run1\n"
    for key, name in FILES.items():
        folder = "opt/efficientdet-aimmo"
        if not name.endswith(".sh"):
            folder = "etc/systemd/system"
        path = fresh.folder / folder / name
        assert path.read_text() == (machines.GCP / name).read_text(), key
        assert bool(path.stat().st_mode & 0o100) == name.endswith(".sh")
    started = [c for c in fresh.calls("systemctl") if "start" in c]
    assert started == []


def test_a_machine_with_a_training_starts_it(fresh: Fresh) -> None:
    fresh.set("efficientdet-arguments", TRAINING)
    done = fresh.run("prepare.sh")
    assert done.returncode == 0, done.stderr
    assert _settings(fresh, "arguments") == f"{TRAINING}\n"
    assert fresh.calls("systemctl")[-3:] == [
        ["enable", "--now", "efficientdet-store.timer"],
        ["enable", "efficientdet-aimmo.service"],
        ["start", "--no-block", "efficientdet-aimmo.service"],
    ]


def test_a_second_start_installs_nothing_and_goes_on(fresh: Fresh) -> None:
    fresh.set("efficientdet-arguments", TRAINING)
    fresh.run("prepare.sh")
    fresh.add("docker", fresh.recording("docker") + "\necho nvidia")
    before = len(fresh.calls("apt-get"))
    restarts = fresh.calls("systemctl").count(["restart", "docker"])
    done = fresh.run("prepare.sh")
    assert done.returncode == 0, done.stderr
    assert len(fresh.calls("apt-get")) == before
    assert fresh.calls("systemctl").count(["restart", "docker"]) == restarts
    # One that runs is left alone.
    assert ["stop", "efficientdet-aimmo.service"] not in fresh.calls(
        "systemctl"
    )


def test_another_training_takes_the_place_of_the_first(fresh: Fresh) -> None:
    fresh.set("efficientdet-arguments", TRAINING)
    fresh.run("prepare.sh")
    fresh.set("efficientdet-arguments", TRAINING + "\n--num_epochs=2")
    fresh.run("prepare.sh")
    assert fresh.calls("systemctl")[-2:] == [
        ["stop", "efficientdet-aimmo.service"],
        ["start", "--no-block", "efficientdet-aimmo.service"],
    ]
    assert _settings(fresh, "arguments").endswith("--num_epochs=2\n")


def test_a_newer_kernel_is_restarted_into_once(fresh: Fresh) -> None:
    fresh.add("nvidia-smi", "exit 9")
    done = fresh.run("prepare.sh")
    assert done.returncode == 75
    assert "the machine restarts into it" in done.stdout
    assert fresh.calls("systemctl") == [["reboot"]]
    done = fresh.run("prepare.sh")
    assert done.returncode == 69
    assert "does not work after a restart either" in done.stderr
    assert fresh.calls("systemctl") == [["reboot"]]


def test_the_first_branch_that_there_is_is_taken(fresh: Fresh) -> None:
    fresh.add("apt-cache", '[[ "$*" == *535-server-gcp ]]')
    assert fresh.run("prepare.sh").returncode == 0
    assert "linux-modules-nvidia-535-server-gcp" in fresh.installed()
    assert "nvidia-utils-535-server" in fresh.installed()


def test_a_kernel_without_driver_packages_is_named(fresh: Fresh) -> None:
    fresh.add("apt-cache", "exit 100")
    fresh.add("uname", "echo 6.1.0-9-cloud-amd64")
    done = fresh.run("prepare.sh")
    assert done.returncode == 69
    assert "driver for the kernel 6.1.0-9-cloud-amd64" in done.stderr
    assert "--image-family=ubuntu-2404-lts-amd64" in done.stderr


def test_a_machine_without_a_gpu_is_named(fresh: Fresh) -> None:
    vendor = fresh.folder / "sys/bus/pci/devices/0000:00:04.0/vendor"
    vendor.write_text("0x1af4\n")
    done = fresh.run("prepare.sh")
    assert done.returncode == 69
    assert "The machine has no NVIDIA GPU." in done.stderr
    assert fresh.installed() == []


def test_nothing_is_installed_from_a_key_that_is_not_nvidias(
    fresh: Fresh, tmp_path: pathlib.Path
) -> None:
    # A machine that has no toolkit yet: nothing of this machine is found.
    (fresh.folder / "path/nvidia-ctk").unlink()
    fresh.add("gpg", "echo fpr:::::::::" + "0" * 40 + ":")
    done = fresh.run("prepare.sh")
    assert done.returncode == 69
    assert f"is not NVIDIA's {KEY}" in done.stderr
    assert "nvidia-container-toolkit" not in fresh.installed()
    fresh.add("gpg", f"echo fpr:::::::::{KEY}:")
    fresh.add(
        "apt-get",
        fresh.recording("apt-get")
        + '\n[[ "$*" != *toolkit* ]] ||'
        + ' { printf "#!/bin/sh\\n" >"$HOME/path/nvidia-ctk";'
        + ' chmod +x "$HOME/path/nvidia-ctk"; }',
    )
    assert fresh.run("prepare.sh").returncode == 0
    listed = (
        fresh.folder / "etc/apt/sources.list.d/nvidia-container-toolkit.list"
    )
    assert listed.read_text() == (
        "deb [signed-by=/usr/share/keyrings/nvidia-container-toolkit.gpg]"
        " https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /\n"
    )


def test_updates_leave_what_a_training_stands_on(fresh: Fresh) -> None:
    fresh.run("prepare.sh")
    text = (
        fresh.folder / "etc/apt/apt.conf.d/52efficientdet-aimmo"
    ).read_text()
    for part in ("linux-", "nvidia-", "libnvidia-", "docker", "containerd"):
        assert f'"{part}"' in text


def test_an_image_that_cannot_be_pulled_is_named(fresh: Fresh) -> None:
    fresh.add("docker", '[[ "$1" != pull ]]')
    done = fresh.run("prepare.sh")
    assert done.returncode == 69
    assert f"The image {IMAGE} cannot be pulled" in done.stderr
    assert "Artifact Registry Reader" in done.stderr


def test_a_machine_made_in_another_way_gets_driver_and_docker(
    fresh: Fresh,
) -> None:
    (fresh.metadata / "efficientdet-image").unlink()
    done = fresh.run("prepare.sh")
    assert done.returncode == 0, done.stderr
    assert "docker run --gpus all works" in done.stdout
    assert not [c for c in fresh.calls("docker") if "pull" in c]


def test_metadata_that_does_not_answer_is_no_missing_metadata(
    fresh: Fresh,
) -> None:
    fresh.add("curl", "exit 28")
    done = fresh.run("prepare.sh")
    assert done.returncode == 69
    assert "metadata cannot be read (curl ended with 28)" in done.stderr
