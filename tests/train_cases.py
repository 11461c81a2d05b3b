"""The training command as far as to its first step, on records to damage."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import tensorflow as tf

from efficientdet_aimmo import train
from efficientdet_aimmo.training import loop, model_dir
from efficientdet_aimmo.training import run as run_lib
from hparams import config as config_lib
from tfrecord_tools import command, schema


class Started(Exception):
    """All checks have passed, and training would begin."""


class Command(NamedTuple):
    """The command on a folder of records, as far as to the first step."""

    records: pathlib.Path
    model_dir: pathlib.Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *more: str) -> int:
        return command.run(
            train.main,
            train.FLAGS,
            "",
            [
                "train",
                "--mode=train_and_eval",
                f"--train_file_pattern={self.records}/train*.tfrecord",
                f"--val_file_pattern={self.records}/val*.tfrecord",
                "--model_name=efficientdet-d0",
                f"--model_dir={self.model_dir}",
                "--train_batch_size=4",
                "--allow_cpu",
                *more,
            ],
        )

    def fault(self, code: int, *more: str) -> str:
        """Runs the command, which must fail; returns what it says."""
        assert self.run(*more) == code
        shown = self.capsys.readouterr().err
        assert shown.startswith("error: ")
        assert "Traceback" not in shown
        return shown.removeprefix("error: ").rstrip("\n")

    def start(self, *more: str) -> str:
        """Runs the command to the first step; returns what it prints."""
        with pytest.raises(Started):
            self.run(*more)
        return self.capsys.readouterr().out

    def edit_manifest(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Rewrites the records' manifest."""
        path = self.records / schema.MANIFEST_NAME
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def shard(self, split: str) -> pathlib.Path:
        return min(self.records.glob(f"{split}-*.tfrecord"))

    def edit_records(self, change: Callable[[tf.train.Example], None]) -> None:
        """Rewrites the records of the first training shard."""
        path = str(self.shard("train"))
        examples = [
            tf.train.Example.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(path)
        ]
        with tf.io.TFRecordWriter(path) as writer:
            for example in examples:
                change(example)
                writer.write(example.SerializeToString())
        size = pathlib.Path(path).stat().st_size

        def correct(content: dict[str, Any]) -> None:
            content["splits"]["train"]["shards"][0]["bytes"] = size

        self.edit_manifest(correct)


@pytest.fixture
def cmd(
    street_records: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """The command on a copy of the records, which a test may damage."""

    def begin(config: config_lib.Config, run: run_lib.Run) -> None:
        # Training does this first.
        model_dir.save_config(run.model_dir, config, run.train.manifest)
        raise Started

    monkeypatch.setattr(loop, "train", begin)
    shutil.copytree(street_records, tmp_path / "records")
    capsys.readouterr()
    return Command(tmp_path / "records", tmp_path / "model", capsys)
