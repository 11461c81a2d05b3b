"""TensorFlow's forms of the official weights give the official outputs.

Every form is written here from the weights that the official D0 was run with
(reference_weights), read back into a network that knows nothing of them, and
must give that network's outputs (tests/data/d0_4cls.npz).
official_checkpoint_keys.json.gz lists the keys of two checkpoints that the
official code wrote (google/automl, commit 6a54c874, unpatched).
"""

from __future__ import annotations

import gzip
import json
import pathlib
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_addons as tfa

from efficientdet_aimmo import checkpoint
from efficientdet_aimmo.model import detector as detector_lib
from efficientdet_aimmo.model import layers
from efficientdet_aimmo.pretrained import (
    files,
    official_checkpoint,
    tf_checkpoint,
    warm_start,
)
from hparams import override, presets
from tests.model import reference_weights
from tfrecord_tools import command

DATA = pathlib.Path(__file__).parents[1] / "data"
CLASSES = ("car", "truck", "bus", "pedestrian")
Values = Mapping[str, np.ndarray]


def _new(model_name: str = "efficientdet-d0") -> detector_lib.Detector:
    base = presets.get_config(model_name)
    return detector_lib.Detector(override.override(base, {"num_classes": 4}))


def _values(detector: detector_lib.Detector) -> dict[str, np.ndarray]:
    return {
        v.name.removesuffix(":0"): v.numpy() for v in detector.all_variables
    }


@pytest.fixture(scope="module")
def official() -> detector_lib.Detector:
    detector = _new()
    with np.load(DATA / "d0_statistics.npz") as arrays:
        moving = arrays["moving"]
    reference_weights.restore(detector.all_variables, 11, moving)
    return detector


@pytest.fixture(scope="module")
def empty() -> detector_lib.Detector:
    return _new()


def _save(path: pathlib.Path, tensors: Values) -> None:
    """Writes a checkpoint whose keys are the tensors' names."""
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(tensors[name]) for name in names],
    )


def _as_objects(
    official: detector_lib.Detector, folder: pathlib.Path
) -> pathlib.Path:
    official_checkpoint.write(
        str(folder / "model"), official.all_variables, min_level=3
    )
    return folder  # the file 'checkpoint' names it


def _as_h5(
    official: detector_lib.Detector, folder: pathlib.Path
) -> pathlib.Path:
    class Part(tf.keras.layers.Layer):
        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self.held = [
                v
                for v in official.all_variables
                if v.name.split("/")[0] == name
            ]

    class Network(tf.keras.Model):
        def __init__(self) -> None:
            super().__init__()
            names = (v.name.split("/")[0] for v in official.all_variables)
            self.parts = [Part(name) for name in dict.fromkeys(names)]

    network = Network()
    network.built = True
    path = folder / "weights.h5"
    network.save_weights(path)
    return path


def _as_names(
    official: detector_lib.Detector, folder: pathlib.Path
) -> pathlib.Path:
    _save(
        folder / "model.ckpt-7",
        {**_values(official), "global_step": np.array(7, np.int64)},
    )
    return folder / "model.ckpt-7"


def _as_averaged_names(
    official: detector_lib.Detector, folder: pathlib.Path
) -> pathlib.Path:
    # The plain weights are others: only the average gives the outputs.
    tensors = {}
    for name, value in _values(official).items():
        tensors[name] = value + 1.0
        tensors[name + checkpoint.AVERAGE_SUFFIX] = value
        tensors[f"{name}/Momentum"] = np.zeros_like(value)
    _save(folder / "model", tensors)
    return folder  # the only checkpoint in it


