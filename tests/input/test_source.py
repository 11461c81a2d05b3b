"""Records that do not fit their manifest or break the rules: each message."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import pytest

from efficientdet_aimmo.data import source as source_lib
from tests.input import made_records
from tfrecord_tools import command, schema

BOX = (0.1, 0.2, 0.5, 0.6)
FLAG = "train_file_pattern"


def _record(
    source_id: int,
    label: int = 1,
    box: made_records.Box = BOX,
    count: int = 1,
) -> made_records.Record:
    return made_records.Record(source_id, [box] * count, [label] * count)


def _good(folder: pathlib.Path) -> schema.Manifest:
    """Writes two shards for train and one for val."""
    return made_records.write(
        folder,
        {
            "train": [[_record(1), _record(2, 2)], [_record(3, count=3)]],
            "val": [[_record(4), _record(5, 2)]],
        },
    )


def _open(folder: pathlib.Path, split: str = "train") -> source_lib.Source:
    return source_lib.open_source(f"{folder}/{split}*.tfrecord", FLAG)


def _fault(call: Callable[[], object]) -> str:
    """Returns the message of the data error that the call raises."""
    with pytest.raises(command.UserError) as caught:
        call()
    assert int(caught.value.exit_code) == 65
    return str(caught.value)


def _replaced(
    folder: pathlib.Path, manifest: schema.Manifest, **changes: object
) -> None:
    """Saves the manifest with changes to the first shard of train."""
    split = manifest.splits["train"]
    shard = dataclasses.replace(split.shards[0], **changes)  # type: ignore[arg-type]
    split = dataclasses.replace(split, shards=(shard, *split.shards[1:]))
    splits = {**manifest.splits, "train": split}
    made_records.save(folder, dataclasses.replace(manifest, splits=splits))


def _shards(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("train*.tfrecord"))


def test_good_records_pass(tmp_path: pathlib.Path) -> None:
    manifest = _good(tmp_path)
    train, val = _open(tmp_path), _open(tmp_path, "val")
    assert train.files == tuple(map(str, _shards(tmp_path)))
    assert (train.split, val.split) == ("train", "val")
    assert train.classes == ("car", "bus")
    assert train.counts == manifest.splits["train"]
    assert train.counts.max_boxes_per_image == 3
    source_lib.check_records(train)
    source_lib.check_records(val)
    source_lib.check_pair(train, val)
    source_lib.check_pair(train, None)


def test_converted_records_pass(street_records: pathlib.Path) -> None:
    train, val = _open(street_records), _open(street_records, "val")
    source_lib.check_records(train)
    source_lib.check_pair(train, val)


def test_pattern_that_matches_nothing(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    message = _fault(lambda: _open(tmp_path, "training"))
    assert f"--{FLAG}={tmp_path}/training*.tfrecord matches no file" in message
    assert "tfrecord_tools.convert" in message


def test_missing_manifest(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    (tmp_path / schema.MANIFEST_NAME).unlink()
    message = _fault(lambda: _open(tmp_path))
    assert f"{tmp_path}/dataset.json is missing" in message
    assert "convert the annotations" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not a data set's manifest"),
        ('{"format_version": 99}', "format version 99"),
    ],
)
def test_unreadable_manifest(
    tmp_path: pathlib.Path, text: str, expected: str
) -> None:
    _good(tmp_path)
    (tmp_path / schema.MANIFEST_NAME).write_text(text)
    message = _fault(lambda: _open(tmp_path))
    assert expected in message
    assert str(tmp_path / schema.MANIFEST_NAME) in message


def test_manifest_of_another_data_set(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    made_records.write(other, {"train": [[_record(1)]]})
    (other / schema.MANIFEST_NAME).replace(tmp_path / schema.MANIFEST_NAME)
    message = _fault(lambda: _open(tmp_path))
    assert "dataset.json belongs to another data set" in message
    assert "train-00000-of-00001.tfrecord" in message
    assert "train-00000-of-00002.tfrecord" in message


def test_missing_shard(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    _shards(tmp_path)[1].unlink()
    message = _fault(lambda: _open(tmp_path))
    assert "matches 1 files, the manifest's split 'train' has 2" in message
    assert "not matched: train-00001-of-00002.tfrecord" in message
    assert "Not in the manifest: none" in message


def test_pattern_over_two_splits(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    message = _fault(lambda: _open(tmp_path, ""))
    assert "Not in the manifest: val-00000-of-00001.tfrecord" in message


def test_truncated_shard(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    shard = _shards(tmp_path)[0]
    content = shard.read_bytes()
    shard.write_bytes(content[:-7])
    message = _fault(lambda: _open(tmp_path))
    assert f"{shard} has {len(content) - 7} bytes" in message
    assert f"the manifest says {len(content)}" in message


def test_shard_cut_off_before_the_manifest_was_written(
    tmp_path: pathlib.Path,
) -> None:
    manifest = _good(tmp_path)
    shard = _shards(tmp_path)[0]
    content = shard.read_bytes()[:-7]
    shard.write_bytes(content)
    _replaced(tmp_path, manifest, bytes=len(content))
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    assert f"{shard} is damaged" in message


@pytest.mark.parametrize("place", [3, 200])
def test_flipped_bit(tmp_path: pathlib.Path, place: int) -> None:
    _good(tmp_path)
    shard = _shards(tmp_path)[1]
    content = bytearray(shard.read_bytes())
    content[place] ^= 0x10  # in the length, or in the record
    shard.write_bytes(content)
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    assert f"{shard} is damaged after record 0" in message
    assert "--overwrite" in message


@pytest.mark.parametrize("label", [0, 3, -1])
def test_class_id_out_of_range(tmp_path: pathlib.Path, label: int) -> None:
    made_records.write(tmp_path, {"train": [[_record(8), _record(9, label)]]})
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    shard = _shards(tmp_path)[0]
    assert f"{shard}, record 1 (source_id 9): class id {label}." in message
    assert "Ids start at 1" in message
    assert "1=car, 2=bus" in message


@pytest.mark.parametrize(
    "box",
    [
        (0.5, 0.2, 0.1, 0.6),  # upside down
        (0.1, 0.6, 0.5, 0.6),  # no width
        (-0.1, 0.2, 0.5, 0.6),
        (0.1, 0.2, 0.5, 1.5),
        (0.1, 0.2, float("nan"), 0.6),
    ],
)
def test_box_that_is_none(
    tmp_path: pathlib.Path, box: made_records.Box
) -> None:
    record = made_records.Record(9, [BOX, box], [1, 2])
    made_records.write(tmp_path, {"train": [[record]]})
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    assert f"{_shards(tmp_path)[0]}, record 0 (source_id 9): box 1" in message
    assert "expected min below max and all within 0 and 1" in message


def test_box_that_fills_the_image_passes(tmp_path: pathlib.Path) -> None:
    whole = _record(1, box=(0.0, 0.0, 1.0, 1.0))
    made_records.write(tmp_path, {"train": [[whole]]})
    source_lib.check_records(_open(tmp_path))


def test_more_labels_than_boxes(tmp_path: pathlib.Path) -> None:
    record = made_records.Record(9, [BOX], [1, 2])
    made_records.write(tmp_path, {"train": [[record]]})
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    assert "record 0 (source_id 9): 1 boxes but 2 class ids" in message


def test_count_of_records_differs(tmp_path: pathlib.Path) -> None:
    manifest = _good(tmp_path)
    _replaced(tmp_path, manifest, records=7)
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    assert f"{_shards(tmp_path)[0]} has 2 records" in message
    assert "the manifest says 7" in message


def test_most_boxes_differ(tmp_path: pathlib.Path) -> None:
    manifest = _good(tmp_path)
    train = manifest.splits["train"]
    splits = {
        **manifest.splits,
        "train": dataclasses.replace(train, max_boxes_per_image=2),
    }
    made_records.save(tmp_path, dataclasses.replace(manifest, splits=splits))
    message = _fault(lambda: source_lib.check_records(_open(tmp_path)))
    assert "up to 3 boxes, the manifest says 2" in message


def _with_counts(
    source: source_lib.Source, **changes: object
) -> source_lib.Source:
    """Returns a source whose split has other counts."""
    counts = dataclasses.replace(source.counts, **changes)  # type: ignore[arg-type]
    splits = {**source.manifest.splits, source.split: counts}
    manifest = dataclasses.replace(source.manifest, splits=splits)
    return dataclasses.replace(source, manifest=manifest)


def test_empty_split(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    train, val = _open(tmp_path), _open(tmp_path, "val")
    empty_val = _with_counts(val, images=0)
    message = _fault(lambda: source_lib.check_pair(train, empty_val))
    assert message == "Split 'val' has no image."
    empty_train = _with_counts(train, images=0)
    message = _fault(lambda: source_lib.check_pair(empty_train, None))
    assert message == "Split 'train' has no image."


def test_class_of_val_that_train_lacks(tmp_path: pathlib.Path) -> None:
    cars = [_record(1), _record(2)]
    both = [_record(3), _record(4, 2, count=2)]
    made_records.write(tmp_path, {"train": [cars], "val": [both]})
    train, val = _open(tmp_path), _open(tmp_path, "val")
    message = _fault(lambda: source_lib.check_pair(train, val))
    assert "Class 'bus' has 2 objects in split 'val'" in message
    assert "none in 'train'" in message
    # The other way round is a class that is not measured, no fault.
    source_lib.check_pair(val, train)


def test_other_classes_in_val(tmp_path: pathlib.Path) -> None:
    _good(tmp_path)
    train, val = _open(tmp_path), _open(tmp_path, "val")
    manifest = dataclasses.replace(val.manifest, classes=("bus", "car"))
    other = dataclasses.replace(val, manifest=manifest)
    message = _fault(lambda: source_lib.check_pair(train, other))
    assert "the classes car, bus" in message
    assert "the validation records bus, car" in message


def test_other_shard_of_the_same_size_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    manifest = _good(tmp_path)
    split = manifest.splits["train"]
    other = dataclasses.replace(split.shards[0], sha256="0" * 64)
    changed = dataclasses.replace(split, shards=(other, split.shards[1]))
    splits = {**manifest.splits, "train": changed}
    made_records.save(tmp_path, dataclasses.replace(manifest, splits=splits))
    with pytest.raises(command.UserError, match="its checksum differs"):
        source_lib.check_records(_open(tmp_path))
