"""Which part of a training step XLA must compile."""

from __future__ import annotations

from unittest import mock

import tensorflow as tf

from efficientdet_aimmo import anchors
from efficientdet_aimmo.benching import made
from efficientdet_aimmo.data import pipeline
from efficientdet_aimmo.model import detector
from efficientdet_aimmo.training import gradients, state
from hparams import config as config_lib
from tests.hparams import witness_records


def compiled_parts(
    config: config_lib.Config, _: witness_records.Records
) -> object:
    """How often a step's graph calls a function that holds both passes."""
    with mock.patch.object(detector, "Detector", witness_records.TinyNetwork):
        made_state = state.TrainState(config)
    boxes = anchors.anchor_boxes(config.anchors, config.data.image_size)

    def compute(images: tf.Tensor) -> list[tf.Tensor]:
        batch: pipeline.TrainBatch = made.batch(config, 2)
        return gradients.compute_gradients(
            made_state,
            batch._replace(images=images),
            tf.constant(boxes),
            config,
            frozenset(),
        ).values

    graph = (
        tf.function(compute, autograph=False)
        .get_concrete_function(tf.TensorSpec([2, *config.data.image_size, 3]))
        .graph
    )
    must = [
        definition.signature.name
        for definition in graph.as_graph_def().library.function
        if definition.attr["_XlaMustCompile"].b
        and any("tape" in node.name for node in definition.node_def)
    ]
    return sum("tensors" in name for name in must)
