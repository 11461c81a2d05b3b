"""Which anchor answers for which object: the targets of a batch."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import boxes as box_lib

BACKGROUND = -1
IGNORE = -2

# Boxes whose overlap with all anchors is held in memory at once.
_CHUNK = 8


class Targets(NamedTuple):
    """What every anchor should answer."""

    classes: tf.Tensor  # [B, A] int32, BACKGROUND or IGNORE below 0
    boxes: tf.Tensor  # [B, A, 4] float32 codes, read where classes >= 0


class _Overlaps(NamedTuple):
    """Best overlaps in both directions."""

    anchor_iou: tf.Tensor  # [B, A]
    anchor_box: tf.Tensor  # [B, A] int32, first of the best boxes
    box_iou: tf.Tensor  # [B, M]
    box_anchor: tf.Tensor  # [B, M] int32, first of the best anchors


def _best_overlaps(
    boxes: tf.Tensor, is_real: tf.Tensor, anchors: tf.Tensor, free: tf.Tensor
) -> _Overlaps:
    """Returns the best overlaps, a few boxes at a time.

    Args:
      boxes: [B, M, 4], M a multiple of the chunk.
      is_real: [B, M] bool, False where a box only fills the row.
      anchors: [A, 4].
      free: [B, A] bool: anchors that may be best for a box.
    """
    batch, num_boxes = boxes.shape[0], boxes.shape[1]
    num_anchors = anchors.shape[0]
    anchor_iou = tf.fill([batch, num_anchors], -1.0)
    anchor_box = tf.zeros([batch, num_anchors], tf.int32)
    per_box: list[tuple[tf.Tensor, tf.Tensor]] = []
    for start in range(0, num_boxes, _CHUNK):
        part = slice(start, start + _CHUNK)
        iou = box_lib.pairwise_iou(boxes[:, part], anchors)  # [B, chunk, A]
        iou = tf.where(is_real[:, part, None], iou, -1.0)
        best = tf.reduce_max(iou, axis=1)
        first = tf.argmax(iou, axis=1, output_type=tf.int32) + start
        anchor_box = tf.where(best > anchor_iou, first, anchor_box)
        anchor_iou = tf.maximum(best, anchor_iou)
        iou = tf.where(free[:, None], iou, -1.0)
        per_box.append(
            (
                tf.reduce_max(iou, axis=2),
                tf.argmax(iou, axis=2, output_type=tf.int32),
            )
        )
    return _Overlaps(
        anchor_iou,
        anchor_box,
        tf.concat([iou for iou, _ in per_box], axis=1),
        tf.concat([anchor for _, anchor in per_box], axis=1),
    )


def _settle(
    boxes: tf.Tensor,
    waiting: tf.Tensor,
    anchors: tf.Tensor,
    wanted: tf.Tensor,
) -> tf.Tensor:
    """Returns which waiting boxes get the anchor they want, [B, M] bool.

    A box gets it if no other waiting box overlaps that anchor more; of equal
    overlaps the first box wins.
    """
    # [B, M wanted anchors, M boxes]
    iou = box_lib.pairwise_iou(tf.gather(anchors, wanted), boxes)
    iou = tf.where(waiting[:, None, :], iou, -1.0)
    winner = tf.argmax(iou, axis=2, output_type=tf.int32)
    return waiting & (winner == tf.range(boxes.shape[1]))


def _boxes_at(
    places: tf.Tensor, is_placed: tf.Tensor, num_anchors: int
) -> tf.Tensor:
    """Returns which box each anchor is given to, [B, A] int32, -1 for none.

    Args:
      places: [B, M] int32, an anchor for every box.
      is_placed: [B, M] bool: whether the box is given to it.
      num_anchors: A.
    """
    batch, num_boxes = places.shape
    rows = tf.range(batch)[:, None] + tf.zeros_like(places)
    boxes = tf.range(num_boxes) + tf.zeros_like(places)
    # Every box is written, those not placed each to a column of its own that
    # is cut off again: shapes stay static.
    columns = tf.where(is_placed, places, num_anchors + boxes)
    written = tf.tensor_scatter_nd_update(
        tf.fill([batch, num_anchors + num_boxes], -1),
        tf.stack([rows, columns], axis=-1),
        boxes,
    )
    return written[:, :num_anchors]


def _own_anchors(
    boxes: tf.Tensor,
    is_real: tf.Tensor,
    anchors: tf.Tensor,
    first: _Overlaps,
) -> tf.Tensor:
    """Returns an anchor of its own for every real box, [B, M] int32.

    Every box gets its best anchor, whatever the overlap. Where two want the
    same, the better overlap keeps it and the other takes its next best. (The
    official labeler gives the anchor to the first box and leaves the other
    without one.)
    """
    batch, num_anchors = boxes.shape[0], anchors.shape[0]

    def settle(
        waiting: tf.Tensor, free: tf.Tensor, given: tf.Tensor, best: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        wins = _settle(boxes, waiting, anchors, best)
        taken = _boxes_at(best, wins, num_anchors) >= 0
        return waiting & ~wins, free & ~taken, tf.where(wins, best, given)

    def go_on(
        waiting: tf.Tensor, free: tf.Tensor, given: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        best = _best_overlaps(boxes, waiting, anchors, free)
        return settle(waiting, free, given, best.box_anchor)

    free = tf.ones([batch, num_anchors], tf.bool)
    none = tf.zeros_like(first.box_anchor)
    state = settle(is_real, free, none, first.box_anchor)
    # The best of all waiting pairs is settled in every round, so it ends.
    return tf.while_loop(
        lambda waiting, *_: tf.reduce_any(waiting), go_on, state
    )[2]


def assign_targets(
    boxes: tf.Tensor,
    classes: tf.Tensor,
    num_boxes: tf.Tensor,
    anchors: tf.Tensor,
    match_iou: float,
) -> Targets:
    """Returns the targets of a batch.

    An anchor takes the box that it overlaps most (the first of equals) if the
    overlap is at least match_iou; every box also gets one anchor of its own.

    Args:
      boxes: [B, M, 4] float32 pixels, static shape.
      classes: [B, M] int32, from 0.
      num_boxes: [B] int32: the first num_boxes rows are objects.
      anchors: [A, 4] float32 pixels.
      match_iou: least overlap of a positive anchor.
    """
    batch, num_rows = boxes.shape[0], boxes.shape[1]
    filler = -num_rows % _CHUNK
    boxes = tf.pad(boxes, [[0, 0], [0, filler], [0, 0]])
    classes = tf.pad(classes, [[0, 0], [0, filler]])
    is_real = tf.range(num_rows + filler) < num_boxes[:, None]
    num_anchors = anchors.shape[0]
    everywhere = tf.ones([batch, num_anchors], tf.bool)
    best = _best_overlaps(boxes, is_real, anchors, everywhere)
    own = _own_anchors(boxes, is_real, anchors, best)
    forced = _boxes_at(own, is_real, num_anchors)
    matched = tf.where(best.anchor_iou >= match_iou, best.anchor_box, -1)
    matched = tf.where(forced >= 0, forced, matched)
    index = tf.maximum(matched, 0)
    target_classes = tf.gather(classes, index, batch_dims=1)
    codes = box_lib.encode(tf.gather(boxes, index, batch_dims=1), anchors)
    is_positive = matched >= 0
    return Targets(
        tf.where(is_positive, target_classes, BACKGROUND),
        tf.where(is_positive[..., None], codes, 0.0),
    )
