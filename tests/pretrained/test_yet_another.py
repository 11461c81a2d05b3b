"""Yet-Another-EfficientDet-Pytorch's weights against its own outputs.

Reference: its D0 with 4 classes, PyTorch 2.14, weights and first image of
torch_weights with the seeds 55 and 1055. yet_another_keys.json.gz lists key and
shape of its state dict in order; yet_another_d0.npz holds its running
statistics in that order, and its outputs of level L, channels last: of levels 3
and 4 every 29th number, of the others every 5th.

The port pads max pooling with zeros, where TensorFlow's border never wins. With
its weights our detector gives its outputs if it pools in that way too, which is
how these tests tell the weights from the pooling.
"""

from __future__ import annotations

import functools
import gzip
import json
import pathlib
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.pretrained import yet_another
from hparams import override, presets
from tests.pretrained import torch_weights

DATA = pathlib.Path(__file__).parents[1] / "data"


@functools.cache
def _reference() -> dict[str, np.ndarray]:
    with np.load(DATA / "yet_another_d0.npz") as arrays:
        return dict(arrays)


def _state() -> dict[str, np.ndarray]:
    """Returns the state dict that the port was run with."""
    with gzip.open(DATA / "yet_another_keys.json.gz") as file:
        shapes = json.load(file)
    statistics, start = _reference()["statistics"], 0
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = np.array(3)
        elif key.endswith(("running_mean", "running_var")):
            state[key] = statistics[start : start + shape[0]]
            start += shape[0]
        else:
            state[key] = torch_weights.value(key, tuple(shape), 55)
    assert start == len(statistics)
    return state


@functools.cache
def _detector() -> detector_lib.Detector:
    preset = presets.get_config("efficientdet-d0")
    return detector_lib.Detector(override.override(preset, {"num_classes": 4}))


def _names() -> list[str]:
    return [v.name.removesuffix(":0") for v in _detector().all_variables]


def _official_names(model: str) -> list[str]:
    with gzip.open(DATA / "variables_90cls.json.gz") as file:
        lines = json.load(file)[f"efficientdet-{model}"]
    return [name.removesuffix(":0") for name, _, _ in lines]


def _pool_with_zeros(
    features: tf.Tensor, size: list[int], strides: list[int], padding: str
) -> tf.Tensor:
    """Returns max pooling of even sides whose far border is zero."""
    assert (size, strides, padding) == ([3, 3], [2, 2], "SAME")
    assert all(side % 2 == 0 for side in features.shape[1:3])
    padded = tf.pad(features, [[0, 0], [0, 1], [0, 1], [0, 0]])
    windows = [
        padded[:, y : y - 2 or None : 2, x : x - 2 or None : 2]
        for y in range(3)
        for x in range(3)
    ]
    return functools.reduce(tf.maximum, windows)


@pytest.fixture
def pooling_of_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.nn, "max_pool2d", _pool_with_zeros)


def _deviation(values: Mapping[str, np.ndarray]) -> float:
    """Returns the largest difference to the port's outputs."""
    detector = _detector()
    for variable in detector.all_variables:
        variable.assign(values[variable.name.removesuffix(":0")])
    noise = torch_weights.images((2, 3, 256, 256), 1055)[:1]
    images = tf.constant(noise.transpose(0, 2, 3, 1))
    run = layers.ForwardPass(training=False)
    outputs = detector.forward(images, run)
    scores = tf.sigmoid(outputs.logits)
    sizes = [9 * (256 >> level) ** 2 for level in range(3, 8)]
    found = {
        "fpn": [x.numpy() for x in detector.features(images, run).pyramid],
        "classification": [x.numpy() for x in tf.split(scores, sizes, axis=1)],
        "regression": [
            x.numpy() for x in tf.split(outputs.codes, sizes, axis=1)
        ],
    }
    return torch_weights.largest_deviation(
        {k: torch_weights.thin(levels, (29, 5)) for k, levels in found.items()},
        _reference(),
    )


@pytest.mark.usefixtures("pooling_of_the_port")
def test_outputs_are_those_of_the_port() -> None:
    state = _state()
    found = yet_another.to_official(state, _names())
    assert set(found.values) == set(_names())
    assert found.unused == ()
    assert found.left_out == {
        key: "counter" for key in state if key.endswith("num_batches_tracked")
    }
    assert not found.is_average
    deviation = _deviation(found.values)
    print(f"largest deviation {deviation:.1e}")
    assert deviation < 1e-4


