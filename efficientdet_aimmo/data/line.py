"""The order in which a run takes the training images."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from efficientdet_aimmo.data import rows
from hparams import config as config_lib

READ_AT_ONCE = 16  # files; more only costs open handles


def draw(
    files: Sequence[str],
    num_records: Sequence[int],
    config: config_lib.Config,
    first: int,
) -> tf.data.Dataset:
    """Returns (epoch, place, (file, number, record)) from image `first` on."""
    seed = config.train.seed
    num_images = sum(num_records)

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        draws = tf.random.stateless_uniform(
            [len(files)], tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        order = tf.argsort(draws)
        records = tf.data.Dataset.from_tensor_slices(
            (
                tf.gather(tf.constant(files), order),
                tf.gather(tf.constant(num_records, tf.int64), order),
            )
        ).interleave(
            rows.read_file,
            cycle_length=min(len(files), READ_AT_ONCE),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if config.data.shuffle_buffer > 1:
            records = records.shuffle(
                config.data.shuffle_buffer,
                seed=epoch * 0x10001 + seed,
                reshuffle_each_iteration=False,
            )
        epochs = tf.data.Dataset.from_tensors(epoch).repeat()
        places = tf.data.Dataset.range(num_images)
        return tf.data.Dataset.zip((epochs, places, records))

    # One epoch more than asked for: it fills the last batch.
    epochs = tf.data.Dataset.range(
        first // num_images, config.train.num_epochs + 1
    )
    return epochs.flat_map(epoch_records).skip(first % num_images)
