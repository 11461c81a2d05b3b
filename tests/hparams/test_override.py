"""Overrides: names and values from text and from mappings."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hparams import config, leaf, override

BASE = config.Config()


def _message(given: Any) -> str:
    with pytest.raises(leaf.HParamError) as caught:
        override.override(BASE, given)
    return str(caught.value)


def test_nothing_given_changes_nothing() -> None:
    for empty in ("", " ", ","):
        assert override.override(BASE, empty) == BASE
    assert override.override(BASE, {}) == BASE


def test_what_is_given_replaces_and_the_rest_stays() -> None:
    made = override.override(BASE, "learning_rate=0.04,num_classes=4")
    assert made == dataclasses.replace(
        BASE,
        model=dataclasses.replace(BASE.model, num_classes=4),
        optimizer=dataclasses.replace(BASE.optimizer, learning_rate=0.04),
    )


def test_all_ways_to_write_it_give_equal_objects() -> None:
    ways: list[str | dict[str, object]] = [
        "learning_rate=1e-3,input_rand_hflip=no,image_size=960x512,"
        "mean_rgb=[1,2,3],iou_thresh=0.6,optimizer=adam",
        " optimizer.learning_rate = 0.001, augment.input_rand_hflip = FALSE,"
        "data.image_size = '960x512',mean_rgb=1*2*3,nms.iou_thresh=.6,"
        'optimizer="adam"',
        "nms_configs.iou_thresh=6e-1,mean_rgb=(1, 2, 3,),image_size=[512,960],"
        "learning_rate=.001,input_rand_hflip=Off,optimizer.optimizer=adam",
        {
            "learning_rate": "1e-3",
            "input_rand_hflip": False,
            "image_size": "960x512",
            "mean_rgb": [1, 2, 3],
            "iou_thresh": 0.6,
            "optimizer": "adam",
        },
        {
            "optimizer": {"learning_rate": 0.001, "optimizer": "adam"},
            "augment": {"input_rand_hflip": "no"},
            "data": {"image_size": [512, 960], "mean_rgb": ("1", 2, 3.0)},
            "nms": {"iou_thresh": "0.6"},
        },
        {
            "nms_configs": {"iou_thresh": 0.6},
            "data.image_size": (512, 960),
            "data": {"mean_rgb": "1*2*3"},
            "optimizer": "adam",
            "optimizer.learning_rate": 1e-3,
            "input_rand_hflip": "false",
        },
    ]
    made = [override.override(BASE, way) for way in ways]
    assert made[0].data.image_size == (512, 960)
    assert made[0].optimizer.learning_rate == 0.001
    assert made[0].augment.input_rand_hflip is False
    assert made == [made[0]] * len(ways)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("960x512", (512, 960)),
        ("512", (512, 512)),
        (512, (512, 512)),
        ([512, 960], (512, 960)),
        ("[512, 960]", (512, 960)),
    ],
)
def test_image_size(given: object, size: tuple[int, int]) -> None:
    made = override.override(BASE, {"image_size": given})
    assert made.data.image_size == size


@pytest.mark.parametrize(
    "given", ["512*960", "960X512", "960x", "x", "9x9x9", 512.0, "512.0"]
)
def test_image_size_that_is_none(given: object) -> None:
    assert _message({"image_size": given}) == (
        f"Hyper-parameter 'image_size' is {given!r}, expected WIDTHxHEIGHT,"
        " one number or [height, width]."
    )


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("TRUE", True),
        ("True", True),
        ("yes", True),
        ("on", True),
        ("false", False),
        ("FALSE", False),
        ("no", False),
        ("No", False),
        ("off", False),
    ],
)
def test_words_for_booleans(word: str, value: bool) -> None:
    made = override.override(BASE, f"per_class={word}")
    assert made.nms.per_class is value
    for name in ("learning_rate", "num_epochs", "optimizer", "mean_rgb"):
        assert repr(name) in _message(f"{name}={word}")


@pytest.mark.parametrize("given", [False, "off"])
def test_yaml_reads_off_as_a_boolean(given: object) -> None:
    made = override.override(BASE, {"preemption_notice": given})
    assert made.runtime.preemption_notice == "off"
    assert "'preemption_notice' is True" in _message(
        {"preemption_notice": True}
    )


def test_an_integer_is_a_number_and_not_the_reverse() -> None:
    made = override.override(BASE, {"learning_rate": 1})
    assert made.optimizer.learning_rate == 1.0
    assert type(made.optimizer.learning_rate) is float
    assert "'num_epochs' is 2.0, expected an integer." in _message(
        {"num_epochs": 2.0}
    )


def test_one_value_fills_a_list_of_fixed_length() -> None:
    made = override.override(BASE, {"mean_rgb": 127.0, "aspect_ratios": 1})
    assert made.data.mean_rgb == (127.0, 127.0, 127.0)
    assert made.anchors.aspect_ratios == (1.0,)
    assert "a list of 3 numbers" in _message({"mean_rgb": [127.0]})


@pytest.mark.parametrize(
    ("given", "shapes"),
    [
        ("[1.0, 2.0, 0.5]", (1.0, 2.0, 0.5)),
        ("1*2*0.5", (1.0, 2.0, 0.5)),
        ([1, "2", 0.5], (1.0, 2.0, 0.5)),
        ("[[1.0,1.0],[1.4,0.7]]", ((1.0, 1.0), (1.4, 0.7))),
        ("[(1.0, 1.0), (1.4, 0.7),]", ((1.0, 1.0), (1.4, 0.7))),
        ("((1, 1), (1.4, 0.7))", ((1.0, 1.0), (1.4, 0.7))),
        ("(1, 1)*(1.4, 0.7)", ((1.0, 1.0), (1.4, 0.7))),
        ([[1, 1], [1.4, 0.7]], ((1.0, 1.0), (1.4, 0.7))),
        ([(1, "1"), "(1.4, 0.7)"], ((1.0, 1.0), (1.4, 0.7))),
        ("[1.0, [1.4, 0.7]]", (1.0, (1.4, 0.7))),
        ([1, [1.4, 0.7]], (1.0, (1.4, 0.7))),
        ("(1.4, 0.7)", (1.4, 0.7)),  # two numbers, not one pair
    ],
)
def test_shapes_of_anchors(given: object, shapes: tuple[object, ...]) -> None:
    ways: list[Any] = [{"aspect_ratios": given}]
    if isinstance(given, str):
        ways.append(f"seed=0,aspect_ratios={given}")
    for way in ways:
        made = override.override(BASE, way)
        assert made.anchors.aspect_ratios == shapes
        assert all(
            type(n) is float
            for shape in made.anchors.aspect_ratios
            for n in (shape if isinstance(shape, tuple) else (shape,))
        )


@pytest.mark.parametrize(
    ("given", "scale"),
    [
        ("4.5", 4.5),
        (4, 4.0),
        ("[4,4,3,5,4]", (4.0, 4.0, 3.0, 5.0, 4.0)),
        ("4*4*3*5*4", (4.0, 4.0, 3.0, 5.0, 4.0)),
        ([4, 4, "3", 5.0, 4], (4.0, 4.0, 3.0, 5.0, 4.0)),
    ],
)
def test_one_anchor_scale_or_one_for_each_level(
    given: object, scale: object
) -> None:
    made = override.override(BASE, {"anchor_scale": given})
    assert made.anchors.anchor_scale == scale
    if isinstance(given, str):
        assert override.override(BASE, f"anchor_scale={given}") == made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "learnig_rate=1",
            "Unknown hyper-parameter 'learnig_rate'. Did you mean"
            " 'learning_rate'?",
        ),
        (
            "NUM_CLASSES=4",
            "Unknown hyper-parameter 'NUM_CLASSES'. Did you mean"
            " 'num_classes'?",
        ),
        (
            "optimizer.learnig_rate=1",
            "Unknown hyper-parameter 'optimizer.learnig_rate'. Did you mean"
            " 'optimizer.learning_rate'?",
        ),
        (
            "loss.learning_rate=1",
            "Unknown hyper-parameter 'loss.learning_rate'. Did you mean"
            " 'optimizer.learning_rate'?",
        ),
        (
            {"optimiser": {"learning_rate": 1}},
            "Unknown hyper-parameter 'optimiser'. Did you mean 'optimizer'?",
        ),
        (
            {"loss": {"gama": 1}},
            "Unknown hyper-parameter 'loss.gama'. Did you mean 'loss.gamma'?",
        ),
        (
            "xyzzy=1",
            "Unknown hyper-parameter 'xyzzy'. docs/hyper-parameters.md lists"
            " all there are.",
        ),
        (
            "learning_rate=1,optimizer.learning_rate=1",
            "Hyper-parameter 'learning_rate' is given twice, as"
            " 'learning_rate' and 'optimizer.learning_rate'.",
        ),
        (
            {"nms": {"sigma": 1}, "nms_configs": {"sigma": 1}},
            "Hyper-parameter 'sigma' is given twice, as 'nms.sigma' and"
            " 'nms_configs.sigma'.",
        ),
        (
            "seed=1,seed=2",
            "Hyper-parameter 'seed' is given twice, as '1' and '2'.",
        ),
        (
            "learning_rate",
            "Hyper-parameters as text are name=value,name=value, got"
            " 'learning_rate'.",
        ),
        (
            "seed=1,=2",
            "Hyper-parameters as text are name=value,name=value, got '=2'.",
        ),
        (
            "mean_rgb=[1,2,3",
            "Hyper-parameters 'mean_rgb=[1,2,3': a bracket has no partner.",
        ),
        (
            {"loss": 3},
            "Section 'loss' is 3, expected a mapping of its hyper-parameters.",
        ),
        (
            {"nms_configs": None},
            "Section 'nms_configs' is None, expected a mapping of its"
            " hyper-parameters.",
        ),
        (
            {True: 1},
            "Hyper-parameters have names, got True (YAML reads words such as"
            " on and no as booleans: quote them).",
        ),
        (
            {"seed": {"a": 1}},
            "Hyper-parameter 'seed' is {'a': 1}, expected an integer.",
        ),
        (
            {"learning_rate": None},
            "Hyper-parameter 'learning_rate' is None, expected a number.",
        ),
    ],
)
def test_message(given: Any, message: str) -> None:
    assert _message(given) == message


def test_a_closing_bracket_too_many_is_an_error_too() -> None:
    assert "a bracket has no partner" in _message("mean_rgb=1],seed=[2")


def test_the_base_is_left_alone() -> None:
    before = hash(BASE)
    override.override(BASE, "seed=5")
    assert hash(BASE) == before
    assert BASE.train.seed == 0
