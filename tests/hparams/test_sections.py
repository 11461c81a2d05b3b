"""Types, ranges and names of all hyper-parameters."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from typing import Any

import pytest

from hparams import config, leaf, override

BASE = config.Config()
LEAVES = tuple(config.LEAVES.values())

# Values that are no bool, no int, ...: as Python values and as text.
NOT_OF_TYPE: dict[Any, tuple[object, ...]] = {
    bool: (None, 0, 1, 1.0, "1", "0", "maybe", "y", [True], {}),
    int: (None, True, 4.0, 4.5, "4.0", "1e3", "4.5", "no", "TRUE", "", [4], {}),
    float: (None, False, "fast", "no", "true", "1,5", "nan", "0x1", [0.5], {}),
    str: (None, True, 3, 0.5, ["sgd"], {}),
}
NOT_A_LIST: tuple[object, ...] = (
    None,
    True,
    "wide",
    "no",
    "[1,2",
    "1x2x3",
    [40, 40, 40, 40],
    ["a", "b"],
    [[40], [40]],
    {},
    {40: 40},
)


def _wrong(found: leaf.Leaf) -> tuple[object, ...]:
    if found.hint in NOT_OF_TYPE:
        return NOT_OF_TYPE[found.hint]
    if found.name in ("aspect_ratios", "anchor_scale"):
        # Any number of shapes is a list; of scales see test_message.
        return tuple(v for v in NOT_A_LIST if v != [40, 40, 40, 40])
    return NOT_A_LIST


def _set(found: leaf.Leaf, value: object) -> config.Config:
    return override.override(BASE, {found.dotted: value})


def _get(source: config.Config, found: leaf.Leaf) -> object:
    return getattr(getattr(source, found.section), found.name)


def test_every_leaf_name_is_unique_over_all_sections() -> None:
    names = collections.Counter(
        field.name
        for kind in config.Config.SECTIONS.values()
        for field in dataclasses.fields(kind)
    )
    assert [name for name, count in names.items() if count > 1] == []
    assert set(names) == set(config.LEAVES)


def test_sections_are_those_of_the_design() -> None:
    assert " ".join(config.Config.SECTIONS) == (
        "model anchors data augment loss optimizer train nms eval runtime"
    )


@pytest.mark.parametrize("found", LEAVES, ids=lambda found: found.name)
def test_wrong_type_names_key_value_and_type(found: leaf.Leaf) -> None:
    for value in _wrong(found):
        with pytest.raises(leaf.HParamError) as caught:
            _set(found, value)
        message = str(caught.value)
        assert repr(found.name) in message
        assert repr(value) in message
        assert "expected" in message


@pytest.mark.parametrize("found", LEAVES, ids=lambda found: found.name)
def test_constructor_converts_no_text(found: leaf.Leaf) -> None:
    kind = config.Config.SECTIONS[found.section]
    wrong: object = 3 if found.hint is str else "1"
    with pytest.raises(leaf.HParamError, match=found.name):
        kind(**{found.name: wrong})


def _outside(found: leaf.Leaf) -> list[object]:
    limits = found.limits
    step = 1 if found.hint in (int, tuple[int, int]) else 1e-6
    values: list[object] = []
    if limits.at_least is not None:
        values.append(limits.at_least - step)
    if limits.at_most is not None:
        values.append(
            max(limits.at_most + step, math.nextafter(limits.at_most, math.inf))
        )
    if limits.above is not None:
        values += [limits.above, limits.above - step]
    if limits.choices is not None:
        values += ["other", "NONE"]
        values += [""] if "" not in limits.choices else []
    if found.hint not in (bool, int, str, tuple[int, int]):
        values += [float("nan"), float("inf"), -float("inf"), 10**400, "1e999"]
    return values


@pytest.mark.parametrize("found", LEAVES, ids=lambda found: found.name)
def test_out_of_range_names_key_value_and_range(found: leaf.Leaf) -> None:
    for value in _outside(found):
        with pytest.raises(leaf.HParamError) as caught:
            _set(found, value)
        message = str(caught.value)
        assert message.startswith(f"Hyper-parameter {found.name!r} is ")
        assert "expected " in message


def test_an_integer_too_large_for_a_number_is_not_finite() -> None:
    with pytest.raises(leaf.HParamError, match="expected a finite number"):
        config.Loss(gamma=10**400)


@pytest.mark.parametrize("found", LEAVES, ids=lambda found: found.name)
def test_bounds_themselves_are_allowed(found: leaf.Leaf) -> None:
    for bound in (found.limits.at_least, found.limits.at_most):
        if bound is not None:
            value = _get(_set(found, str(bound)), found)
            assert value in (bound, (bound, bound))
    for choice in found.limits.choices or ():
        assert _get(_set(found, choice), found) == choice


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "learning_rate=-1",
            "Hyper-parameter 'learning_rate' is -1.0, expected at least 0.0.",
        ),
        (
            "moving_average_decay=1.5",
            "Hyper-parameter 'moving_average_decay' is 1.5, expected at least"
            " 0.0, at most 1.0.",
        ),
        (
            "optimizer=adamax",
            "Hyper-parameter 'optimizer' is 'adamax', expected one of 'sgd',"
            " 'adam', 'lamb'.",
        ),
        (
            "image_size=16",
            "Hyper-parameter 'image_size' is (16, 16), expected at least 32.",
        ),
        (
            "train_batch_size=4.0",
            "Hyper-parameter 'train_batch_size' is '4.0', expected an integer.",
        ),
        (
            "mean_rgb=[1,2]",
            "Hyper-parameter 'mean_rgb' is '[1,2]', expected a list of 3"
            " numbers.",
        ),
        (
            "input_rand_hflip=1",
            "Hyper-parameter 'input_rand_hflip' is '1', expected true or"
            " false.",
        ),
        (
            "weight_decay=nan",
            "Hyper-parameter 'weight_decay' is 'nan', expected a number.",
        ),
        (
            "weight_decay=1e999",
            "Hyper-parameter 'weight_decay' is inf, expected a finite number.",
        ),
        (
            "aspect_ratios=[]",
            "Hyper-parameter 'aspect_ratios' is empty.",
        ),
        (
            "aspect_ratios=[1.0,[1.4,0.7,1]]",
            "Hyper-parameter 'aspect_ratios' is '[1.0,[1.4,0.7,1]]', expected"
            " a list of numbers or pairs of numbers.",
        ),
        (
            "aspect_ratios=[[[1.4,0.7],[1,1]]]",
            "Hyper-parameter 'aspect_ratios' is '[[[1.4,0.7],[1,1]]]',"
            " expected a list of numbers or pairs of numbers.",
        ),
        (
            "aspect_ratios=[1,(1.4,0)]",
            "Hyper-parameter 'aspect_ratios' is (1.0, (1.4, 0.0)), expected"
            " above 0.0.",
        ),
        (
            "aspect_ratios=[(1.4,1e999)]",
            "Hyper-parameter 'aspect_ratios' is ((1.4, inf),), expected a"
            " finite number.",
        ),
        (
            "anchor_scale=[4,4,-3,5,4]",
            "Hyper-parameter 'anchor_scale' is (4.0, 4.0, -3.0, 5.0, 4.0),"
            " expected above 0.0.",
        ),
        (
            "anchor_scale=[[4,4,3,5,4]]",
            "Hyper-parameter 'anchor_scale' is '[[4,4,3,5,4]]', expected a"
            " number or a list of numbers.",
        ),
        (
            "anchor_scale=[4,4,3]",
            "Hyper-parameter 'anchor_scale' has 3 numbers, expected one number"
            " for all levels, or 5: one for each of the levels 3 to 7.",
        ),
        (
            "max_level=8,anchor_scale=[4,4,3,5,4]",
            "Hyper-parameter 'anchor_scale' has 5 numbers, expected one number"
            " for all levels, or 6: one for each of the levels 3 to 8.",
        ),
        (
            "anchor_scale=[]",
            "Hyper-parameter 'anchor_scale' has 0 numbers, expected one number"
            " for all levels, or 5: one for each of the levels 3 to 7.",
        ),
        (
            "jitter_min=3",
            "Hyper-parameter 'jitter_min' (3.0) must not exceed 'jitter_max'"
            " (2.0).",
        ),
        (
            "lr_decay_method=stepwise,first_lr_drop_epoch=300",
            "Hyper-parameter 'first_lr_drop_epoch' (300.0) must not exceed"
            " 'second_lr_drop_epoch' (250.0).",
        ),
    ],
)
def test_message(given: str, message: str) -> None:
    with pytest.raises(leaf.HParamError) as caught:
        override.override(BASE, given)
    assert str(caught.value) == message


def test_values_that_fit_together_only_jointly_are_set_together() -> None:
    made = override.override(BASE, "jitter_min=3,jitter_max=4")
    assert (made.augment.jitter_min, made.augment.jitter_max) == (3.0, 4.0)


def test_config_is_frozen_and_hashable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.loss.alpha = 1.0  # type: ignore[misc]
    assert hash(BASE) == hash(config.Config())


def test_a_section_must_be_of_its_kind() -> None:
    with pytest.raises(leaf.HParamError, match="Section 'nms' is "):
        config.Config(nms=config.Loss())  # type: ignore[arg-type]


def test_base_holds_the_official_defaults(
    official_defaults: dict[str, Any],
) -> None:
    # The base is D0; the official default network is D1.
    other = {"image_size", "backbone_name", "fpn_num_filters"}
    # Officially "not set", or a number that the data set gives here.
    other |= {"fpn_weight_method", "survival_prob", "max_instances_per_image"}
    other |= {"num_classes", "iou_loss_type", "var_freeze_expr", "strategy"}
    for found in LEAVES:
        if found.name in official_defaults and found.name not in other:
            value = json.loads(json.dumps(found.default))
            expected = pytest.approx(official_defaults[found.name])
            assert value == expected, found.name
