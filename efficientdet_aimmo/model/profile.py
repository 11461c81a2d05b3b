"""Counts what a network holds and computes, from its variables and its graph.

Multiply-adds are counted as the published ones were: by the official code with
TensorFlow's profiler, whose number of operations is halved. So a convolution
counts its products, and half a multiply-add is counted for every number that
comes out of a product, sum, quotient or bias, and that goes into a pooling
window, a mean or a fusion. Batch norm, activations as such (swish's product
aside) and nearest-neighbour resizing count nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers

# In the order of the forward pass.
PARTS = ("backbone", "BiFPN", "class head", "box head")

# Where a variable belongs, by the first letters of its name; the backbone's
# begin with its own name.
_PREFIXES = {
    "fpn_cells/": "BiFPN",
    "resample_p": "BiFPN",
    "class_net/": "class head",
    "box_net/": "box head",
}

# Operations without multiply-adds; one that is in neither list is an error.
_FREE = frozenset(
    {
        "ConcatV2",
        "Const",
        "FusedBatchNormV3",
        "Identity",
        "IdentityN",
        "NoOp",
        "Pack",
        "Placeholder",
        "ReadVariableOp",
        "Relu",
        "Relu6",
        "Reshape",
        "ResizeNearestNeighbor",
        "Sigmoid",
        "Unpack",
    }
)
_PER_OUTPUT = frozenset({"AddV2", "BiasAdd", "Mul", "RealDiv"})


class Parameters(NamedTuple):
    """Numbers in the variables."""

    trainable: int
    moving: int  # batch norm's means and variances


def part_of(variable_name: str) -> str:
    """Returns the one of PARTS that a variable belongs to."""
    for prefix, part in _PREFIXES.items():
        if variable_name.startswith(prefix):
            return part
    return "backbone"


def count_parameters(
    detector: detector_lib.Detector,
) -> dict[str, Parameters]:
    """Returns the numbers in the variables of each of PARTS."""
    counts = {part: [0, 0] for part in PARTS}
    for variable in detector.all_variables:
        place = 0 if variable.trainable else 1
        size = variable.shape.num_elements()
        counts[part_of(variable.name)][place] += size
    return {part: Parameters(*found) for part, found in counts.items()}


def trace_inference(
    detector: detector_lib.Detector, image_size: tuple[int, int]
) -> tf.Graph:
    """Returns the graph of the forward pass of one image."""

    def forward(images: tf.Tensor) -> detector_lib.Outputs:
        return detector.forward(images, layers.ForwardPass(training=False))

    images = tf.TensorSpec([1, *image_size, 3], tf.float32)
    traced = tf.function(forward, autograph=False)
    return traced.get_concrete_function(images).graph


def _operations(op: tf.Operation) -> int:
    """Returns how many operations the profiler counts, two per multiply-add.

    Raises:
      ValueError: this kind of operation is not known.
    """
    if op.type in _FREE:
        return 0
    size = op.outputs[0].shape.num_elements()
    if op.type in _PER_OUTPUT:
        return size
    if op.type == "Conv2D":
        return 2 * size * op.inputs[1].shape[:3].num_elements()
    if op.type == "DepthwiseConv2dNative":
        return 2 * size * op.inputs[1].shape[:2].num_elements()
    if op.type == "AddN":
        return size * (len(op.inputs) - 1)
    if op.type == "MaxPool":
        return size * math.prod(op.get_attr("ksize"))
    if op.type == "Sum":
        return op.inputs[0].shape.num_elements() - size
    if op.type == "Mean":
        return op.inputs[0].shape.num_elements()
    raise ValueError(f"{op.name}: are there multiply-adds in {op.type}?")


def count_multiply_adds(
    detector: detector_lib.Detector, graph: tf.Graph
) -> dict[str, float]:
    """Returns the multiply-adds of each of PARTS for one image.

    An operation belongs to the part of its variable, and one without to the
    last of the parts that its inputs come from.

    Args:
      detector: the network.
      graph: from trace_inference.
    """
    names = {id(v.handle): v.name for v in detector.all_variables}
    places = {
        inside.name: PARTS.index(part_of(names[id(outside)]))
        for outside, inside in graph.captures
        if id(outside) in names
    }
    operations = [0] * len(PARTS)
    for op in graph.get_operations():
        place = max((places.get(i.name, 0) for i in op.inputs), default=0)
        for output in op.outputs:
            places.setdefault(output.name, place)
        operations[place] += _operations(op)
    return {
        part: count / 2 for part, count in zip(PARTS, operations, strict=True)
    }
