"""Estimates the memory that training and inference take, from their graphs.

Measured once against it: D0, 512x512, 90 classes, float32, on a CPU with two
threads, growth of the resident memory in a training step with its graph already
traced. It grew by 922, 1440 and 2306 MiB for 1, 2 and 4 images, about 450 MiB
for an image and 500 MiB once. The activations of the estimate are 372 MiB for
an image. So a fifth more for an image, and 500 MiB for TensorFlow itself, are
to be expected. Inference grew by 121 MiB for an image, estimated 72: the
convolutions' work space counts for more where nothing is kept.

With grad_checkpoint (D2, 768x768, one image) a step's growth fell from 2218 to
1415 MiB; the estimate of both is 1414 and 363 MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo import anchors, losses
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from hparams import config as config_lib

# Operations whose outputs lie in their inputs' memory.
_ALIASES = frozenset({"Identity", "IdentityN", "ReadVariableOp", "Reshape"})

# Arrays as large as the trainable weights that the update rules keep.
_NUM_SLOTS = {"adam": 2, "lamb": 2}


class Estimate(NamedTuple):
    """Bytes. Those `per_image` are of one image, the others of all."""

    weights: int  # batch-norm statistics included
    gradients: int
    optimizer_slots: int
    moving_average: int
    inference_per_image: int  # activations at the fullest moment
    kept_per_image: int  # made in the forward pass, read in the backward pass
    training_per_image: int  # at the fullest moment of both passes

    def training(self, batch_size: int) -> int:
        """Returns what a training step of so many images takes."""
        return (
            self.weights
            + self.gradients
            + self.optimizer_slots
            + self.moving_average
            + batch_size * self.training_per_image
        )

    def inference(self, batch_size: int) -> int:
        """Returns what the network takes for so many images."""
        return self.weights + batch_size * self.inference_per_image


def estimate(
    detector: detector_lib.Detector,
    config: config_lib.Config,
    inference: tf.Graph,
) -> Estimate:
    """Returns what the network takes.

    Activations are those of one image, float32, each given back as soon as
    nobody needs it any more, in the order in which the operations were written.
    What the device needs to compute (cuDNN's and oneDNN's work space), what
    TensorFlow holds back, input pipeline and post-processing are not in it.

    Args:
      detector: the network.
      config: its configuration; image size, optimizer and loss are read.
      inference: the graph of the forward pass of one image.
    """
    sizes = {
        is_trainable: 4
        * sum(
            variable.shape.num_elements()
            for variable in detector.all_variables
            if variable.trainable == is_trainable
        )
        for is_trainable in (True, False)
    }
    weights = sum(sizes.values())
    optimizer = config.optimizer
    num_slots = _NUM_SLOTS.get(optimizer.optimizer, int(optimizer.momentum > 0))
    training, forward = _trace_training(detector, config)
    return Estimate(
        weights=weights,
        gradients=sizes[True],
        optimizer_slots=num_slots * sizes[True],
        moving_average=weights if optimizer.moving_average_decay > 0 else 0,
        inference_per_image=_most_bytes(inference, has_results=True),
        kept_per_image=_kept_bytes(training, forward),
        # The gradients come out of it; they do not grow with the batch.
        training_per_image=_most_bytes(training, has_results=False),
    )


def _trace_training(
    detector: detector_lib.Detector, config: config_lib.Config
) -> tuple[tf.Graph, set[str]]:
    """Returns the graph of both passes, and its operations before the second.

    The L2 loss is left out: it is the same for any number of images.
    """
    forward: set[str] = set()
    variables = [v for v in detector.all_variables if v.trainable]

    boxes = anchors.anchor_boxes(config.anchors, config.data.image_size)

    def both_passes(
        images: tf.Tensor, classes: tf.Tensor, codes_wanted: tf.Tensor
    ) -> list[tf.Tensor]:
        run = layers.ForwardPass(True, tf.zeros([2], tf.int32))
        with tf.GradientTape() as tape:
            logits, codes = detector.forward(images, run)
            loss = losses.detection_loss(
                logits,
                codes,
                classes,
                codes_wanted,
                tf.constant(1.0),
                tf.constant(boxes),
                config.loss,
            )
        graph = tf.compat.v1.get_default_graph()
        forward.update(op.name for op in graph.get_operations())
        return tape.gradient(loss.total, variables)

    traced = tf.function(both_passes, autograph=False)
    graph = traced.get_concrete_function(
        tf.TensorSpec([1, *config.data.image_size, 3], tf.float32),
        tf.TensorSpec([1, len(boxes)], tf.int32),
        tf.TensorSpec([1, len(boxes), 4], tf.float32),
    ).graph
    return graph, forward


def _num_bytes(tensor: tf.Tensor) -> int:
    if tensor.dtype in (tf.resource, tf.variant):
        return 0
    return (tensor.shape.num_elements() or 0) * tensor.dtype.size


def _buffers(graph: tf.Graph) -> Mapping[str, str]:
    """Returns the name of the tensor in whose memory each tensor lies."""
    buffers: dict[str, str] = {}
    for op in graph.get_operations():
        for place, output in enumerate(op.outputs):
            source = op.inputs[place] if op.type in _ALIASES else output
            buffers[output.name] = buffers.get(source.name, source.name)
    return buffers


def _kept_bytes(graph: tf.Graph, forward: set[str]) -> int:
    """Returns the bytes of what the backward pass reads of the forward pass."""
    buffers = _buffers(graph)
    kept = {
        buffers[tensor.name]: _num_bytes(tensor)
        for op in graph.get_operations()
        if op.name not in forward
        for tensor in op.inputs
        if tensor.op.name in forward and tensor.op.type != "ReadVariableOp"
    }
    return sum(kept.values())


def _most_bytes(graph: tf.Graph, has_results: bool) -> int:
    """Returns the bytes of all tensors at the fullest moment.

    Args:
      graph: of a traced function.
      has_results: what the function returns counts, and is there to the end.
    """
    buffers = _buffers(graph)
    operations = graph.get_operations()
    last = {
        buffers[tensor.name]: number
        for number, op in enumerate(operations)
        for tensor in (*op.outputs, *op.inputs)
    }
    results = {buffers[tensor.name] for tensor in graph.outputs}
    ending: dict[int, int] = {}
    held = most = 0
    for number, op in enumerate(operations):
        for output in op.outputs:
            name = output.name
            if buffers[name] != name or (name in results and not has_results):
                continue
            size = _num_bytes(output)
            held += size
            if name not in results:
                ending[last[name]] = ending.get(last[name], 0) + size
        most = max(most, held)
        held -= ending.get(number, 0)
    return most
