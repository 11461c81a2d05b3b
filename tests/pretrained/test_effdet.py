"""effdet's weights against effdet's own outputs and keys.

Reference: scripts/make_effdet_reference.py (effdet 0.4.1, PyTorch 2.13).
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
from efficientdet_aimmo.pretrained import effdet
from hparams import override, presets
from tests.pretrained import torch_weights
from tfrecord_tools import command

DATA = pathlib.Path(__file__).parents[1] / "data"
SEED = 77
MODELS = ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x"] + [
    f"lite{i}" for i in ("0", "1", "2", "3", "3x", "4")
]


@functools.cache
def _keys() -> dict[str, dict[str, list[int]]]:
    with gzip.open(DATA / "effdet_keys.json.gz") as file:
        return json.load(file)


@functools.cache
def _variables() -> dict[str, dict[str, tuple[int, ...]]]:
    """Returns the official variables' shapes by name without ':0'."""
    with gzip.open(DATA / "variables_90cls.json.gz") as file:
        content = json.load(file)
    return {
        model.removeprefix("efficientdet-"): {
            name.removesuffix(":0"): tuple(shape) for name, shape, _ in lines
        }
        for model, lines in content.items()
    }


def _weight_keys(state: Mapping[str, np.ndarray]) -> list[str]:
    return [key for key in state if not key.endswith("num_batches_tracked")]


def _weight_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of effdet's weights, without its counters."""
    shapes = _keys()[network]
    return {
        key: tuple(shapes[key])
        for key in shapes
        if not key.endswith("num_batches_tracked")
    }


def _reference(model: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"effdet_{model}.npz") as arrays:
        return dict(arrays)


def _state(model: str) -> dict[str, np.ndarray]:
    """Returns the state dict that effdet was run with, 4 classes."""
    reference = _reference(model)
    state = {}
    for key, shape in _keys()[f"tf_efficientdet_{model}"].items():
        size = tuple(shape)
        if key.startswith("class_net.predict.conv_pw"):
            size = (9 * 4, *size[1:])
        module, _, last = key.rpartition(".")
        if last == "num_batches_tracked":
            state[key] = np.array(3)
        elif last.startswith("running"):
            measured = reference[f"measured/{module}"]
            state[key] = torch_weights.statistic(key, size, measured, SEED)
        else:
            state[key] = torch_weights.value(key, size, SEED)
    return state


@functools.cache
def _detector(model: str) -> detector_lib.Detector:
    preset = presets.get_config(f"efficientdet-{model}")
    return detector_lib.Detector(override.override(preset, {"num_classes": 4}))


def _names(model: str) -> list[str]:
    variables = _detector(model).all_variables
    return [variable.name.removesuffix(":0") for variable in variables]


def _deviation(model: str, values: Mapping[str, np.ndarray]) -> float:
    """Returns the largest difference to effdet's outputs with these values."""
    detector = _detector(model)
    for variable in detector.all_variables:
        variable.assign(values[variable.name.removesuffix(":0")])
    noise = torch_weights.images((1, 3, 128, 128), SEED)
    images = tf.constant(noise.transpose(0, 2, 3, 1))
    run = layers.ForwardPass(training=False)
    outputs = detector.forward(images, run)
    sizes = [9 * (128 >> level) ** 2 for level in range(3, 8)]
    found = {
        "fpn": [x.numpy() for x in detector.features(images, run).pyramid],
        "logits": [x.numpy() for x in tf.split(outputs.logits, sizes, axis=1)],
        "codes": [x.numpy() for x in tf.split(outputs.codes, sizes, axis=1)],
    }
    return torch_weights.largest_deviation(
        {k: torch_weights.thin(levels, (7, 1)) for k, levels in found.items()},
        _reference(model),
    )


@pytest.mark.parametrize("model", ["d0", "lite0"])
def test_outputs_are_those_of_effdet(model: str) -> None:
    state = _state(model)
    found = effdet.to_official(state, _names(model))
    assert set(found.values) == set(_names(model))
    assert found.unused == ()
    assert set(found.left_out.values()) == {"counter"}
    assert len(found.left_out) == len(state) - len(_weight_keys(state))
    assert not found.is_average
    deviation = _deviation(model, found.values)
    print(f"{model}: largest deviation {deviation:.1e}")
    assert deviation < 1e-4


def test_swapped_inputs_of_a_fusion_would_be_noticed() -> None:
    state = _state("d0")
    key = "fpn.cell.2.fnode.7.combine.edge_weights"
    state[key] = state[key][::-1]
    values = effdet.to_official(state, _names("d0")).values
    assert _deviation("d0", values) > 0.1


def test_weights_of_a_fusion_in_the_order_of_its_inputs() -> None:
    state = _state("d0")
    found = effdet.to_official(state, _names("d0")).values
    expected = state["fpn.cell.1.fnode.4.combine.edge_weights"]
    node = "fpn_cells/cell_1/fnode4"
    for name, value in zip(("WSM", "WSM_1", "WSM_2"), expected, strict=True):
        assert found[f"{node}/{name}"].shape == ()
        assert found[f"{node}/{name}"] == value


