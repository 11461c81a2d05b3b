"""Damaged training records, as the command meets them before the first step."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from tests import train_cases

Command = train_cases.Command
cmd = train_cases.cmd
SKIP = "--bad_records=skip"


def _lengths(shard: pathlib.Path) -> list[int]:
    records = tf.data.TFRecordDataset(str(shard))
    return [len(record.numpy()) + 16 for record in records]


def test_a_shard_that_is_cut_off_in_the_middle(cmd: Command) -> None:
    shard = cmd.shard("train")
    lengths = _lengths(shard)
    assert len(lengths) == 16
    with shard.open("r+b") as file:
        file.truncate(sum(lengths[:11]) + 30)
    assert "the shard is cut off" in cmd.fault(65)
    # Five of 32 are lost: 15.6 %.
    assert cmd.fault(65, SKIP, "--bad_records_max_share=0.15") == (
        "5 of 32 records are bad, 15.62%; bad_records_max_share allows 15.00%."
        " Checkpoints are intact. Convert the images again, or allow more."
    )
    said = cmd.start(SKIP, "--bad_records_max_share=0.16")
    assert f"warning: {shard} is damaged after record 11: truncated" in said
    assert ": 5 skipped.\n" in said


def test_a_shard_that_ends_between_two_records(cmd: Command) -> None:
    shard = cmd.shard("train")
    with shard.open("r+b") as file:
        file.truncate(sum(_lengths(shard)[:15]))
    said = cmd.start(SKIP, "--bad_records_max_share=0.04")
    assert (
        f"warning: {shard} has 15 records, the manifest says 16: 1 skipped.\n"
    ) in said


def test_a_flipped_bit_loses_what_is_behind_it(cmd: Command) -> None:
    shard = cmd.shard("train")
    lengths = _lengths(shard)
    content = bytearray(shard.read_bytes())
    content[sum(lengths[:13]) + 99] ^= 1
    shard.write_bytes(content)
    said = cmd.fault(65)
    assert said.startswith(f"{shard} is damaged after record 13: corrupted")
    said = cmd.start(SKIP, "--bad_records_max_share=0.1")
    assert f"warning: {shard} is damaged after record 13: corrupted" in said
    assert ": 3 skipped.\n" in said


def _rewrite(cmd: Command, numbers: set[int]) -> pathlib.Path:
    """Writes a shard anew, some of its records no examples."""
    shard = cmd.shard("train")
    records = [r.numpy() for r in tf.data.TFRecordDataset(str(shard))]
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for i, record in enumerate(records):
            damaged = b"\xff" * len(record)
            writer.write(damaged if i in numbers else record)
    return shard


def test_records_that_are_no_examples(cmd: Command) -> None:
    shard = _rewrite(cmd, {3, 8})
    said = cmd.fault(65)
    assert said.startswith(f"{shard}, record 3 cannot be parsed: Could not")
    said = cmd.start(SKIP, "--bad_records_max_share=0.1")
    for number in (3, 8):
        assert f"warning: {shard}, record {number} cannot be parsed: " in said
    assert said.count(": 1 skipped.\n") == 2
    assert f"warning: {shard} is whole, but not the shard" in said
    assert "its checksum differs: used.\n" in said


def test_sound_records_are_no_reason_to_warn(cmd: Command) -> None:
    assert "warning" not in cmd.start(SKIP)


def test_objects_that_are_none_are_no_bad_records(cmd: Command) -> None:
    def change(example: tf.train.Example) -> None:
        example.features.feature["image/object/class/label"].int64_list.value[
            0
        ] = 9

    cmd.edit_records(change)
    assert "class id 9." in cmd.fault(65, SKIP, "--bad_records_max_share=1")


def test_damaged_validation_records_are_never_skipped(cmd: Command) -> None:
    shard = cmd.shard("val")
    content = shard.read_bytes()
    shard.write_bytes(content[:-9])
    said = cmd.fault(65, SKIP, "--bad_records_max_share=1")
    assert said.startswith(f"{shard} has {len(content) - 9} bytes")
