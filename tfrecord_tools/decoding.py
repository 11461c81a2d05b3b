"""Checks that TensorFlow decodes what is stored.

Pillow forgives more: of damaged JPEGs and PNGs that it accepts, TensorFlow
refuses some, and each would stop a training. Measured: 29 of 1,667 with runs of
bytes set to zeros, ones or random values, removed or inserted; none of 2,230
JPEGs with one to five bytes changed.
"""

from __future__ import annotations

import tensorflow as tf

from tfrecord_tools import images, prepare


def check(
    result: prepare.Prepared | prepare.Rejected,
) -> prepare.Prepared | prepare.Rejected:
    """Returns the image, or its fault if it cannot be trained on.

    Only files of the input's are decoded: what was encoded here is sound. By
    the operation that the detector calls.
    """
    if isinstance(result, prepare.Rejected) or not result.image.is_original:
        return result
    try:
        tf.io.decode_jpeg(
            result.image.content, channels=3, dct_method="INTEGER_ACCURATE"
        )
    except tf.errors.InvalidArgumentError as error:
        # Pillow says more of what is wrong, where it finds it.
        found = images.damage(result.image.content)
        return prepare.Rejected(
            file=result.file,
            reason="image_cut_off_or_damaged",
            detail=found
            or f"TensorFlow does not decode it: {_shortened(error)}",
        )
    return result


def _shortened(error: tf.errors.InvalidArgumentError) -> str:
    """Returns what an operation says without where it ran."""
    message = str(error.message)
    return message.rpartition("}} ")[2].partition(" [Op:")[0].split("\n")[0]
