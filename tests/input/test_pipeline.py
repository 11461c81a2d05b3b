"""Batches: the same ones every time, each image once an epoch."""

from __future__ import annotations

import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.data import decode, pipeline
from efficientdet_aimmo.data import source as source_lib
from hparams import config, override
from tests.input import made_records

BATCH = 5
NUM_IMAGES = 32
EPOCHS = 2
BOXES = ((0.1, 0.2, 0.5, 0.6), (0.3, 0.1, 0.9, 0.4), (0.0, 0.0, 1.0, 1.0))


def _config(**other: object) -> config.Config:
    values = {
        "image_size": (32, 48),
        "train_batch_size": BATCH,
        "num_epochs": EPOCHS,
        "shuffle_buffer": 8,
        "seed": 3,
    }
    return override.override(config.Config(), {**values, **other})


@pytest.fixture(scope="module")
def street(street_records: pathlib.Path) -> source_lib.Source:
    return source_lib.open_source(
        f"{street_records}/train*.tfrecord", "train_file_pattern"
    )


def _batches(
    source: source_lib.Source,
    settings: config.Config,
    start_step: int,
    count: int,
) -> list[pipeline.TrainBatch]:
    dataset = pipeline.build_train_dataset(
        source.files,
        settings,
        num_records=source.num_records,
        max_boxes=source.counts.max_boxes_per_image,
        start_step=start_step,
    )
    return [
        pipeline.TrainBatch(*(part.numpy() for part in batch))
        for batch in dataset.take(count)
    ]


@pytest.fixture(scope="module")
def straight(street: source_lib.Source) -> list[pipeline.TrainBatch]:
    """Returns all batches of two epochs: 64 images, 13 steps."""
    return _batches(street, _config(), 0, 13)


def _assert_equal(
    found: list[pipeline.TrainBatch], expected: list[pipeline.TrainBatch]
) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name, first, second in zip(a._fields, a, b, strict=True):
            np.testing.assert_array_equal(first, second, err_msg=name)


def _made(
    folder: pathlib.Path,
    records: list[made_records.Record],
    settings: config.Config,
    start_step: int,
    count: int,
) -> list[pipeline.TrainBatch]:
    """Returns batches of records written as one shard."""
    made_records.write(folder, {"train": [records]})
    source = source_lib.open_source(f"{folder}/train*", "train_file_pattern")
    return _batches(source, settings, start_step, count)


def test_batches_have_documented_shapes(
    street: source_lib.Source, straight: list[pipeline.TrainBatch]
) -> None:
    most = street.counts.max_boxes_per_image
    for batch in straight:
        assert batch.images.shape == (BATCH, 32, 48, 3)
        assert batch.images.dtype == np.float32
        assert batch.boxes.shape == (BATCH, most, 4)
        assert batch.boxes.dtype == np.float32
        assert batch.classes.shape == (BATCH, most)
        assert batch.classes.dtype == np.int32
        assert (batch.num_boxes <= most).all()
        is_object = np.arange(most) < batch.num_boxes[:, None]
        assert not batch.boxes[~is_object].any()
        boxes = batch.boxes[is_object]
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes >= 0).all()
        assert (boxes <= [32, 48, 32, 48]).all()
        assert set(batch.classes[is_object]) <= {0, 1, 2, 3}


def test_dataset_has_static_shapes(street: source_lib.Source) -> None:
    dataset = pipeline.build_train_dataset(
        street.files,
        _config(),
        num_records=[16, 16],
        max_boxes=40,
        start_step=0,
    )
    spec = dataset.element_spec
    assert spec.images.shape == (BATCH, 32, 48, 3)
    assert spec.boxes.shape == (BATCH, 40, 4)
    assert spec.classes.shape == (BATCH, 40)


def test_every_image_comes_once_an_epoch(
    straight: list[pipeline.TrainBatch],
) -> None:
    ids = np.concatenate([batch.source_ids for batch in straight]).tolist()
    first, second = ids[:NUM_IMAGES], ids[NUM_IMAGES : 2 * NUM_IMAGES]
    assert len(set(first)) == NUM_IMAGES
    assert set(first) == set(second)
    assert first != second  # another order
    # The last batch is filled from an epoch that nobody asked for.
    assert len(ids) == 13 * BATCH == 2 * NUM_IMAGES + 1


def test_the_same_seed_gives_the_same_batches(
    street: source_lib.Source, straight: list[pipeline.TrainBatch]
) -> None:
    _assert_equal(_batches(street, _config(), 0, 3), straight[:3])
    other = _batches(street, _config(seed=4), 0, 1)[0]
    assert (other.source_ids != straight[0].source_ids).any()


@pytest.mark.parametrize("start_step", [1, 6, 7, 12])
def test_a_later_start_gives_the_rest_of_the_run(
    street: source_lib.Source,
    straight: list[pipeline.TrainBatch],
    start_step: int,
) -> None:
    # Step 6 holds the last two images of one epoch and three of the next.
    count = min(3, 13 - start_step)
    found = _batches(street, _config(), start_step, count)
    _assert_equal(found, straight[start_step : start_step + count])


def test_an_image_differs_between_epochs_with_jitter_alone(
    street: source_lib.Source, straight: list[pipeline.TrainBatch]
) -> None:
    def pairs(batches: list[pipeline.TrainBatch]) -> list[bool]:
        """Returns for each image whether both epochs show it alike."""
        seen: dict[bytes, np.ndarray] = {}
        alike = []
        for batch in batches:
            for name, image in zip(batch.source_ids, batch.images, strict=True):
                if name in seen:
                    alike.append(bool(np.array_equal(seen[name], image)))
                seen[name] = image
        return alike

    jittered = pairs(straight)
    assert len(jittered) >= NUM_IMAGES
    assert not any(jittered)
    plain = {"jitter_min": 1.0, "jitter_max": 1.0, "input_rand_hflip": False}
    assert all(pairs(_batches(street, _config(**plain), 0, 9)))


