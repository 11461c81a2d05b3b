"""Machines that train, and the checkpoints that they leave."""

from __future__ import annotations

import pathlib
import shutil

from efficientdet_aimmo import whole
from tests.deploy import machines

BUCKET = "my-bucket/run1"


class Trainee:
    """A machine with settings, records in its bucket, and a model folder."""

    def __init__(
        self, folder: pathlib.Path, name: str, buckets: pathlib.Path
    ) -> None:
        self.machine = machines.Machine(folder, buckets)
        self.root = folder / "srv/efficientdet"
        self.model = self.root / "model"
        self.root.mkdir(parents=True)
        settings = folder / "etc/efficientdet-aimmo"
        settings.mkdir(parents=True)
        (settings / "bucket").write_text(f"gs://{BUCKET}\n")
        (settings / "owner").write_text(f"{name}\n")
        self.bucket = buckets / BUCKET

    def train(self, *steps: int, best: int | None = None) -> None:
        """Leaves what a run leaves that has done these steps."""
        for step in steps:
            save(self.model / "checkpoints", step)
        for old in (self.model / "checkpoints").glob("step-*"):
            if int(old.name[5:]) not in steps:
                whole.remove_folder(str(old))
        if best is not None:
            shutil.rmtree(self.model / "best", ignore_errors=True)
            save(self.model / "best", best)
        (self.model / "train").mkdir(exist_ok=True)
        with (self.model / "train/events").open("a") as file:
            file.write(f"to step {steps[-1]}\n")
        (self.model / "config.json").write_text("{}")

    def store(self, verb: str, code: int = 0, **more: str) -> str:
        """Runs store.sh and returns what it says."""
        done = self.machine.run("store.sh", verb, **more)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


def save(parent: pathlib.Path, step: int) -> None:
    def write(folder: str) -> None:
        for part in ("variables.index", "variables.data-00000-of-00001"):
            (pathlib.Path(folder) / part).write_text(f"{part} of {step}")

    whole.write_folder(str(parent / f"step-{step:08}"), {"step": step}, write)


def whole_steps(model: pathlib.Path, folder: str = "checkpoints") -> list[int]:
    """Returns the steps that look whole, after a look at every byte."""
    found = sorted((model / folder).glob("*/meta.json"))
    return [int(whole.read_folder(str(p.parent))["step"]) for p in found]
