"""From the network's outputs to detections in the image as stored."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import boxes as boxes_lib
from hparams import config as config_lib

# What mirrors [y_min, x_min, y_max, x_max] into each quadrant of the plane.
_MIRRORS = [[y, x, y, x] for y in (1.0, -1.0) for x in (1.0, -1.0)]
_QUADRANTS = len(_MIRRORS)
_CERTAIN = 16.0  # a logit whose score is nearly 1 in float32
_SLACK = 1e-3


class Detections(NamedTuple):
    """The best detections of every image, by falling score.

    Rows from `count` on are zeros.

    boxes: [B, N, 4] float32, [y_min, x_min, y_max, x_max] pixels of the image
      as stored, inside the image.
    scores: [B, N] float32, 0 to 1, after any decay by soft-NMS.
    classes: [B, N] int32, 0-based.
    count: [B] int32.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    classes: tf.Tensor
    count: tf.Tensor


class _Candidates(NamedTuple):
    """What of one image enters NMS.

    anchors, classes: [C] int32 indices.
    logits: [C] float32, falling.
    """

    anchors: tf.Tensor
    classes: tf.Tensor
    logits: tf.Tensor


def _least_logit(nms: config_lib.Nms) -> float:
    """Returns a logit below which no score reaches the threshold.

    It is a little lower than that, as a float32 sigmoid is rounded.
    """
    if nms.score_thresh in (0.0, 1.0):
        return -math.inf if nms.score_thresh == 0.0 else _CERTAIN
    odds = nms.score_thresh / (1.0 - nms.score_thresh)
    return min(math.log(odds) - _SLACK, _CERTAIN)


def _at_least(values: tf.Tensor, least: tf.Tensor) -> tf.Tensor:
    """Returns the places [n] int32 of values [V] that are not below least."""
    # Not >=, so that what is not a number stays and can be seen.
    return tf.cast(tf.where(~(values < least))[:, 0], tf.int32)


