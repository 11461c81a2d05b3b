"""The published networks and the recipes."""

from __future__ import annotations

from typing import Any

import pytest

import hparams
from hparams import config, leaf, presets, serialize


def test_names_are_the_published_ones(
    official_settings: dict[str, Any],
) -> None:
    assert list(presets.MODEL_NAMES) == list(official_settings["models"])


@pytest.mark.parametrize("name", presets.MODEL_NAMES)
def test_preset_has_the_published_numbers(
    name: str, official_settings: dict[str, Any]
) -> None:
    expected = dict(official_settings["models"][name])
    assert expected.pop("name") == name
    expected["image_size"] = (expected["image_size"],) * 2
    for key in ("mean_rgb", "stddev_rgb"):
        if key in expected:
            expected[key] = (expected[key],) * 3
    made = presets.get_config(name)
    base = config.Config()
    for key, found in config.LEAVES.items():
        value = getattr(getattr(made, found.section), key)
        default = getattr(getattr(base, found.section), key)
        assert value == expected.get(key, default), key


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("efficientdet-d9", "efficientdet-d"),
        ("EFFICIENTDET-D0", "efficientdet-d0"),
        ("efficientdet_d3", "efficientdet-d3"),
        ("efficientdet-lite5", "efficientdet-lite"),
    ],
)
def test_unknown_network_shows_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(leaf.HParamError) as caught:
        presets.get_config(given)
    message = str(caught.value)
    assert message.startswith(
        f"Unknown model name {given!r}. Did you mean '{nearest}"
    )
    assert message.endswith("efficientdet-lite4.")


def test_unknown_network_that_resembles_none_lists_all() -> None:
    with pytest.raises(leaf.HParamError) as caught:
        presets.get_config("yolo")
    message = str(caught.value)
    assert message.startswith("Unknown model name 'yolo'. Known are: ")
    for name in presets.MODEL_NAMES:
        assert name in message


def test_recipe_changes_what_it_names_and_nothing_else() -> None:
    base = presets.get_config("efficientdet-lite0")
    for name, values in presets.RECIPES.items():
        made = presets.apply_recipe(base, name)
        changed = serialize.diff(base, made)
        assert {d.name.split(".")[1] for d in changed} <= set(values)
        for key, value in values.items():
            section = getattr(made, config.LEAVES[key].section)
            assert getattr(section, key) == value
        assert made.model.backbone_name == "efficientnet-lite0"


def test_unknown_recipe_shows_the_nearest() -> None:
    with pytest.raises(leaf.HParamError) as caught:
        presets.apply_recipe(config.Config(), "over-fit")
    assert str(caught.value).startswith(
        "Unknown recipe 'over-fit'. Did you mean 'overfit'?"
    )


def test_package_offers_the_usual_names() -> None:
    assert hparams.get_config("efficientdet-d0") == hparams.Config()
    with pytest.raises(hparams.HParamError):
        hparams.get_config("efficientdet")
