"""What of a file's weights goes where, and when it is an error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_aimmo.pretrained import class_rows, coco_classes, loading
from efficientdet_aimmo.pretrained import source as source_lib
from tfrecord_tools import command

CLASSES = ("car", "truck", "bus", "pedestrian")
ANCHORS = 9
DEPTH = "class_net/class-predict/depthwise_kernel"
KERNEL = "class_net/class-predict/pointwise_kernel"
BIAS = "class_net/class-predict/bias"


def _shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
    """A variable or two of every part."""
    return {
        "efficientnet-b0/stem/conv2d/kernel": (3, 3, 3, 4),
        "resample_p6/bn/moving_mean": (6,),
        "fpn_cells/cell_0/fnode0/WSM": (),
        "class_net/class-0/bias": (6,),
        DEPTH: (3, 3, 6, 1),
        KERNEL: (1, 1, 6, ANCHORS * num_classes),
        BIAS: (ANCHORS * num_classes,),
        "box_net/box-predict/bias": (ANCHORS * 4,),
    }


def _variables(num_classes: int = 4) -> list[tf.Variable]:
    return [
        tf.Variable(tf.fill(shape, -1.0), name=name)
        for name, shape in _shapes(num_classes).items()
    ]


def _source(
    num_classes: int,
    names: tuple[str, ...] | None = None,
    values: Mapping[str, np.ndarray] | None = None,
    unused: tuple[str, ...] = (),
) -> source_lib.Source:
    """A file in which every number is another."""
    rng = np.random.default_rng(0)
    drawn = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in _shapes(num_classes).items()
    }
    return source_lib.Source(
        form="a file",
        values=drawn if values is None else values,
        unused=unused,
        left_out={},
        is_average=False,
        class_names=names,
    )


def _load(
    found: source_lib.Source, heads: str = "auto", num_classes: int = 4
) -> tuple[loading.LoadReport, dict[str, np.ndarray]]:
    variables = _variables(num_classes)
    report = loading.plan("FILE", found, variables, CLASSES, heads)
    loading.check(report)
    report.assign(variables)
    return report, {v.name.removesuffix(":0"): v.numpy() for v in variables}


def _fault(found: source_lib.Source, heads: str = "auto") -> str:
    with pytest.raises(command.UserError) as caught:
        _load(found, heads)
    assert caught.value.exit_code == command.ExitCode.DATA
    return str(caught.value)


def _has_all_but_the_last_layer(
    values: Mapping[str, np.ndarray], found: source_lib.Source
) -> None:
    for name, value in values.items():
        if "class-predict" not in name:
            np.testing.assert_array_equal(value, found.values[name])


@pytest.mark.parametrize("heads", ["auto", "all"])
def test_same_number_of_classes_without_names(heads: str) -> None:
    found = _source(4)
    report, values = _load(found, heads)
    for name, value in values.items():
        np.testing.assert_array_equal(value, found.values[name])
    if heads == "auto":
        assert report.last_layer == (
            "The file does not name its classes: they are taken for car, truck,"
            " bus, pedestrian, in this order."
        )


def test_coco_rows_of_the_same_meaning_are_taken_over() -> None:
    found = _source(90)
    report, values = _load(found)
    _has_all_but_the_last_layer(values, found)
    np.testing.assert_array_equal(values[DEPTH], found.values[DEPTH])
    # COCO's ids: person 1, car 3, bus 6, truck 8; a row for every anchor.
    for place, coco_id in enumerate((3, 8, 6, 1)):
        for anchor in range(ANCHORS):
            here, there = 4 * anchor + place, 90 * anchor + coco_id - 1
            assert values[BIAS][here] == found.values[BIAS][there]
            np.testing.assert_array_equal(
                values[KERNEL][..., here], found.values[KERNEL][..., there]
            )
    assert report.last_layer == (
        "Class rows taken over: car from car, truck from truck, bus from bus,"
        " pedestrian from person."
    )


def test_classes_without_a_counterpart_stay_new() -> None:
    found = _source(2, names=("Bus", "tram"))
    report, values = _load(found)
    assert report.last_layer == (
        "Class rows taken over: bus from Bus. New: car, truck, pedestrian."
    )
    is_bus = np.arange(4 * ANCHORS) % 4 == 2
    np.testing.assert_array_equal(values[BIAS][is_bus], found.values[BIAS][::2])
    assert (values[BIAS][~is_bus] == -1.0).all()
    assert (values[KERNEL][..., ~is_bus] == -1.0).all()


def test_same_classes_in_another_order() -> None:
    found = _source(4, names=("truck", "car", "pedestrian", "bus"))
    _, values = _load(found)
    np.testing.assert_array_equal(
        values[BIAS].reshape(ANCHORS, 4),
        found.values[BIAS].reshape(ANCHORS, 4)[:, [1, 0, 3, 2]],
    )


@pytest.mark.parametrize(
    ("found", "heads", "sentence"),
    [
        (_source(7), "auto", "the file has 7 classes and does not name them."),
        (
            _source(2, names=("dog", "cat")),
            "auto",
            "of the file's 2 classes none is one of car, truck, bus,"
            " pedestrian.",
        ),
        (_source(4), "none", ""),
        (_source(90), "none", ""),
    ],
)
def test_last_layer_that_is_new(
    found: source_lib.Source, heads: str, sentence: str
) -> None:
    report, values = _load(found, heads)
    _has_all_but_the_last_layer(values, found)
    for name in (DEPTH, KERNEL, BIAS):
        assert (values[name] == -1.0).all()
    assert report.parts[loading.LAST_LAYER].new == (DEPTH, KERNEL, BIAS)
    assert sentence in report.last_layer
    assert report.last_layer.startswith("The class head's last layer is new")


def test_all_of_another_number_of_classes_is_an_error() -> None:
    assert _fault(_source(7), "all") == (
        "The weights in FILE (a file) do not fit this network (in the file for"
        " in the network):\n"
        f"  class head, last layer: another shape 2 ({KERNEL} (1, 1, 6, 63) for"
        f" (1, 1, 6, 36), {BIAS} (63,) for (36,))\n"
        "Give the --model_name and settings that they were trained with."
    )


@pytest.mark.parametrize("name", [n for n in _shapes(4) if n != BIAS])
@pytest.mark.parametrize("harm", ["missing", "shape"])
def test_nothing_partial_passes(name: str, harm: str) -> None:
    values = dict(_source(4).values)
    if harm == "missing":
        del values[name]
    else:
        values[name] = np.zeros([*values[name].shape, 2], np.float32)
    said = _fault(_source(4, values=values))
    part = loading.part_of(name)
    kind = "missing" if harm == "missing" else "another shape"
    assert f"  {part}: {kind} 1 ({name}" in said


def test_weights_that_no_variable_takes_are_an_error() -> None:
    unused = ("fpn_cells/cell_3/fnode0/WSM", "a", "b", "c")
    assert (
        "  no variable takes 4 (fpn_cells/cell_3/fnode0/WSM, a, b, ...)\n"
        in _fault(_source(4, unused=unused))
    )


def test_nothing_changes_where_something_does_not_fit() -> None:
    variables = _variables()
    report = loading.plan("FILE", _source(7), variables, CLASSES, "all")
    with pytest.raises(command.UserError):
        loading.check(report)
    assert all((v.numpy() == -1.0).all() for v in variables)


def test_backbone_alone() -> None:
    found = _source(4)
    stem = "efficientnet-b0/stem/conv2d/kernel"
    only = {stem: found.values[stem]}
    variables = _variables()
    report = loading.plan_backbone(
        "FILE", _source(4, values=only, unused=("dense",)), variables
    )
    loading.check(report)
    report.assign(variables)
    np.testing.assert_array_equal(variables[0], only[stem])
    assert all((v.numpy() == -1.0).all() for v in variables[1:])
    assert report.parts[loading.BACKBONE].loaded == (stem,)
    assert len(report.parts[loading.BIFPN].new) == 2


def test_report_is_a_table() -> None:
    found = source_lib.Source(
        form="a file",
        values=_source(90).values,
        unused=(),
        left_out={"a": "training state", "b": "training state", "c": "counter"},
        is_average=True,
        notes=("A note.",),
    )
    report, _ = _load(found)
    assert report.text().splitlines() == [
        "Weights: FILE",
        "  a file; the moving average was taken",
        "  part                      loaded   new  differs  missing",
        "  backbone                       1     0        0        0",
        "  BiFPN                          2     0        0        0",
        "  class head                     1     0        0        0",
        "  class head, last layer         3     0        0        0",
        "  box head                       1     0        0        0",
        "  not weights of the network: 2 training state",
        "  not weights of the network: 1 counter",
        "  A note.",
        "  Class rows taken over: car from car, truck from truck, bus from bus,"
        " pedestrian from person.",
    ]


def test_number_of_classes_follows_from_both_heads() -> None:
    assert class_rows.num_classes(_source(7)) == 7
    values = dict(_source(7).values)
    del values["box_net/box-predict/bias"]
    assert class_rows.num_classes(_source(7, values=values)) is None


def test_coco_has_80_classes_at_their_ids() -> None:
    names = coco_classes.NAMES
    assert len(names) == 90
    assert sum(not name.startswith("unused ") for name in names) == 80
    ids = {"person": 1, "car": 3, "bus": 6, "truck": 8, "stop sign": 13}
    ids |= {"skis": 35, "dining table": 67, "toilet": 70, "toothbrush": 90}
    assert {name: names.index(name) + 1 for name in ids} == ids