def _candidates(logits: tf.Tensor, nms: config_lib.Nms) -> _Candidates:
    """Returns the best-scored candidates of logits [A, K]."""
    num_anchors, num_classes = logits.shape
    # Per class, every pair of anchor and class competes. (Officially the best
    # class of an anchor alone, unless max_nms_inputs is set; global NMS ignores
    # that.)
    # Logits, not scores: a sigmoid keeps their order, but rounds the best to 1.
    best = tf.reduce_max(logits, axis=-1)
    least = tf.constant(_least_logit(nms))
    limit = nms.max_nms_inputs or num_anchors * num_classes
    # As many anchors as may enter have a logit of at least this one, so no pair
    # below it does. To find it takes a third of the time of sorting.
    if limit < num_anchors:
        least = tf.maximum(
            least, tf.raw_ops.NthElement(input=best, n=limit - 1, reverse=True)
        )
    anchors = _at_least(best, least)
    if nms.per_class:
        pairs = tf.reshape(tf.gather(logits, anchors), [-1])
        places = _at_least(pairs, least)
        values = tf.gather(pairs, places)
        classes = places % num_classes
        anchors = tf.gather(anchors, places // num_classes)
    else:
        values = tf.gather(best, anchors)
        classes = tf.argmax(
            tf.gather(logits, anchors), axis=-1, output_type=tf.int32
        )
    values, places = tf.math.top_k(values, tf.minimum(limit, tf.size(values)))
    return _Candidates(
        tf.gather(anchors, places), tf.gather(classes, places), values
    )


def _suppress(
    boxes: tf.Tensor, scores: tf.Tensor, nms: config_lib.Nms
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns rows and scores of the boxes that one NMS keeps.

    Gaussian soft-NMS multiplies a score by exp(-iou^2 / sigma) for every better
    box that is kept (Bodla et al. 2017, section 3). TensorFlow's operation
    computes exp(-iou^2 / (2 * sigma)), hence the half.

    Args:
      boxes: [C, 4] float32.
      scores: [C] float32; those not above nms.score_thresh are left out.
      nms: the method and its numbers.

    Returns:
      rows [N] int32 and scores [N] float32, 0 where fewer than N are kept.
    """
    is_soft = nms.method == "gaussian"
    rows, kept_scores, count = tf.raw_ops.NonMaxSuppressionV5(
        boxes=boxes,
        scores=scores,
        max_output_size=nms.max_output_size,
        iou_threshold=1.0 if is_soft else nms.iou_thresh,
        score_threshold=nms.score_thresh,
        soft_nms_sigma=nms.sigma / 2 if is_soft else 0.0,
        pad_to_max_output_size=True,
    )
    is_kept = tf.range(nms.max_output_size) < count
    return tf.where(is_kept, rows, 0), tf.where(is_kept, kept_scores, 0.0)


def _suppress_per_class(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    classes: tf.Tensor,
    num_classes: int,
    nms: config_lib.Nms,
) -> tuple[tf.Tensor, tf.Tensor]:
    """As _suppress, with boxes of different classes left alone; classes [C].

    Four classes share one NMS: mirrored into the four quadrants of the plane
    their boxes cannot meet, and no coordinate is rounded, as it would be if
    classes were moved apart.
    """
    # Boxes are clipped, so no coordinate is below 0.
    mirrored = boxes * tf.gather(tf.constant(_MIRRORS), classes % _QUADRANTS)
    if num_classes <= _QUADRANTS:
        return _suppress(mirrored, scores, nms)
    groups = classes // _QUADRANTS
    # -1 is below every threshold. Side by side, not in a loop: half the time.
    found = [
        _suppress(mirrored, tf.where(groups == index, scores, -1.0), nms)
        for index in range((num_classes - 1) // _QUADRANTS + 1)
    ]
    rows, kept_scores = (
        tf.concat(part, 0) for part in zip(*found, strict=True)
    )
    best, places = tf.math.top_k(kept_scores, nms.max_output_size)
    return tf.gather(rows, places), best


def _kept(rows: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns values [C, ...] at the rows [N], which may be 0 where C is 0."""
    spare = [[0, 1]] + [[0, 0]] * (values.shape.rank - 1)
    return tf.gather(tf.pad(values, spare), rows)


def detect(
    logits: tf.Tensor,
    codes: tf.Tensor,
    anchors: tf.Tensor,
    scales: tf.Tensor,
    sizes: tf.Tensor,
    nms: config_lib.Nms,
) -> Detections:
    """Returns the detections of a batch.

    Boxes are clipped to the image before NMS, so overlaps are those of what can
    be seen. The official code clips to the padded input (global NMS) or not at
    all (per class), and returns boxes outside the image. A box that has no area
    left is no detection.

    Args:
      logits: [B, A, K] class logits of any float type, A and K static.
      codes: [B, A, 4] box codes.
      anchors: [A, 4] float32 pixels of the network input.
      scales: [B] float32; pixels of the input * scale = pixels as stored.
      sizes: [B, 2] int32 (height, width) of the images as stored.
      nms: the method and its numbers.
    """
    logits = tf.cast(logits, tf.float32)
    codes = tf.cast(codes, tf.float32)

    def one_image(
        image: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        own_logits, own_codes, scale, size = image
        found = _candidates(own_logits, nms)
        boxes = boxes_lib.decode(
            tf.gather(own_codes, found.anchors),
            tf.gather(anchors, found.anchors),
        )
        limits = tf.cast(size, tf.float32)
        boxes = boxes_lib.clip(boxes * scale, limits[0], limits[1])
        has_area = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=-1)
        scores = tf.where(has_area, tf.sigmoid(found.logits), -1.0)
        if nms.per_class:
            rows, kept = _suppress_per_class(
                boxes, scores, found.classes, logits.shape[2], nms
            )
        else:
            rows, kept = _suppress(boxes, scores, nms)
        return _kept(rows, boxes), kept, _kept(rows, found.classes)

    boxes, scores, classes = tf.map_fn(
        one_image,
        (logits, codes, scales, sizes),
        fn_output_signature=(
            tf.TensorSpec([nms.max_output_size, 4], tf.float32),
            tf.TensorSpec([nms.max_output_size], tf.float32),
            tf.TensorSpec([nms.max_output_size], tf.int32),
        ),
    )
    # Kept scores are above a threshold that is at least 0: 0 marks the rest.
    is_kept = scores > 0.0
    return Detections(
        boxes=tf.where(is_kept[..., None], boxes, 0.0),
        scores=scores,
        classes=tf.where(is_kept, classes, 0),
        count=tf.reduce_sum(tf.cast(is_kept, tf.int32), axis=-1),
    )
