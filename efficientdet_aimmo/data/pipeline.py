"""From record files to batches, the same ones every time.

The stream of training images is one line: epoch after epoch, each image once
an epoch, in an order that follows from (seed, epoch). Step s takes images
s * batch to (s + 1) * batch - 1 of it, so nothing is dropped between epochs, a
resumed run goes on at the very next image, and what it skips is not decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import shares
from efficientdet_aimmo.data import augment, colour, decode
from hparams import config as config_lib
from tfrecord_tools import schema

_COLOUR = 1  # keeps colours' draws apart from the placement's
_READ_AT_ONCE = 16  # files; more only costs open handles


class TrainBatch(NamedTuple):
    """A step's images and objects."""

    images: tf.Tensor  # [B, H, W, 3] float32, normalised
    boxes: tf.Tensor  # [B, M, 4] float32, network pixels
    classes: tf.Tensor  # [B, M] int32, from 0
    num_boxes: tf.Tensor  # [B] int32, rows of boxes that are objects
    source_ids: tf.Tensor  # [B] string


class EvalBatch(NamedTuple):
    """Images to detect in, and the way back to their own pixels."""

    images: tf.Tensor  # [B, H, W, 3] float32, normalised
    image_ids: tf.Tensor  # [B] int64
    scales: tf.Tensor  # [B] float32, image pixels per network pixel
    sizes: tf.Tensor  # [B, 2] int32, (height, width) of the image as stored
    is_real: tf.Tensor  # [B] bool, False where a row only fills the batch


class Objects(NamedTuple):
    """The objects of one record, as on disk."""

    boxes_norm: tf.Tensor  # [N, 4] float32
    labels: tf.Tensor  # [N] int64, from 1
    is_ignored: tf.Tensor  # [N] bool, crowd regions and difficult objects


def parse_objects(record: tf.Tensor) -> Objects:
    """Returns the objects of a serialised record."""
    corners = (schema.YMIN, schema.XMIN, schema.YMAX, schema.XMAX)
    features: dict[str, tf.io.VarLenFeature] = {
        key: tf.io.VarLenFeature(tf.float32) for key in corners
    }
    for key in (schema.LABEL, schema.IS_CROWD, schema.DIFFICULT):
        features[key] = tf.io.VarLenFeature(tf.int64)
    parsed = tf.io.parse_single_example(record, features)
    labels = parsed[schema.LABEL].values

    def marked(key: str) -> tf.Tensor:
        values = parsed[key].values
        # Records of other tools may come without the key: none then.
        return tf.cond(
            tf.size(values) > 0,
            lambda: values > 0,
            lambda: tf.zeros_like(labels, tf.bool),
        )

    boxes = tf.stack([parsed[key].values for key in corners], axis=1)
    is_ignored = marked(schema.IS_CROWD) | marked(schema.DIFFICULT)
    return Objects(boxes, labels, is_ignored)


