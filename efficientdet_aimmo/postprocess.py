"""From the network's outputs to detections in the image as stored."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import boxes as boxes_lib
from hparams import config as config_lib


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
    """What enters NMS.

    anchors, classes: [B, C] int32 indices.
    logits: [B, C] float32, falling.
    """

    anchors: tf.Tensor
    classes: tf.Tensor
    logits: tf.Tensor


def _candidates(logits: tf.Tensor, nms: config_lib.Nms) -> _Candidates:
    """Returns the best-scored candidates of logits [B, A, K]."""
    num_anchors, num_classes = logits.shape[1:]
    # Per class, every pair of anchor and class competes. (Officially the best
    # class of an anchor alone, unless max_nms_inputs is set; global NMS ignores
    # that.)
    # Logits, not scores: a sigmoid keeps their order, but rounds the best to 1.
    best_logits = tf.reduce_max(logits, axis=-1)
    limit = nms.max_nms_inputs or num_anchors * num_classes
    # The best `limit` pairs of anchor and class belong to the best `limit`
    # anchors. To look for them there alone is quicker with many classes.
    best, anchors = tf.math.top_k(best_logits, min(limit, num_anchors))
    if not nms.per_class:
        winners = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return _Candidates(
            anchors, tf.gather(winners, anchors, batch_dims=1), best
        )
    pairs = tf.gather(logits, anchors, batch_dims=1)
    pairs = tf.reshape(pairs, [-1, anchors.shape[1] * num_classes])
    best, places = tf.math.top_k(pairs, min(limit, pairs.shape[1]))
    return _Candidates(
        tf.gather(anchors, places // num_classes, batch_dims=1),
        places % num_classes,
        best,
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
    """As _suppress, with boxes of different classes left alone; classes [C]."""

    def one_class(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # -1 is below every threshold: shapes stay static without a gather.
        own_scores = tf.where(classes == index, scores, -1.0)
        return _suppress(boxes, own_scores, nms)

    rows, kept_scores = tf.map_fn(
        one_class,
        tf.range(num_classes),
        fn_output_signature=(
            tf.TensorSpec([nms.max_output_size], tf.int32),
            tf.TensorSpec([nms.max_output_size], tf.float32),
        ),
    )
    best, places = tf.math.top_k(
        tf.reshape(kept_scores, [-1]), nms.max_output_size
    )
    return tf.gather(tf.reshape(rows, [-1]), places), best


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
    found = _candidates(logits, nms)
    boxes = boxes_lib.decode(
        tf.gather(codes, found.anchors, batch_dims=1),
        tf.gather(anchors, found.anchors),
    )
    limits = tf.cast(sizes, tf.float32)[:, None, :]
    boxes = boxes_lib.clip(
        boxes * scales[:, None, None], limits[..., 0], limits[..., 1]
    )
    has_area = tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)
    scores = tf.where(has_area, tf.sigmoid(found.logits), -1.0)

    def one_image(
        image: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if nms.per_class:
            return _suppress_per_class(*image, logits.shape[2], nms)
        return _suppress(image[0], image[1], nms)

    rows, kept_scores = tf.map_fn(
        one_image,
        (boxes, scores, found.classes),
        fn_output_signature=(
            tf.TensorSpec([nms.max_output_size], tf.int32),
            tf.TensorSpec([nms.max_output_size], tf.float32),
        ),
    )
    # Kept scores are above a threshold that is at least 0: 0 marks the rest.
    is_kept = kept_scores > 0.0
    kept_boxes = tf.gather(boxes, rows, batch_dims=1)
    kept_classes = tf.gather(found.classes, rows, batch_dims=1)
    return Detections(
        boxes=tf.where(is_kept[..., None], kept_boxes, 0.0),
        scores=kept_scores,
        classes=tf.where(is_kept, kept_classes, 0),
        count=tf.reduce_sum(tf.cast(is_kept, tf.int32), axis=-1),
    )
