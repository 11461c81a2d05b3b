"""Records and folders that the training command refuses before it begins."""

from __future__ import annotations

import fcntl
import json
from typing import Any

import pytest
import tensorflow as tf

from hparams import serialize
from tests import train_cases
from tfrecord_tools import schema

Command = train_cases.Command
cmd = train_cases.cmd


# Records.


def test_a_pattern_that_matches_no_file(cmd: Command) -> None:
    pattern = f"{cmd.records}/test*.tfrecord"
    for flag in ("train_file_pattern", "val_file_pattern"):
        assert cmd.fault(65, f"--{flag}={pattern}") == (
            f"--{flag}={pattern} matches no file. Expected the shards that"
            " tfrecord_tools.convert wrote, as OUT/train*.tfrecord."
        )


@pytest.mark.parametrize("label", [0, 5])
def test_a_class_id_that_is_no_class(cmd: Command, label: int) -> None:
    def change(example: tf.train.Example) -> None:
        example.features.feature[schema.LABEL].int64_list.value[0] = label

    cmd.edit_records(change)
    said = cmd.fault(65)
    assert said.startswith(f"{cmd.shard('train')}, record 0 (source_id ")
    assert (
        f"class id {label}. Ids start at 1 (0 is background and no class) and"
        " the data set has 1=car, 2=truck, 3=bus, 4=pedestrian."
    ) in said


def test_a_shard_that_is_cut_off(cmd: Command) -> None:
    shard = cmd.shard("val")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    assert (
        f"{shard} has {len(whole) - 100} bytes, the manifest says {len(whole)}:"
        " the shard is cut off"
    ) in cmd.fault(65)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_shard_with_a_flipped_bit(cmd: Command, split: str) -> None:
    shard = cmd.shard(split)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    said = cmd.fault(65)
    assert said.startswith(f"{shard} is damaged after record ")
    assert said.endswith("Convert again with --overwrite.")


def test_a_manifest_of_another_data_set(cmd: Command) -> None:
    def rename(content: dict[str, Any]) -> None:
        for name, split in content["splits"].items():
            for i, shard in enumerate(split["shards"]):
                shard["name"] = f"{name}-{i:05}-of-00009.tfrecord"

    cmd.edit_manifest(rename)
    said = cmd.fault(65)
    assert "dataset.json belongs to another data set: it lists" in said
    assert "--train_file_pattern matches train-00000-of-00002.tfrecord" in said


def test_a_missing_manifest(cmd: Command) -> None:
    (cmd.records / schema.MANIFEST_NAME).unlink()
    assert "dataset.json is missing: the manifest that" in cmd.fault(65)


def test_an_empty_split(cmd: Command) -> None:
    def empty(content: dict[str, Any]) -> None:
        content["splits"]["val"]["images"] = 0

    cmd.edit_manifest(empty)
    assert cmd.fault(65) == "Split 'val' has no image."


def test_a_class_that_train_lacks(cmd: Command) -> None:
    def drop(content: dict[str, Any]) -> None:
        content["splits"]["train"]["objects"]["bus"] = 0
        content["splits"]["val"]["objects"]["bus"] = 7

    cmd.edit_manifest(drop)
    assert cmd.fault(65).startswith(
        "Class 'bus' has 7 objects in split 'val' and none in 'train': it can"
        " never be learned."
    )


def test_ground_truth_of_other_classes(cmd: Command) -> None:
    content = json.loads((cmd.records / "val.json").read_text())
    content["categories"][0]["name"] = "lorry"
    path = cmd.records / "other.json"
    path.write_text(json.dumps(content))
    assert f"those of {path} are lorry, truck, bus, pedestrian" in cmd.fault(
        65, f"--val_json_file={path}"
    )
    assert f"{cmd.records}/none.json: cannot be read" in cmd.fault(
        65, f"--val_json_file={cmd.records}/none.json"
    )


# The run's folder.


def test_a_folder_of_another_configuration(cmd: Command) -> None:
    first = cmd.start("--hparams=learning_rate=0.1")
    assert "Changed since the last run" not in first
    assert cmd.fault(73, "--hparams=learning_rate=0.2,gamma=2.0") == (
        f"--model_dir={cmd.model_dir} belongs to a run with another"
        " configuration (there -> here):\n"
        "  loss.gamma: 1.5 -> 2.0\n"
        "  optimizer.learning_rate: 0.1 -> 0.2\n"
        "Give the same settings to go on, or choose another folder."
    )
    # What does not alter a step may change, and is shown.
    again = cmd.start("--hparams=learning_rate=0.1,score_thresh=0.2")
    assert (
        "Changed since the last run: nms.score_thresh: 0.001 -> 0.2"
    ) in again
    saved = serialize.from_json((cmd.model_dir / "config.json").read_text())
    assert saved.nms.score_thresh == 0.2


def test_a_folder_of_other_records(cmd: Command) -> None:
    cmd.start()

    def other(content: dict[str, Any]) -> None:
        content["splits"]["train"]["shards"][0]["sha256"] = "0" * 64

    cmd.edit_manifest(other)
    said = cmd.fault(73)
    assert f"--model_dir={cmd.model_dir} belongs to a run on other" in said


def test_a_folder_whose_configuration_is_damaged(cmd: Command) -> None:
    cmd.start()
    (cmd.model_dir / "config.json").write_text("{")
    assert "config.json cannot be read as a configuration" in cmd.fault(73)


def test_a_folder_in_use(cmd: Command) -> None:
    cmd.start()
    with (cmd.model_dir / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cmd.fault(73) == (
            f"--model_dir={cmd.model_dir} is in use by another run. Wait for"
            " it, or choose another folder."
        )
    cmd.start()


def test_a_folder_that_cannot_be_written(cmd: Command) -> None:
    cmd.model_dir.write_text("a file")
    for path, reason in (
        (cmd.model_dir, "File exists"),
        (cmd.model_dir / "below", "Not a directory"),
    ):
        assert cmd.fault(74, f"--model_dir={path}") == (
            f"--model_dir={path} cannot be written ({reason}). Choose a folder"
            " that this user may write."
        )


def test_a_start_that_is_no_checkpoint(cmd: Command) -> None:
    assert cmd.fault(65, f"--ckpt={cmd.records}").startswith(
        f"The folder {cmd.records} holds 0 TensorFlow checkpoints, and no file"
        " 'checkpoint' names one. Expected a model_dir or checkpoint of this"
    )