def parse_image(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a record's encoded image and its source id, both strings."""
    features = {
        schema.ENCODED: tf.io.FixedLenFeature([], tf.string),
        schema.SOURCE_ID: tf.io.FixedLenFeature([], tf.string),
    }
    parsed = tf.io.parse_single_example(record, features)
    return parsed[schema.ENCODED], parsed[schema.SOURCE_ID]


def read_records(
    files: Sequence[str] | tf.Tensor, num_files: int
) -> tf.data.Dataset:
    """Returns the serialised records of all files, in a fixed order."""
    names = tf.convert_to_tensor(files)
    return tf.data.Dataset.from_tensor_slices(names).interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(num_files, _READ_AT_ONCE),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _stream(
    files: Sequence[str], config: config_lib.Config, num_images: int, first: int
) -> tf.data.Dataset:
    """Returns (epoch, place in the epoch, record) from image `first` on."""
    seed = config.train.seed

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        draws = tf.random.stateless_uniform(
            [len(files)], tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        names = tf.gather(tf.constant(files), tf.argsort(draws))
        records = read_records(names, len(files))
        if config.data.shuffle_buffer > 1:
            records = records.shuffle(
                config.data.shuffle_buffer,
                seed=epoch * 0x10001 + seed,
                reshuffle_each_iteration=False,
            )
        return records.enumerate().map(lambda i, r: (epoch, i, r))

    # One epoch more than asked for: it fills the last batch.
    epochs = tf.data.Dataset.range(
        first // num_images, config.train.num_epochs + 1
    )
    return epochs.flat_map(epoch_records).skip(first % num_images)


def _train_example(
    epoch: tf.Tensor,
    place: tf.Tensor,
    record: tf.Tensor,
    config: config_lib.Config,
    max_boxes: int,
    jitter: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None,
) -> TrainBatch:
    """Returns one training image with its objects, without a batch axis."""
    encoded, source_id = parse_image(record)
    objects = parse_objects(record)
    image = decode.decode_image(encoded)
    seed = tf.random.experimental.stateless_fold_in(
        tf.stack([tf.constant(config.train.seed, tf.int64), epoch]), place
    )
    if jitter is not None:
        image = jitter(
            image, tf.random.experimental.stateless_fold_in(seed, _COLOUR)
        )
    shape = tf.shape(image)
    drawn = augment.draw_placement(seed, shape, config.augment, config.data)
    boxes, is_left = decode.place_boxes(
        objects.boxes_norm, shape, drawn.scale, drawn.offset, config.data
    )
    if config.data.skip_crowd_during_training:
        is_left &= ~objects.is_ignored
    boxes = tf.boolean_mask(boxes, is_left)
    classes = tf.boolean_mask(tf.cast(objects.labels, tf.int32) - 1, is_left)
    placed = decode.place_image(image, drawn.scale, drawn.offset, config.data)
    placed, boxes = augment.mirror(placed, boxes, drawn.is_mirrored)
    count = tf.shape(boxes)[0]
    fill = max_boxes - count
    return TrainBatch(
        images=placed,
        boxes=tf.ensure_shape(
            tf.pad(boxes, [[0, fill], [0, 0]]), [max_boxes, 4]
        ),
        classes=tf.ensure_shape(tf.pad(classes, [[0, fill]]), [max_boxes]),
        num_boxes=count,
        source_ids=source_id,
    )


def _own_rows(
    records: tf.data.Dataset, batch_size: int, share: shares.Share
) -> tf.data.Dataset:
    """Returns the records of a share; the others are not decoded."""
    if share.rows == slice(0, batch_size):
        return records

    def take(*record: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(
            tuple(part[share.rows] for part in record)
        )

    batches = records.batch(batch_size, drop_remainder=True)
    return batches.flat_map(take)


def build_train_dataset(
    files: Sequence[str],
    config: config_lib.Config,
    *,
    num_images: int,
    max_boxes: int,
    start_step: int,
    share: shares.Share | None = None,
) -> tf.data.Dataset:
    """Returns the batches of steps start_step and later.

    Args:
      files: record files of the training split.
      config: batch size, seed, input size, augmentation.
      num_images: records in all files.
      max_boxes: most objects in one record.
      start_step: steps already done.
      share: the rows of this process; None for all.

    Returns:
      A dataset of TrainBatch with static shapes.
    """
    batch = config.train.train_batch_size
    share = share or shares.whole(batch)
    # A row for padding even where no image has any object.
    rows = max(max_boxes, 1)
    jitter = None
    if config.augment.colour_jitter > 0.0:
        jitter = colour.make_colour_jitter(config.augment.colour_jitter)
    stream = _stream(sorted(files), config, num_images, start_step * batch)
    return (
        _own_rows(stream, batch, share)
        .map(
            lambda e, i, r: _train_example(e, i, r, config, rows, jitter),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .batch(share.size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def build_eval_dataset(
    files: Sequence[str],
    config: config_lib.Config,
    batch_size: int,
    share: shares.Share | None = None,
) -> tf.data.Dataset:
    """Returns all images of the files once, as EvalBatch with static shapes.

    The last batch is filled with black images that is_real marks.

    Args:
      files: record files of the split.
      config: input size.
      batch_size: images of a step, of all processes.
      share: the rows of this process; None for all.
    """
    height, width = config.data.image_size
    share = share or shares.whole(batch_size)

    def real(record: tf.Tensor) -> EvalBatch:
        encoded, source_id = parse_image(record)
        image = decode.decode_image(encoded)
        placed, scale = decode.prepare_image(image, config.data)
        return EvalBatch(
            images=placed,
            image_ids=tf.strings.to_number(source_id, tf.int64),
            scales=scale,
            sizes=tf.shape(image)[:2],
            is_real=tf.constant(True),
        )

    def filler() -> EvalBatch:
        return EvalBatch(
            images=tf.zeros([height, width, 3]),
            image_ids=tf.constant(0, tf.int64),
            scales=tf.constant(0.0),
            sizes=tf.zeros([2], tf.int32),
            is_real=tf.constant(False),
        )

    def example(record: tf.Tensor) -> EvalBatch:
        found = tf.cond(
            tf.strings.length(record) > 0, lambda: real(record), filler
        )
        return found._replace(
            images=tf.ensure_shape(found.images, [height, width, 3])
        )

    # No record is empty: what is stands for a row without an image.
    fillers = tf.data.Dataset.from_tensors("").repeat(batch_size - 1)
    records = (
        read_records(sorted(files), len(files))
        .concatenate(fillers)
        .batch(batch_size, drop_remainder=True)
        .unbatch()
    )
    return (
        _own_rows(records, batch_size, share)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(share.size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
