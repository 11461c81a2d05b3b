"""What a configuration does with the loss scale of float16."""

from __future__ import annotations

import tensorflow as tf

from efficientdet_aimmo import precision
from efficientdet_aimmo.training import loss_scale
from hparams import config as config_lib
from tests.hparams import witness_records

_STEPS = [True] * 3 + [False] * 5


def scales(config: config_lib.Config, _: witness_records.Records) -> object:
    """The scale after each of some steps, finite ones and others."""
    scale = loss_scale.make(config.train)
    if scale is None:
        return None
    step = tf.Variable(0, dtype=tf.int64)
    return [float(scale.move(tf.constant(ok), step)[1]) for ok in _STEPS]


def resolved(config: config_lib.Config, _: witness_records.Records) -> object:
    """The precision of a run on a GPU with tensor cores."""
    return precision.resolve(config, None, [(7, 5)])[0].train.precision
