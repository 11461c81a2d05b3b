"""From record files to batches, the same ones every time.

The stream of training images is one line: epoch after epoch, each image once
an epoch, in an order that follows from (seed, epoch). Step s takes images
s * batch to (s + 1) * batch - 1 of it, so nothing is dropped between epochs, a
resumed run goes on at the very next image, and what it skips is not decoded. A
record that cannot be used keeps its place in the line, see rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import shares
from efficientdet_aimmo.data import augment, colour, decode, rows
from efficientdet_aimmo.data import line as line_lib
from hparams import config as config_lib
from tfrecord_tools import schema

_COLOUR = 1  # keeps colours' draws apart from the placement's
# While the last images of one batch are decoded, the next batch begins.
_BATCHES_AT_ONCE = 2


class TrainBatch(NamedTuple):
    """A step's images and objects."""

    images: tf.Tensor  # [B, H, W, 3] float32, normalised
    boxes: tf.Tensor  # [B, M, 4] float32, network pixels
    classes: tf.Tensor  # [B, M] int32, from 0
    num_boxes: tf.Tensor  # [B] int32, rows of boxes that are objects
    source_ids: tf.Tensor  # [B] string
    # [B] string, empty, or where the bad record is that the row is no image of:
    # it holds a copy of another row.
    bad: tf.Tensor


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
        cycle_length=min(num_files, line_lib.READ_AT_ONCE),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _train_example(
    drawn: rows.Drawn,
    config: config_lib.Config,
    max_boxes: int,
    jitter: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None,
) -> list[tf.Tensor]:
    """Returns the parts of a TrainBatch but the last, without a batch axis."""
    encoded, source_id = parse_image(drawn.record)
    objects = parse_objects(drawn.record)
    image = decode.decode_image(encoded)
    seed = tf.random.experimental.stateless_fold_in(
        tf.stack([tf.constant(config.train.seed, tf.int64), drawn.epoch]),
        drawn.place,
    )
    if jitter is not None:
        image = jitter(
            image, tf.random.experimental.stateless_fold_in(seed, _COLOUR)
        )
    shape = tf.shape(image)
    placement = augment.draw_placement(seed, shape, config.augment, config.data)
    boxes, is_left = decode.place_boxes(
        objects.boxes_norm,
        shape,
        placement.scale,
        placement.offset,
        config.data,
    )
    if config.data.skip_crowd_during_training:
        is_left &= ~objects.is_ignored
    boxes = tf.boolean_mask(boxes, is_left)
    classes = tf.boolean_mask(tf.cast(objects.labels, tf.int32) - 1, is_left)
    placed = decode.place_image(
        image, placement.scale, placement.offset, config.data
    )
    placed, boxes = augment.mirror(placed, boxes, placement.is_mirrored)
    count = tf.shape(boxes)[0]
    fill = max_boxes - count
    return [
        placed,
        tf.ensure_shape(tf.pad(boxes, [[0, fill], [0, 0]]), [max_boxes, 4]),
        tf.ensure_shape(tf.pad(classes, [[0, fill]]), [max_boxes]),
        count,
        source_id,
    ]


def _own_rows(
    records: tf.data.Dataset, batch_size: int, share: shares.Share
) -> tf.data.Dataset:
    """Returns the records of a share; the others are not decoded."""
    if share.num_rows == batch_size:
        return records

    def take(*record: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda part: part[share.rows], record)
        )

    batches = records.batch(batch_size, drop_remainder=True)
    return batches.flat_map(take)


def _split(batches: tf.data.Dataset, share: shares.Share) -> tf.data.Dataset:
    """Returns a process's batches in pieces of a replica's rows."""
    if share.num_rows == share.size:
        return batches

    def pieces(batch: TrainBatch) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(
            TrainBatch(
                *(tf.reshape(t, [-1, share.size, *t.shape[1:]]) for t in batch)
            )
        )

    return batches.flat_map(pieces)


def build_train_dataset(
    files: Sequence[str],
    config: config_lib.Config,
    *,
    num_records: Sequence[int],
    max_boxes: int,
    start_step: int,
    share: shares.Share | None = None,
) -> tf.data.Dataset:
    """Returns the batches of steps start_step and later.

    Args:
      files: record files of the training split, sorted.
      config: batch size, seed, input size, augmentation.
      num_records: of each file as it should be, damaged or not.
      max_boxes: most objects in one record.
      start_step: steps already done.
      share: the rows of this process; None for all.

    Returns:
      A dataset of TrainBatch with static shapes.
    """
    batch = config.train.train_batch_size
    line = line_lib.draw(files, num_records, config, start_step * batch)
    return batches_of(line, config, max_boxes, share or shares.whole(batch))


def batches_of(
    line: tf.data.Dataset,
    config: config_lib.Config,
    max_boxes: int,
    share: shares.Share,
) -> tf.data.Dataset:
    """Returns the batches of a line of records.

    Args:
      line: (epoch, place, (file, number, record)), as line.draw returns.
      config: batch size, seed, input size, augmentation.
      max_boxes: most objects in one record.
      share: the rows of this process.

    Returns:
      A dataset of TrainBatch with static shapes.
    """
    # A row for padding even where no image has any object.
    max_boxes = max(max_boxes, 1)
    jitter = None
    if config.augment.colour_jitter > 0.0:
        jitter = colour.make_colour_jitter(config.augment.colour_jitter)

    def example(drawn: rows.Drawn) -> list[tf.Tensor]:
        return _train_example(drawn, config, max_boxes, jitter)

    def train_batch(
        epoch: tf.Tensor, place: tf.Tensor, read: Sequence[tf.Tensor]
    ) -> tf.data.Dataset:
        filled = rows.prepare(rows.Drawn(epoch, place, *read), example)
        return filled.map(lambda parts, bad: TrainBatch(*(*parts, bad)))

    return (
        _own_rows(line, config.train.train_batch_size, share)
        .batch(share.num_rows, drop_remainder=True)
        .interleave(
            train_batch,
            cycle_length=_BATCHES_AT_ONCE,
            num_parallel_calls=_BATCHES_AT_ONCE,
            deterministic=True,
        )
        .apply(lambda taken: _split(taken, share))
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

    def example(record: tf.Tensor, is_real: tf.Tensor) -> EvalBatch:
        found = tf.cond(is_real, lambda: real(record), filler)
        return found._replace(
            images=tf.ensure_shape(found.images, [height, width, 3])
        )

    fillers = tf.data.Dataset.from_tensors(("", False)).repeat(batch_size - 1)
    records = (
        read_records(sorted(files), len(files))
        .map(lambda record: (record, True))
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
