"""What the script asks of docker and of buildah."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import subprocess

import pytest

from tests.image import dockerfile

SCRIPT = dockerfile.ROOT / "scripts" / "build_image.sh"

# Writes down how it was called; docker's daemon answers if DAEMON says so.
FAKE = """#!/bin/sh
{ printf '%s' "${0##*/}"; printf '|%s' "$@"; echo; } >>"$CALLS"
case ${0##*/}-$1 in
    docker-version) [ "$DAEMON" = yes ] ;;
    docker-build) echo "kit $DOCKER_BUILDKIT" >>"$CALLS" ;;
    docker-image) echo 3000123456 ;;
    buildah-images) echo '3 GB' ;;
esac
"""


class Machine:
    """A PATH with what the script calls, and builders that note their calls."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.calls = folder / "calls"
        self.calls.touch()
        for name in ("dirname", "sed", "git"):
            found = shutil.which(name)
            assert found is not None
            (folder / name).symlink_to(found)

    def add(self, *names: str) -> None:
        """Installs a builder."""
        for name in names:
            (self._folder / name).write_text(FAKE)
            (self._folder / name).chmod(0o755)

    def run(
        self, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the script in a place of its own."""
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={
                "PATH": str(self._folder),
                "CALLS": str(self.calls),
                "HOME": os.environ.get("HOME", "/"),
                **environment,
            },
        )

    def build(self) -> list[str]:
        """Returns the words of the one build."""
        lines = self.calls.read_text().splitlines()
        (build,) = (
            x.split("|") for x in lines if x.split("|")[1:2] == ["build"]
        )
        return build


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def _pairs(words: list[str], flag: str) -> list[str]:
    return [b for a, b in itertools.pairwise(words) if a == flag]


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_docker_is_taken_where_its_daemon_answers(
    machine: Machine, variant: str
) -> None:
    machine.add("docker", "buildah")
    done = machine.run(variant, DAEMON="yes")
    assert (done.returncode, done.stderr) == (0, "")
    words = machine.build()
    assert words[0] == "docker"
    assert words[-1] == "."
    assert "kit 1" in machine.calls.read_text()
    assert _pairs(words, "--tag") == [f"efficientdet-aimmo:0.1.0-{variant}"]
    given = dict(x.split("=", 1) for x in _pairs(words, "--build-arg"))
    assert given["VARIANT"] == variant
    assert given["VERSION"] == "0.1.0"
    assert set(given) == {"VARIANT", "VERSION", "REVISION"}
    assert done.stdout.endswith(
        f"built efficientdet-aimmo:0.1.0-{variant}: 3000 MB\n"
    )


def test_buildah_is_taken_otherwise(machine: Machine) -> None:
    machine.add("docker", "buildah")
    done = machine.run("--tag=mine:1", DAEMON="no")
    assert (done.returncode, done.stderr) == (0, "")
    words = machine.build()
    assert words[:3] == ["buildah", "build", "--layers"]
    assert _pairs(words, "--tag") == ["mine:1"]
    assert "VARIANT=gpu" in words
    assert done.stdout.endswith("built mine:1: 3 GB\n")


def test_the_machines_own_settings_are_handed_on(machine: Machine) -> None:
    machine.add("docker", "buildah")
    machine.run(
        "cpu",
        DAEMON="yes",
        BUILDER="buildah",
        BASE_IMAGE="mirror/python:3.11",
        BUILD_FLAGS="--volume=/a:/b:ro --network=host",
    )
    words = machine.build()
    assert words[0] == "buildah"
    assert "BASE_IMAGE=mirror/python:3.11" in words
    assert words[-3:] == ["--volume=/a:/b:ro", "--network=host", "."]


def test_without_a_builder_it_says_what_to_install(machine: Machine) -> None:
    machine.add("docker")
    done = machine.run("cpu", DAEMON="no")
    assert done.returncode == 69
    assert "no docker whose daemon answers and no buildah" in done.stderr


@pytest.mark.parametrize(
    ("builder", "code", "message"),
    [
        ("docker", 69, "no daemon of docker answers"),
        ("buildah", 69, "BUILDER=buildah, which is not installed"),
        ("podman", 64, "BUILDER=podman is neither docker nor buildah"),
    ],
)
def test_a_builder_that_is_named_must_be_there(
    machine: Machine, builder: str, code: int, message: str
) -> None:
    done = machine.run("cpu", DAEMON="no", BUILDER=builder)
    assert done.returncode == code
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tpu"], "'tpu' is neither gpu, cpu nor --tag=NAME."),
        (["--tag="], "'--tag=' is neither"),
        (["cpu", "gpu"], "two variants: cpu and gpu. Give one."),
    ],
)
def test_what_it_does_not_know_it_refuses(
    machine: Machine, arguments: list[str], message: str
) -> None:
    machine.add("buildah")
    done = machine.run(*arguments)
    assert done.returncode == 64
    assert message in done.stderr
    assert machine.calls.read_text() == ""


def test_help_says_what_there_is(machine: Machine) -> None:
    done = machine.run("--help")
    assert done.returncode == 0
    assert "scripts/build_image.sh [gpu|cpu] [--tag=NAME]" in done.stdout
    assert "set -eu" not in done.stdout