def test_the_ports_pooling_differs_at_the_border() -> None:
    values = yet_another.to_official(_state(), _names()).values
    assert 0.1 < _deviation(values) < 1.0


@pytest.mark.usefixtures("pooling_of_the_port")
def test_swapped_inputs_of_a_fusion_would_be_noticed() -> None:
    state = _state()
    state["bifpn.2.p7_w2"] = state["bifpn.2.p7_w2"][::-1]
    values = yet_another.to_official(state, _names()).values
    assert _deviation(values) > 0.1


@pytest.mark.parametrize(
    ("key", "node"),
    [
        ("bifpn.0.p6_w1", "fpn_cells/cell_0/fnode0"),
        ("bifpn.1.p3_w1", "fpn_cells/cell_1/fnode3"),
        ("bifpn.1.p4_w2", "fpn_cells/cell_1/fnode4"),
        ("bifpn.2.p7_w2", "fpn_cells/cell_2/fnode7"),
    ],
)
def test_weights_of_a_fusion_in_the_order_of_its_inputs(
    key: str, node: str
) -> None:
    state = _state()
    found = yet_another.to_official(state, _names()).values
    names = ("WSM", "WSM_1", "WSM_2")[: len(state[key])]
    assert [found[f"{node}/{name}"] for name in names] == list(state[key])


@pytest.mark.parametrize("model", ["d0", "d1", "d4", "d6", "d7x"])
def test_every_variable_has_a_place_of_its_own(model: str) -> None:
    names = _official_names(model)
    places = yet_another.places(names)
    assert list(places) == names
    assert len({(p.key, p.element) for p in places.values()}) == len(names)


def test_the_sixth_level_of_d7x() -> None:
    places = yet_another.places(_official_names("d7x"))
    for name, key in {
        # Top-down nodes 0 to 4 are of the levels 7 to 3, the others of 4 to 8.
        "fpn_cells/cell_0/fnode0/op_after_combine6/bn/gamma": (
            "bifpn.0.conv7_up.bn.weight"
        ),
        "fpn_cells/cell_7/fnode8/op_after_combine14/conv/bias": (
            "bifpn.7.conv7_down.pointwise_conv.conv.bias"
        ),
        "fpn_cells/cell_7/fnode9/op_after_combine15/conv/depthwise_kernel": (
            "bifpn.7.conv8_down.depthwise_conv.conv.weight"
        ),
        "fpn_cells/cell_0/fnode2/resample_0_2_8/conv2d/kernel": (
            "bifpn.0.p5_down_channel.0.conv.weight"
        ),
        "fpn_cells/cell_0/fnode6/resample_0_2_12/bn/beta": (
            "bifpn.0.p5_down_channel_2.1.bias"
        ),
        "box_net/box-4-bn-8/moving_mean": "regressor.bn_list.5.4.running_mean",
    }.items():
        assert places[name].key == key


def test_what_the_network_does_not_use() -> None:
    state = _state()
    state["backbone_net.model._fc.weight"] = np.zeros((1000, 1280), np.float32)
    state["backbone_net.model._bn1.running_var"] = np.ones(1280, np.float32)
    state["extra.weight"] = np.zeros(3, np.float32)
    found = yet_another.to_official(state, _names())
    assert found.unused == ("extra.weight",)
    why = "the backbone's own classifier"
    assert found.left_out["backbone_net.model._fc.weight"] == why
    assert found.left_out["backbone_net.model._bn1.running_var"] == why


def test_fusion_weights_of_d6_are_left_out_of_d0_they_are_not() -> None:
    # A network that adds features without weights has no such variables.
    names = [name for name in _names() if "/WSM" not in name]
    state = _state()
    fusions = [key for key in state if key.endswith(("_w1", "_w2"))]
    assert len(fusions) == 24
    assert yet_another.to_official(state, names).unused == tuple(fusions)
    eighth = "bifpn.7.conv6_up.bn.weight"
    state[eighth] = state["bifpn.2.conv6_up.bn.weight"]
    found = yet_another.to_official(state, names)
    assert found.unused == (eighth,)
    assert {found.left_out[key] for key in fusions} == {
        "fusion weights, which networks from D6 on do not use"
    }