def test_images_without_boxes_and_with_all_that_fit(
    tmp_path: pathlib.Path,
) -> None:
    records = [
        made_records.Record(0, [], []),
        made_records.Record(1, BOXES, [1, 2, 1]),
        made_records.Record(2, BOXES[:1], [2], crowd=[0]),
    ]
    settings = _config(
        train_batch_size=3, shuffle_buffer=1, input_rand_hflip=False,
        jitter_min=1.0, jitter_max=1.0, image_size=(48, 64),
    )  # fmt: skip
    batch = _made(tmp_path, records, settings, 0, 1)[0]
    np.testing.assert_array_equal(batch.num_boxes, [0, 3, 1])
    np.testing.assert_array_equal(
        batch.classes, [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    )
    pixels = np.array(BOXES) * [48, 64, 48, 64]
    np.testing.assert_allclose(batch.boxes[1], pixels, rtol=1e-5)
    np.testing.assert_allclose(batch.boxes[2, 0], pixels[0], rtol=1e-5)
    assert not batch.boxes[0].any()


def test_a_data_set_without_any_box_has_a_row_for_padding(
    tmp_path: pathlib.Path,
) -> None:
    records = [made_records.Record(i, [], []) for i in range(2)]
    settings = _config(train_batch_size=2)
    batch = _made(tmp_path, records, settings, 0, 1)[0]
    assert batch.boxes.shape == (2, 1, 4)
    np.testing.assert_array_equal(batch.num_boxes, [0, 0])


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("is_difficult", [True, False])
def test_crowds_and_difficult_objects_are_left_out_when_asked(
    tmp_path: pathlib.Path, is_difficult: bool, skip: bool
) -> None:
    marks = [0, 1, 0]
    record = made_records.Record(
        0,
        BOXES,
        [1, 2, 2],
        crowd=None if is_difficult else marks,
        difficult=marks if is_difficult else None,
    )
    settings = _config(
        train_batch_size=1, jitter_min=1.0, jitter_max=1.0,
        skip_crowd_during_training=skip,
    )  # fmt: skip
    batch = _made(tmp_path, [record], settings, 0, 1)[0]
    expected = [0, 1] if skip else [0, 1, 1]
    count = int(batch.num_boxes[0])
    assert batch.classes[0, :count].tolist() == expected


def test_boxes_follow_the_mirrored_image(tmp_path: pathlib.Path) -> None:
    # A white patch on black: the box is where the image is bright.
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[16:40, 8:32] = 255
    box = (16 / 64, 8 / 96, 40 / 64, 32 / 96)
    encoded = made_records.jpeg(pixels)
    record = made_records.Record(0, [box], [1], encoded=encoded)
    settings = _config(
        train_batch_size=1, image_size=(64, 96), num_epochs=40,
        jitter_min=0.5, jitter_max=1.5,
    )  # fmt: skip
    batches = _made(tmp_path, [record], settings, 0, 40)
    centres = []
    for batch in batches:
        if batch.num_boxes[0] == 0:  # zoomed past it
            continue
        bright = np.argwhere(batch.images[0, :, :, 0] > 1.0)
        found = [*bright.min(axis=0), *(bright.max(axis=0) + 1)]
        np.testing.assert_allclose(found, batch.boxes[0, 0], atol=1.5)
        centres.append(batch.boxes[0, 0, 1] + batch.boxes[0, 0, 3])
    assert len(centres) > 30
    assert min(centres) < 96 < max(centres)  # on both sides: both ways seen


def test_eval_dataset_fills_the_last_batch(tmp_path: pathlib.Path) -> None:
    sizes = [(48, 64), (30, 90), (100, 50)]
    pixels = [
        made_records.smooth_pixels(i, *size) for i, size in enumerate(sizes)
    ]
    records = [
        made_records.Record(11 + i, [], [], encoded=made_records.jpeg(p))
        for i, p in enumerate(pixels)
    ]
    made_records.write(tmp_path, {"val": [records]})
    dataset = pipeline.build_eval_dataset(
        made_records.files(tmp_path, "val"), _config(), 2
    )
    assert dataset.element_spec.images.shape == (2, 32, 48, 3)
    first, last = list(dataset)
    np.testing.assert_array_equal(first.image_ids, [11, 12])
    np.testing.assert_array_equal(first.is_real, [True, True])
    np.testing.assert_array_equal(first.sizes, [[48, 64], [30, 90]])
    # Into 32x48: 48x64 by its height, 30x90 by its width.
    np.testing.assert_allclose(first.scales, [1.5, 1.875], rtol=1e-6)
    assert last.image_ids[0] == 13
    np.testing.assert_array_equal(last.is_real, [True, False])
    np.testing.assert_array_equal(last.sizes[0], [100, 50])
    np.testing.assert_allclose(last.scales[0], 3.125, rtol=1e-6)
    np.testing.assert_array_equal(last.images[1], 0.0)
    image = decode.decode_image(tf.constant(records[2].encoded))
    expected, _ = decode.prepare_image(image, _config().data)
    np.testing.assert_array_equal(last.images[0], expected)


def test_eval_dataset_has_every_image_once(
    street: source_lib.Source,
) -> None:
    dataset = pipeline.build_eval_dataset(street.files, _config(), 7)
    batches = list(dataset)
    assert len(batches) == 5
    ids = list(
        itertools.chain.from_iterable(
            batch.image_ids[batch.is_real].numpy() for batch in batches
        )
    )
    assert len(ids) == len(set(ids)) == NUM_IMAGES
