"""What a configuration keeps for the backward pass."""

from __future__ import annotations

import tensorflow as tf

from efficientdet_aimmo import memory
from efficientdet_aimmo.model import detector as detector_lib
from hparams import config as config_lib
from tests.hparams import witness_records


def kept_bytes(config: config_lib.Config, _: witness_records.Records) -> object:
    """Bytes of activations that a training step keeps."""
    detector = detector_lib.Detector(config)
    inference = tf.function(lambda: tf.zeros([])).get_concrete_function()
    return memory.estimate(detector, config, inference.graph).kept_per_image
