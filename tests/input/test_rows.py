"""A record that cannot be used: its row is a copy of another of the batch."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.data import decode, exam, pipeline, rows
from efficientdet_aimmo.data import source as source_lib
from hparams import config, override
from tests.input import made_records
from tfrecord_tools import command, schema

NUM_RECORDS = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def _image(i: int) -> bytes:
    return made_records.jpeg(np.roll(PIXELS, i, axis=1))


# How a JPEG may be damaged that is whole as a record.
DAMAGE = {
    "cut": _image(0)[:900],
    "random": np.random.default_rng(1).bytes(2000),
    "random after the header": _image(0)[:20] + bytes(range(256)),
    "empty": b"",
    "text": b"no image",
}


def _record(i: int, encoded: bytes | None = None) -> made_records.Record:
    box = (0.1, 0.1, 0.5, 0.1 + 0.1 * (i + 1))
    image = _image(i) if encoded is None else encoded
    return made_records.Record(i, [box], [1], encoded=image)


def _write(
    folder: pathlib.Path, damage: dict[int, bytes], num_shards: int = 1
) -> source_lib.Source:
    records = [_record(i, damage.get(i)) for i in range(NUM_RECORDS)]
    shards = [records[i::num_shards] for i in range(num_shards)]
    made_records.write(folder, {"train": shards})
    return source_lib.find_source(f"{folder}/train*", "train_file_pattern")


def _batches(
    source: source_lib.Source, start_step: int = 0, **more: object
) -> list[pipeline.TrainBatch]:
    settings = {
        "image_size": (64, 64),
        "train_batch_size": 4,
        "num_epochs": 1,
        "shuffle_buffer": 1,
        "jitter_min": 1.0,
        "jitter_max": 1.0,
        "input_rand_hflip": False,
    }
    batches = pipeline.build_train_dataset(
        source.files,
        override.override(config.Config(), {**settings, **more}),
        num_records=source.num_records,
        max_boxes=1,
        start_step=start_step,
    )
    return [
        pipeline.TrainBatch(*(part.numpy() for part in batch))
        for batch in batches
    ]


@pytest.mark.parametrize(
    ("kept", "source"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 2, 3], [0, 0, 2, 3]),
        ([0], [0, 0, 0, 0]),
        ([1, 2], [2, 1, 2, 2]),  # the first row's neighbour is at the end
        ([3], [3, 3, 3, 3]),
    ],
)
def test_a_missing_row_is_the_nearest_before_it(
    kept: list[int], source: list[int]
) -> None:
    images = tf.random.stateless_normal([len(kept), 2, 3], [0, 1])
    names = tf.constant([str(i) for i in kept])
    (filled, filled_names), is_copy = rows.fill(
        [images, names], tf.constant(kept), 4
    )
    assert filled_names.numpy().tolist() == [str(i).encode() for i in source]
    places = [kept.index(i) for i in source]
    np.testing.assert_array_equal(filled, images.numpy()[places])
    expected = [i != row for row, i in enumerate(source)]
    assert is_copy.numpy().tolist() == expected


def test_damaged_images_keep_their_places(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sound").mkdir()
    (tmp_path / "bad").mkdir()
    sound = _batches(_write(tmp_path / "sound", {}))
    damaged = dict(zip((1, 2, 4, 6, 7), DAMAGE.values(), strict=True))
    source = _write(tmp_path / "bad", damaged)
    # An epoch is two batches; the second begins anew with its last good row.
    copied = ([0, 0, 0, 3], [1, 1, 1, 1])
    found = _batches(source)
    for step in (0, 1):
        numbers = range(4 * step, 4 * step + 4)
        assert found[step].bad.tolist() == [
            f"{source.files[0]}#{i}".encode() if i in damaged else b""
            for i in numbers
        ]
        for part, good in zip(found[step][:-1], sound[step][:-1], strict=True):
            np.testing.assert_array_equal(part, good[copied[step]])
    # From a later step on, as if the earlier ones had been taken.
    for part, again in zip(found[1], _batches(source, 1)[0], strict=True):
        np.testing.assert_array_equal(part, again)
    for number in damaged:
        assert rows.place_of(f"{source.files[0]}#{number}") == (
            source.files[0],
            number,
        )
        bad = exam.Examiner().examine(source.files[0], number)
        assert str(bad).startswith(
            f"image {number} (train-00000-of-00001.tfrecord, record {number})"
            " cannot be decoded: "
        )


@pytest.mark.parametrize("start_step", [0, 3])
def test_skipped_records_are_not_decoded(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, start_step: int
) -> None:
    decoded: list[bytes] = []
    decode_image = decode.decode_image

    def note(encoded: tf.Tensor) -> tf.Tensor:
        decoded.append(encoded.numpy())
        return encoded

    monkeypatch.setattr(
        decode,
        "decode_image",
        lambda e: decode_image(tf.py_function(note, [e], tf.string)),
    )
    damaged = {1: b"no image", 6: b"none either"}
    images = [damaged.get(i, _image(i)) for i in range(NUM_RECORDS)]
    source = _write(tmp_path, damaged)
    # Two epochs in one order, one of them to fill a last batch.
    batches = _batches(source, start_step, train_batch_size=2)
    assert len(batches) == NUM_RECORDS - start_step
    assert sorted(decoded) == sorted([*images, *images][2 * start_step :])


def test_a_batch_without_a_good_row(tmp_path: pathlib.Path) -> None:
    source = _write(tmp_path, dict.fromkeys(range(4), b""))
    first, second, *_ = _batches(source)
    assert all(first.bad)
    assert not first.images.any()
    assert not first.num_boxes.any()
    assert not any(second.bad)


def _cut(source: source_lib.Source, file: int, end: int) -> None:
    path = pathlib.Path(source.files[file])
    path.write_bytes(path.read_bytes()[:end])


def _start_of(source: source_lib.Source, file: int, number: int) -> int:
    """Returns the byte that a record begins at."""
    position = 0
    with open(source.files[file], "rb") as content:
        for _ in range(number):
            content.seek(position)
            length = int.from_bytes(content.read(8), "little")
            position += length + 16
    return position


@pytest.mark.parametrize("into", [0, 40])
def test_a_shard_cut_off_keeps_its_places(
    tmp_path: pathlib.Path, into: int
) -> None:
    # Shards hold 0 2 4 6 and 1 3 5 7; records of both come in turn.
    source = _write(tmp_path, {}, num_shards=2)
    sound = _batches(source)
    ids = np.concatenate([batch.source_ids for batch in sound])[:8].tolist()
    _cut(source, 1, _start_of(source, 1, 1) + into)
    found = _batches(source)
    for batch, expected in zip(found, sound, strict=True):
        lost = [int(i) in (3, 5, 7) for i in expected.source_ids]
        assert [text != b"" for text in batch.bad] == lost
        is_there = ~np.array(lost)
        for part, good in zip(batch[:-1], expected[:-1], strict=True):
            np.testing.assert_array_equal(part[is_there], good[is_there])
    assert sorted(ids) == [str(i).encode() for i in range(8)]
    examiner = exam.Examiner()
    why = "truncated record at" if into == 40 else "the file ends there"
    for number in (3, 1, 2):
        bad = examiner.examine(source.files[1], number)
        assert str(bad).startswith(
            f"an image (train-00001-of-00002.tfrecord, record {number}) cannot"
            f" be read: the shard breaks off after record 1 ({why}"
        )
    assert examiner.examine(source.files[1], 0) is None


@pytest.mark.parametrize("garbage", [b"nothing", b"\xff" * 999, b""])
def test_a_record_that_is_no_example(
    tmp_path: pathlib.Path, garbage: bytes
) -> None:
    source = _write(tmp_path, {})
    with tf.io.TFRecordWriter(source.files[0]) as writer:
        for i in range(NUM_RECORDS):
            writer.write(garbage if i == 1 else _record(i).serialize())
    first = _batches(source)[0]
    assert first.source_ids.tolist() == [b"0", b"0", b"2", b"3"]
    bad = exam.Examiner().examine(source.files[0], 1)
    assert "record 1) cannot be parsed: " in str(bad)
    assert len(str(bad)) < 200
    with pytest.raises(command.UserError, match=r"record 1\) cannot be parsed"):
        _eval(source)


def _eval(source: source_lib.Source) -> list[pipeline.EvalBatch]:
    batches = pipeline.build_eval_dataset(
        source.files, override.override(config.Config(), {"image_size": 64}), 3
    )
    return list(exam.whole(batches, source.files))


def test_where_a_model_is_measured_a_bad_record_is_named(
    tmp_path: pathlib.Path,
) -> None:
    source = _write(tmp_path, {5: DAMAGE["cut"]}, num_shards=2)
    with pytest.raises(command.UserError) as caught:
        _eval(source)
    assert caught.value.exit_code == 65
    assert str(caught.value).startswith(
        "Image 5 (train-00001-of-00002.tfrecord, record 2) cannot be decoded: "
    )
    _cut(source, 0, 1000)
    pathlib.Path(source.files[1]).unlink()
    with pytest.raises(command.UserError, match="train-00000") as caught:
        _eval(source)
    assert caught.value.exit_code == 65


def test_a_manifest_says_how_many_records_a_file_has(
    tmp_path: pathlib.Path,
) -> None:
    source = _write(tmp_path, {}, num_shards=3)
    assert source.num_records == (3, 3, 2)
    assert schema.MANIFEST_NAME in {p.name for p in tmp_path.iterdir()}
