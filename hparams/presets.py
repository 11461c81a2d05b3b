"""Named starting points: the published networks, and recipes for runs.

A network's preset is a few numbers that replace those of one base. A recipe
sets how a network is trained and is applied on top of a preset.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping

from hparams import config, leaf, override


def _square(side: int) -> config.Data:
    return config.Data(image_size=(side, side))


def _lite_data(side: int) -> config.Data:
    # The lite networks take pixels scaled to about [-1, 1] (official code).
    return config.Data(
        image_size=(side, side),
        mean_rgb=(127.0, 127.0, 127.0),
        stddev_rgb=(128.0, 128.0, 128.0),
    )


def _network(
    backbone: str, filters: int, cells: int, repeats: int, data: config.Data
) -> config.Config:
    base = config.Config()
    model = dataclasses.replace(
        base.model,
        backbone_name=f"efficientnet-{backbone}",
        fpn_num_filters=filters,
        fpn_cell_repeats=cells,
        box_class_repeats=repeats,
    )
    return dataclasses.replace(base, model=model, data=data)


def _summed(
    preset: config.Config, *, anchor_scale: float, max_level: int
) -> config.Config:
    # From D6 on the official code sums without weights, for stability.
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, fpn_weight_method="sum"),
        anchors=dataclasses.replace(
            preset.anchors, anchor_scale=anchor_scale, max_level=max_level
        ),
    )


def _lite(preset: config.Config, *, anchor_scale: float) -> config.Config:
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(
            preset.model, act_type="relu6", fpn_weight_method="sum"
        ),
        anchors=dataclasses.replace(preset.anchors, anchor_scale=anchor_scale),
    )


def _presets() -> dict[str, config.Config]:
    """Returns all networks; the numbers are those of the official code."""
    d = {
        "d0": _network("b0", 64, 3, 3, _square(512)),
        "d1": _network("b1", 88, 4, 3, _square(640)),
        "d2": _network("b2", 112, 5, 3, _square(768)),
        "d3": _network("b3", 160, 6, 4, _square(896)),
        "d4": _network("b4", 224, 7, 4, _square(1024)),
        "d5": _network("b5", 288, 7, 4, _square(1280)),
        "d6": _network("b6", 384, 8, 5, _square(1280)),
        "d7": _network("b6", 384, 8, 5, _square(1536)),
        "d7x": _network("b7", 384, 8, 5, _square(1536)),
        "lite0": _network("lite0", 64, 3, 3, _lite_data(320)),
        "lite1": _network("lite1", 88, 4, 3, _lite_data(384)),
        "lite2": _network("lite2", 112, 5, 3, _lite_data(448)),
        "lite3": _network("lite3", 160, 6, 4, _lite_data(512)),
        "lite3x": _network("lite3", 200, 6, 4, _lite_data(640)),
        "lite4": _network("lite4", 224, 7, 4, _lite_data(640)),
    }
    d["d6"] = _summed(d["d6"], anchor_scale=4.0, max_level=7)
    d["d7"] = _summed(d["d7"], anchor_scale=5.0, max_level=7)
    d["d7x"] = _summed(d["d7x"], anchor_scale=4.0, max_level=8)
    for name in ("lite0", "lite1", "lite2", "lite3x"):
        d[name] = _lite(d[name], anchor_scale=3.0)
    for name in ("lite3", "lite4"):
        d[name] = _lite(d[name], anchor_scale=4.0)
    return {f"efficientdet-{name}": preset for name, preset in d.items()}


_PRESETS: Mapping[str, config.Config] = _presets()

MODEL_NAMES: tuple[str, ...] = tuple(_PRESETS)

# "overfit" learns a handful of images by heart, on purpose: it proves that the
# whole chain can learn, and says nothing about images it has not seen.
RECIPES: Mapping[str, Mapping[str, object]] = {
    "overfit": {
        "image_size": (224, 224),
        # Half the published input, so half the published anchors: objects are
        # half as large in it. Measured on the example photographs, AP50 .86
        # after 320 steps; .78 after 480 with the published 4.
        "anchor_scale": 2.0,
        # The anchors of level 7 would be larger than the image. Its 2 x 2 cells
        # are what batch norm there has of an image, and statistics so noisy
        # left one photograph of 32 undetected with one seed of three (AP50
        # .87). Without it, four seeds gave .997 and three times 1.000.
        "max_level": 6,
        "input_rand_hflip": False,
        "jitter_min": 1.0,
        "jitter_max": 1.0,
        "batch_norm_momentum": 0.9,
        "optimizer": "adam",
        "learning_rate": 2e-3,
        "learning_rate_batch": 0,
        "lr_warmup_init": 0.0,
        "moving_average_decay": 0.98,
        # Batch norm with the statistics of 4 images left one photograph of
        # 32 undetected in evaluation (AP50 .90 after 3,200 images).
        "train_batch_size": 8,
        "weight_decay": 0.0,
        "num_epochs": 100,
        "eval_batch_size": 8,
        "map_freq": 50,
    },
}


def _unknown(kind: str, name: str, known: Collection[str]) -> leaf.HParamError:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return leaf.HParamError(
        f"Unknown {kind} {name!r}.{hint} Known are: {', '.join(known)}."
    )


def get_config(model_name: str) -> config.Config:
    """Returns the preset of a network: 'efficientdet-d0' to '-d7x', '-lite4'.

    Raises:
      HParamError: there is no such network; the nearest name is shown.
    """
    if model_name not in _PRESETS:
        raise _unknown("model name", model_name, MODEL_NAMES)
    return _PRESETS[model_name]


def apply_recipe(base: config.Config, name: str) -> config.Config:
    """Returns base with the values of one of RECIPES.

    Raises:
      HParamError: there is no such recipe; the nearest name is shown.
    """
    if name not in RECIPES:
        raise _unknown("recipe", name, tuple(RECIPES))
    return override.override(base, RECIPES[name])
