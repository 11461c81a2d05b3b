"""Machines for the scripts of deploy/gcp: a PATH of commands that record."""

from __future__ import annotations

import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GCP = ROOT / "deploy" / "gcp"
_GCLOUD = pathlib.Path(__file__).with_name("fake_gcloud.py")
# -S -E: nothing of the environment's packages is looked for.
ON = ("--project=my-project", "--zone=europe-west4-a")
IMAGE = "europe-docker.pkg.dev/my-project/images/efficientdet-aimmo:0.1.0-gpu"
CREATE = (
    "create",
    *ON,
    "--gpu=v100",
    "--bucket=gs://my-bucket/run1",
    f"--image={IMAGE}",
)
TRAINING = ("train", "--mode=train_and_eval", "--model_dir=model")
_PYTHON = f"{shlex.quote(sys.executable)} -I -S"


class Machine:
    """A folder that stands for a machine, and commands that stand in for its.

    Attributes:
      folder: what the machine has.
      buckets: the folders that stand for buckets.
      environment: of the scripts.
    """

    def __init__(
        self, folder: pathlib.Path, buckets: pathlib.Path | None = None
    ) -> None:
        """Makes a machine that has gcloud, and systemctl that only records."""
        self.folder = folder
        self.buckets = buckets or folder / "buckets"
        self._path = folder / "path"
        self._calls = folder / "calls"
        self._path.mkdir(parents=True)
        self.buckets.mkdir(exist_ok=True)
        self._calls.touch()
        self.environment = {
            "PATH": f"{self._path}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "FAKE_CALLS": str(self._calls),
            "FAKE_BUCKETS": str(self.buckets),
            "EFFICIENTDET_PREFIX": str(folder),
            "EFFICIENTDET_ROOT": str(folder / "srv/efficientdet"),
            "EFFICIENTDET_SETTINGS": str(folder / "etc/efficientdet-aimmo"),
        }
        program = f'exec {_PYTHON} {shlex.quote(str(_GCLOUD))} "$@"'
        self.add("gcloud", self.recording("gcloud") + f"\n{program}")
        for name in ("systemctl", "sleep", "chown"):
            self.add(name, self.recording(name))

    @staticmethod
    def recording(name: str) -> str:
        """Returns the shell line that records a call."""
        return f"printf '%s\\037' {name} \"$@\" $'\\036' >>\"$FAKE_CALLS\""

    def answer(self, words: str, code: int, text: str = "") -> None:
        """Lets gcloud answer a call that contains words; all others are 0."""
        self.add(
            "gcloud",
            self.recording("gcloud")
            + f'\n[[ "$*" == *{shlex.quote(words)}* ]] || exit 0'
            + f"\necho {shlex.quote(text)}; exit {code}",
        )

    def add(self, name: str, script: str) -> None:
        """Gives the machine a command."""
        path = self._path / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def run(
        self, script: str, *arguments: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script of deploy/gcp; more is added to its environment."""
        return self._run(GCP / script, *arguments, **more)

    def call(self, name: str) -> subprocess.CompletedProcess[str]:
        """Runs one of the machine's own commands."""
        return self._run(self._path / name)

    def _run(
        self, program: pathlib.Path, *arguments: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = {**self.environment, **more}
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )

    def calls(self, name: str) -> list[list[str]]:
        """Returns the arguments of the calls of a command so far."""
        records = self._calls.read_text().split("\036\037")[:-1]
        calls = [record.split("\037")[:-1] for record in records]
        return [call[1:] for call in calls if call[0] == name]
