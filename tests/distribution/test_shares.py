"""Every image goes to one replica of one worker, and is decoded there alone."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import shares
from efficientdet_aimmo.data import decode, pipeline
from efficientdet_aimmo.data import source as source_lib
from efficientdet_aimmo.distribution import replicas
from efficientdet_aimmo.evaluation import evaluator as evaluator_lib
from efficientdet_aimmo.evaluation import ground_truth as ground_truth_lib
from efficientdet_aimmo.model import detector as detector_lib
from hparams import config as config_lib
from hparams import override
from tests.training import tiny

BATCH = 8
# Two workers of two replicas each; what a worker takes at once, in turn.
PARTS = tuple(
    shares.Share(slice(worker * 4, worker * 4 + 4), 2) for worker in range(2)
)


@pytest.fixture(scope="module")
def street(street_records: pathlib.Path) -> source_lib.Source:
    return source_lib.open_source(
        f"{street_records}/train*.tfrecord", "train_file_pattern"
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that gets an entry for every image decoded."""
    seen: list[int] = []
    decode_image = decode.decode_image

    def note(encoded: bytes) -> np.int64:
        seen.append(len(encoded))
        return np.int64(len(encoded))

    def counted(encoded: tf.Tensor) -> tf.Tensor:
        size = tf.numpy_function(note, [encoded], tf.int64)
        with tf.control_dependencies([size]):
            return decode_image(encoded)

    monkeypatch.setattr(decode, "decode_image", counted)
    return seen


def _config() -> config_lib.Config:
    return override.override(
        config_lib.Config(),
        {
            "image_size": (32, 48),
            "train_batch_size": BATCH,
            "num_epochs": 1,
            "shuffle_buffer": 8,
            "seed": 3,
        },
    )


def _train(
    street: source_lib.Source, share: shares.Share | None, start_step: int = 0
) -> list[pipeline.TrainBatch]:
    dataset = pipeline.build_train_dataset(
        street.files,
        _config(),
        num_records=street.num_records,
        max_boxes=street.counts.max_boxes_per_image,
        start_step=start_step,
        share=share,
    )
    steps = 4 - start_step
    elements = steps * (share.num_rows // share.size if share else 1)
    return [
        pipeline.TrainBatch(*(part.numpy() for part in batch))
        for batch in dataset.take(elements)
    ]


def test_parts_of_a_batch_are_the_batch(street: source_lib.Source) -> None:
    whole = _train(street, None)
    first, second = (_train(street, part) for part in PARTS)
    for step, batch in enumerate(whole):
        rows = [
            *first[2 * step : 2 * step + 2],
            *second[2 * step : 2 * step + 2],
        ]
        for name, expected, *found in zip(
            batch._fields, batch, *rows, strict=True
        ):
            np.testing.assert_array_equal(
                np.concatenate(found), expected, err_msg=name
            )


def test_a_worker_decodes_its_own_rows_alone(
    street: source_lib.Source, decoded: list[int]
) -> None:
    _train(street, PARTS[1])
    # What is fetched ahead of the last step is of the next epoch.
    own = decoded[: 4 * 4]
    whole = len(decoded)
    assert len(own) == 16
    assert whole <= 2 * 16


def test_evaluation_is_shared_out_and_filled(street: source_lib.Source) -> None:
    batch_size = 12  # of 32 images: the last batch has 8
    ids: list[int] = []
    for worker in range(2):
        share = shares.Share(slice(worker * 6, worker * 6 + 6), 3)
        batches = list(
            pipeline.build_eval_dataset(
                street.files, _config(), batch_size, share
            )
        )
        # The same number everywhere: replicas act together.
        assert len(batches) == 6
        for batch in batches:
            assert batch.images.shape == (3, 32, 48, 3)
            real = batch.is_real.numpy()
            ids += batch.image_ids.numpy()[real].tolist()
    assert len(ids) == len(set(ids)) == 32


def test_two_replicas_measure_what_one_does(
    street_records: pathlib.Path, mirrored: tf.distribute.Strategy
) -> None:
    source = source_lib.open_source(
        f"{street_records}/val*.tfrecord", "val_file_pattern"
    )
    truth = ground_truth_lib.load(f"{street_records}/val.json")
    config = tiny.config("per_class=false,max_output_size=20")
    found = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        spread = replicas.Distribution(strategy=strategy)
        with strategy.scope():
            evaluator = evaluator_lib.Evaluator(
                detector_lib.Detector(config), config, source.classes
            )
        batches = pipeline.build_eval_dataset(
            source.files, config, 12, spread.share_of(12)
        )
        found.append(
            evaluator.run(spread.share_out(batches), truth, lambda *_: None)
        )
    alone, shared = found
    assert alone.metrics.images == shared.metrics.images == 32
    assert alone.detections.keys() == shared.detections.keys()
    for image_id, detections in alone.detections.items():
        np.testing.assert_allclose(
            shared.detections[image_id].scores,
            detections.scores,
            rtol=1e-4,
        )
    assert shared.metrics.ap == pytest.approx(alone.metrics.ap, abs=1e-4)