@pytest.mark.parametrize(
    ("write", "form", "is_average"),
    [
        (_as_objects, "official TF2 checkpoint", False),
        (_as_h5, "official Keras weights (h5)", False),
        (_as_names, "TensorFlow checkpoint with TF1 names", False),
        (_as_averaged_names, "TensorFlow checkpoint with TF1 names", True),
    ],
)
def test_every_form_gives_the_official_outputs(
    official: detector_lib.Detector,
    empty: detector_lib.Detector,
    tmp_path: pathlib.Path,
    write: Callable[[detector_lib.Detector, pathlib.Path], pathlib.Path],
    form: str,
    is_average: bool,
) -> None:
    place = files.locate(str(write(official, tmp_path)))
    for variable in empty.all_variables:
        variable.assign(tf.fill(variable.shape, np.nan))
    report = warm_start.WarmStart(place, False, "auto").load(
        empty.all_variables, CLASSES
    )
    assert (report.found.form, report.found.is_average) == (form, is_average)
    assert sum(len(part.loaded) for part in report.parts.values()) == 709
    assert report.found.unused == ()
    state = {"training state": 709 if is_average else 1}
    if form.startswith("TensorFlow"):
        reasons = list(report.found.left_out.values())
        assert {r: reasons.count(r) for r in reasons} == state
    for ours, theirs in zip(
        empty.all_variables, official.all_variables, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    images = tf.constant(reference_weights.images(1011))
    outputs = empty.forward(images, layers.ForwardPass(training=False))
    with np.load(DATA / "d0_4cls.npz") as expected:
        level = outputs.logits[:, : 9 * 32 * 32].numpy().reshape(-1)
        np.testing.assert_allclose(
            level[::101], expected["eval/cls_3"], atol=1e-3
        )


@pytest.mark.parametrize("model", ["d0", "lite0"])
def test_keys_are_those_of_the_official_checkpoint(model: str) -> None:
    with gzip.open(DATA / "official_checkpoint_keys.json.gz") as file:
        expected = json.load(file)[f"efficientdet-{model}"]
    names = frozenset(name.removesuffix(":0") for name in expected)
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    found = {
        f"{name}:0": official_checkpoint.object_path(name, names, 3) + suffix
        for name in names
    }
    assert found == expected


def test_written_checkpoint_holds_these_keys_and_names(
    official: detector_lib.Detector, tmp_path: pathlib.Path
) -> None:
    _as_objects(official, tmp_path)
    shapes = dict(tf.train.list_variables(str(tmp_path)))
    assert shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH") == []
    with gzip.open(DATA / "official_checkpoint_keys.json.gz") as file:
        keys = json.load(file)["efficientdet-d0"]
    assert set(shapes) == set(keys.values())


def test_average_of_the_official_optimizer_is_taken(
    tmp_path: pathlib.Path,
) -> None:
    kernel = tf.Variable([[1.0, 2.0]], name="box_net/box-0/pointwise_kernel")
    mean = tf.Variable(
        [5.0], trainable=False, name="box_net/box-0-bn-3/moving_mean"
    )
    inner = tf.keras.optimizers.legacy.SGD(1.0, momentum=0.9)
    optimizer = tfa.optimizers.MovingAverage(inner, average_decay=0.75)
    root = tf.Module()
    root.kernel, root.mean, root.optimizer = kernel, mean, optimizer
    optimizer.apply_gradients([(tf.constant([[4.0, 8.0]]), kernel)])
    tf.train.Checkpoint(root=root).write(str(tmp_path / "model"))
    np.testing.assert_array_equal(kernel, [[-3.0, -6.0]])
    average = optimizer.get_slot(kernel, "average").numpy()
    assert (average != kernel.numpy()).all()

    names = ["box_net/box-0/pointwise_kernel", "box_net/box-0-bn-3/moving_mean"]
    found = tf_checkpoint.read(str(tmp_path / "model"), names)
    np.testing.assert_array_equal(found.values[names[0]], average)
    np.testing.assert_array_equal(found.values[names[1]], [5.0])
    assert found.is_average
    assert found.notes == (
        "1 variables have no moving average in the file and are as saved,"
        f" {names[1]} first.",
    )
    assert found.unused == ()
    assert set(found.left_out.values()) == {"training state"}


def test_backbone_of_an_imagenet_checkpoint(
    official: detector_lib.Detector,
    empty: detector_lib.Detector,
    tmp_path: pathlib.Path,
) -> None:
    backbone = {
        name + checkpoint.AVERAGE_SUFFIX: value
        for name, value in _values(official).items()
        if name.startswith("efficientnet-b0/")
    }
    head = {
        "efficientnet-b0/head/conv2d/kernel": np.zeros((1, 1, 320, 4)),
        "efficientnet-b0/head/dense/bias": np.zeros(4),
        "global_step": np.array(1),
    }
    _save(tmp_path / "model.ckpt", {**backbone, **head})
    for variable in empty.all_variables:
        variable.assign(tf.fill(variable.shape, 7.0))
    place = files.locate(str(tmp_path / "model.ckpt"))
    start = warm_start.WarmStart(place, True, "auto")
    report = start.load(empty.all_variables, CLASSES)
    assert len(report.parts["backbone"].loaded) == 304
    assert "2 classifier" in report.text()
    for ours, theirs in zip(
        empty.all_variables, official.all_variables, strict=True
    ):
        if ours.name.startswith("efficientnet-b0/"):
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert (ours.numpy() == 7.0).all()


def test_backbone_of_another_network(
    official: detector_lib.Detector, tmp_path: pathlib.Path
) -> None:
    path = _as_names(official, tmp_path)
    other = _new("efficientdet-lite0")
    before = _values(other)
    start = warm_start.WarmStart(files.locate(str(path)), True, "auto")
    with pytest.raises(command.UserError) as caught:
        start.load(other.all_variables, CLASSES)
    said = str(caught.value)
    assert caught.value.exit_code == command.ExitCode.DATA
    assert re.search(r"backbone: missing \d+ \(efficientnet-lite0/", said)
    assert "no variable takes 304 (efficientnet-b0/" in said
    for name, value in _values(other).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("harm", ["cut", "no index", "not h5"])
def test_damaged_files(
    official: detector_lib.Detector, tmp_path: pathlib.Path, harm: str
) -> None:
    if harm == "not h5":
        path = tmp_path / "weights.h5"
        path.write_bytes(b"no hdf5")
    else:
        path = _as_names(official, tmp_path)
        part = ".index" if harm == "no index" else ".data-00000-of-00001"
        damaged = path.with_name(path.name + part)
        damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(command.UserError) as caught:
        files.read(files.locate(str(path)), ["box_net/box-0/bias"])
    assert caught.value.exit_code == command.ExitCode.DATA
    assert "cannot be read" in str(caught.value)
