"""All fifteen networks against the official ones: variables and sizes.

Reference (google/automl, commit 6a54c874, unpatched): variables_90cls.json.gz
lists name, shape and trainable flag of all variables in order, for 90 classes;
model_table.json the sizes of every network for 90 classes and for 4.
"""

from __future__ import annotations

import functools
import gzip
import json
import math
import pathlib
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo import anchors as anchors_lib
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import drawing, layers
from hparams import config as config_lib
from hparams import override, presets

DATA = pathlib.Path(__file__).parents[1] / "data"
Row = list[Any]  # name, shape, whether it is trained


@functools.cache
def _official_variables() -> dict[str, list[Row]]:
    with gzip.open(DATA / "variables_90cls.json.gz") as file:
        found: dict[str, list[Row]] = json.load(file)
    return found


@functools.cache
def _official_table() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(
        (DATA / "model_table.json").read_text()
    )
    return found


def _config(model_name: str, num_classes: int) -> config_lib.Config:
    base = presets.get_config(model_name)
    return override.override(base, {"num_classes": num_classes})


def _rows(variables: list[tf.Variable]) -> list[Row]:
    return [[v.name, v.shape.as_list(), int(v.trainable)] for v in variables]


def _with_classes(rows: list[Row], num_classes: int) -> list[Row]:
    """Returns the rows for another number of classes than 90."""
    last = ("class_net/class-predict/pointwise", "class_net/class-predict/bias")
    return [
        [name, [*shape[:-1], shape[-1] // 90 * num_classes], trainable]
        if name.startswith(last)
        else [name, shape, trainable]
        for name, shape, trainable in rows
    ]


def _count(rows: list[Row], *beginnings: str) -> int:
    return sum(math.prod(r[1]) for r in rows if r[0].startswith(beginnings))


def _check_sizes(rows: list[Row], table: dict[str, Any]) -> None:
    trained = [row for row in rows if row[2]]
    found = {
        "total": _count(rows, ""),
        "trainable": _count(trained, ""),
        "nvars": len(rows),
        "ntrainable_vars": len(trained),
        # Of the parts, what is trained. Levels 6 and up belong to the pyramid.
        "backbone": _count(trained, "efficientnet-"),
        "fpn": _count(trained, "fpn_cells/", "resample_p"),
        "class_net": _count(trained, "class_net/"),
        "box_net": _count(trained, "box_net/"),
        "reg_vars": sum("kernel" in name for name, _, _ in trained),
    }
    assert found == {name: table[name] for name in found}


def test_every_network_has_a_reference() -> None:
    assert list(_official_variables()) == list(presets.MODEL_NAMES)
    assert list(_official_table()) == list(presets.MODEL_NAMES)


@pytest.mark.parametrize("model_name", presets.MODEL_NAMES)
def test_variables_and_a_forward_pass(model_name: str) -> None:
    config = _config(model_name, 90)
    detector = detector_lib.Detector(config)
    rows = _rows(detector.all_variables)
    assert rows == _official_variables()[model_name]
    assert {v.dtype for v in detector.all_variables} == {tf.float32}
    _check_sizes(rows, _official_table()[model_name]["90"])
    draws = np.random.default_rng(0).normal(size=(2, 64, 96, 3))
    # With first weights, only a batch's own statistics let an image through to
    # the end of a deep network.
    outputs = detector.forward(
        tf.constant(draws, tf.float32), layers.ForwardPass(training=True)
    )
    num_anchors = len(anchors_lib.anchor_boxes(config.anchors, (64, 96)))
    assert outputs.logits.shape == (2, num_anchors, 90)
    assert outputs.codes.shape == (2, num_anchors, 4)
    for values in outputs:
        assert values.dtype == tf.float32
        assert np.isfinite(values).all()
        assert (values[0].numpy() != values[1].numpy()).any()


def _only_described(
    make: drawing.VariableMaker,
    name: str,
    shape: tuple[int, ...],
    draw: object,
    trainable: bool = True,
) -> types.SimpleNamespace:
    """Stands for VariableMaker.add: what a variable is, without values."""
    described = types.SimpleNamespace(
        name=f"{name}:0", shape=tf.TensorShape(shape), trainable=trainable
    )
    make.groups[-1].append(described)
    return described


@pytest.mark.parametrize("model_name", presets.MODEL_NAMES)
def test_variables_for_four_classes(
    model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Large networks take seconds to draw, and here no value matters.
    monkeypatch.setattr(drawing.VariableMaker, "add", _only_described)
    detector = detector_lib.Detector(_config(model_name, 4))
    rows = _rows(detector.all_variables)
    assert rows == _with_classes(_official_variables()[model_name], 4)
    _check_sizes(rows, _official_table()[model_name]["4"])


@pytest.mark.parametrize("num_classes", [90, 4])
@pytest.mark.parametrize("model_name", presets.MODEL_NAMES)
def test_input_size_and_anchors(model_name: str, num_classes: int) -> None:
    config = _config(model_name, num_classes)
    table = _official_table()[model_name][str(num_classes)]
    assert list(config.data.image_size) == table["image_size"]
    assert config.anchors.anchor_scale == table["anchor_scale"]
    per_cell = anchors_lib.anchors_per_cell(config.anchors)
    sizes = anchors_lib.feature_sizes(
        config.data.image_size, config.anchors.max_level
    )[config.anchors.min_level :]
    assert table["cls"] == [[*hw, per_cell * num_classes] for hw in sizes]
    assert table["box"] == [[*hw, per_cell * 4] for hw in sizes]
    assert table["anchors"] == per_cell * sum(math.prod(hw) for hw in sizes)