@pytest.mark.parametrize("model", MODELS)
def test_every_variable_has_a_key_of_its_own(model: str) -> None:
    variables = _variables()[model]
    # Small numbers: the largest network has 77 million.
    values = {n: np.zeros(shape, np.int8) for n, shape in variables.items()}
    state = effdet.from_official(values)
    shapes = _weight_shapes(f"tf_efficientdet_{model}")
    assert {key: array.shape for key, array in state.items()} == shapes
    found = effdet.to_official(state, list(variables))
    assert {n: a.shape for n, a in found.values.items()} == variables
    assert found.unused == ()
    assert found.left_out == {}


@pytest.mark.parametrize("model", ["d0", "lite0"])
def test_there_and_back_are_the_same_bits(model: str) -> None:
    state = _state(model)
    values = effdet.to_official(state, _names(model)).values
    back = effdet.from_official(values)
    assert sorted(back) == sorted(_weight_keys(state))
    for key, array in back.items():
        assert array.dtype == np.float32
        assert array.shape == state[key].shape
        assert array.tobytes() == state[key].tobytes(), key
    again = effdet.to_official(back, _names(model)).values
    for name, value in values.items():
        assert again[name].tobytes() == value.tobytes(), name


def test_heads_listed_by_level_first() -> None:
    # What toggle_head_bn_level_first of effdet makes of the norms' keys.
    state = _state("d0")
    toggled = {}
    for key, array in state.items():
        head, _, rest = key.partition(".bn_rep.")
        if rest:
            repeat, level, _, last = rest.split(".")
            toggled[f"{head}.bn_rep.{level}.{repeat}.{last}"] = array
        else:
            toggled[key] = array
    assert len(toggled) == len(state)
    expected = effdet.to_official(state, _names("d0")).values
    found = effdet.to_official(toggled, _names("d0"))
    assert found.unused == ()
    for name, value in expected.items():
        np.testing.assert_array_equal(found.values[name], value, name)


def test_variables_and_keys_without_counterpart() -> None:
    state = _state("d0")
    state["backbone.conv_head.weight"] = np.zeros((4, 4, 1, 1), np.float32)
    state["anchors.boxes"] = np.zeros((9, 4), np.float32)
    del state["backbone.bn1.weight"]
    # Blocks are counted through: D1's last ones find nothing in D0, and its
    # second, which expands nothing, leaves keys over.
    names = [*_variables()["d1"], "elsewhere/kernel", "step"]
    found = effdet.to_official(state, names)
    assert "backbone.conv_head.weight" in found.unused
    assert "backbone.blocks.1.0.conv_pwl.weight" in found.unused
    assert found.left_out["anchors.boxes"] == "anchors, not learnt"
    missing = set(names) - set(found.values)
    assert "efficientnet-b1/stem/tpu_batch_normalization/gamma" in missing
    assert "efficientnet-b1/blocks_22/conv2d/kernel" in missing
    assert "fpn_cells/cell_3/fnode0/WSM" in missing
    assert {"elsewhere/kernel", "step"} <= missing
    assert "efficientnet-b1/blocks_15/conv2d/kernel" in found.values


def test_effdets_own_networks_are_refused() -> None:
    state = {
        key: np.zeros(shape, np.int8)
        for key, shape in _keys()["efficientdet_d0"].items()
    }
    with pytest.raises(command.UserError, match="effdet's own") as caught:
        effdet.to_official(state, list(_variables()["d0"]))
    assert caught.value.exit_code == command.ExitCode.DATA
    assert "they pad and normalise in another way" in str(caught.value)
    assert "tf_efficientdet_d0" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("backbone.conv_stem.weight", (32, 27), r"out, in, height, width"),
        ("backbone.bn1.bias", (1, 32), r"\[channels\]"),
        ("class_net.predict.conv_dw.weight", (64, 2, 3, 3), r"channels, 1,"),
        ("fpn.cell.0.fnode.0.combine.edge_weights", (3,), r"\(2,\), one per"),
    ],
)
def test_arrays_with_other_axes_are_errors(
    key: str, shape: tuple[int, ...], expected: str
) -> None:
    state = {
        k: np.zeros(s, np.int8)
        for k, s in _weight_shapes("tf_efficientdet_d0").items()
    }
    state[key] = np.zeros(shape, np.int8)
    with pytest.raises(command.UserError, match=expected) as caught:
        effdet.to_official(state, list(_variables()["d0"]))
    assert repr(key) in str(caught.value)
    assert str(shape) in str(caught.value)


def test_a_variable_that_effdet_has_not_is_not_dropped() -> None:
    variables = _variables()["d0"]
    values = {n: np.zeros(shape, np.int8) for n, shape in variables.items()}
    values["step"] = np.zeros((), np.int8)
    with pytest.raises(KeyError, match="step"):
        effdet.from_official(values)
